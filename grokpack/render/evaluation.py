"""The answers of `grokpack evaluate` as text, from the document's `data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.render import numbers

if TYPE_CHECKING:
    from grokpack.checkpoint import Finding

_TINY = 1e-3  # below it, decimals would all be zero


def render(data: dict[str, Any]) -> str:
    """One network: perplexity, layers, cost."""
    lines = [f"perplexity  {perplexity(data['loss'])}", f"            {_loss(data['loss'])}", ""]
    lines.append("layer   stream  attention  experts   best gate   tokens of each expert")
    lines += map(_layer, data["layers"])
    lines += ["", _cost(data)]
    lines += [f"logits       {data['logits']}"] if data["logits"] else []
    lines += [f"calibration  {data['calibration']}"] if data["calibration"] else []
    return "\n".join(lines)


def render_pair(data: dict[str, Any], wrong: list[Finding]) -> str:
    """Two networks: perplexities, how far apart, since where, the verdict."""
    kl = data["kl"]
    lines = [
        f"perplexity     {perplexity(data['loss'])}   {data['source']}",
        f"               {perplexity(data['other_loss'])}   {data['against']}",
        f"KL divergence  mean {_number(kl['mean'])}, 99% below {_number(kl['p99'])} nats",
        f"agreement      likeliest token {data['top1']:.2%}, eight likeliest {data['top8']:.2%}",
        "",
        "relative error of the stream, and of what each half of a layer adds on the same input:",
        "layer    stream  attention   experts   other experts chosen",
        f"embed  {_number(data['embedding']):>8}",
    ]
    lines += map(_gap, data["layers"])
    lines += [f" head  {_number(data['head']):>8}", ""]
    lines += [_finding(row) for row in wrong]
    lines.append(f"{'apart' if wrong else 'alike'}   {_cost(data)}")
    return "\n".join(lines)


def _layer(row: dict[str, Any]) -> str:
    return (
        f"{row['layer']:>5}  {row['rms']:>7.4g}  {row['attention_rms']:>9.4g}  "
        f"{row['experts_rms']:>7.4g}   {row['gate']:>9.1%}   {' '.join(map(str, row['load']))}"
    )


def _gap(row: dict[str, Any]) -> str:
    return (
        f"{row['layer']:>5}  {_number(row['stream']):>8}  {_number(row['attention']):>9}  "
        f"{_number(row['experts']):>8}   {row['flips']:>8.2%}"
    )


def perplexity(loss: dict[str, Any]) -> str:
    """`23.41 +- 0.52`, or why there is none."""
    if not loss["tokens"]:
        return "none: no token has a successor to predict"
    if loss["perplexity"] is None:
        return "infinite"
    error = loss["perplexity_error"]
    return f"{loss['perplexity']:.4g}" + ("" if error is None else f" +- {error:.2g}")


def _loss(loss: dict[str, Any]) -> str:
    if not loss["tokens"]:
        return ""
    error = "" if loss["error"] is None else f" +- {loss['error']:.2g}"
    mean = "infinite" if loss["mean"] is None else f"{loss['mean']:.4f}{error}"
    return f"loss {mean} nats over {loss['tokens']:,} tokens, {loss['top1']:.1%} were the likeliest"


def _cost(data: dict[str, Any]) -> str:
    read, took = numbers.size(data["read_bytes"]), numbers.duration(data["seconds"])
    speed = f"{data['tokens_per_s']:.3g} tokens/s"
    return f"{data['tokens']:,} tokens in {took} ({speed}), {read} of weights read"


def _number(value: float | None) -> str:
    if value is None:
        return "infinite"
    return f"{value:.2e}" if 0 < value < _TINY else f"{value:.4f}"


def _finding(row: Finding) -> str:
    return f"error[{row.code}]: {row.message}\n      expected {row.expected}, found {row.found}"
