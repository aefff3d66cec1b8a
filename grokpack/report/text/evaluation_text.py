"""Text of `grokpack evaluate`, from the document's `data`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.escaping import escape_line
from grokpack.report.text import numbers, text_tables
from grokpack.report.text.shown_paths import shown_path
from grokpack.report.text.text_tables import Column

if TYPE_CHECKING:
    from grokpack.core.documents.evaluation_json import (
        CandidateJson,
        EvaluationJson,
        LayerJson,
        LossJson,
        PartErrorJson,
    )
    from grokpack.core.finding import Finding

_LAYER = (
    Column("layer"),
    Column("stream", 7),
    Column("attention"),
    Column("experts"),
    Column("best gate", 10),
    Column("tokens of each expert", left=True),
)
_GAP = (
    Column("layer"),
    Column("attention"),
    Column("limit", 8),
    Column("experts", 8),
    Column("limit", 8),
    Column("stream", 8),
    Column("other experts chosen"),
)
_CANDIDATE = (
    Column("", left=True),
    Column("size", 10),
    Column("bits"),
    Column("KL mean", 8),
    Column("99% below", 9),
    Column("likeliest token"),
    Column("perplexity", left=True),
)
_TINY = 1e-3  # below it, decimals would all be zero
_MOST_FINDINGS = 12  # that are shown; the document and the page have all


def render(data: EvaluationJson, seen: list[Finding]) -> str:
    """Render one network: perplexity, layers, findings, cost."""
    lines = [f"perplexity  {perplexity(data['loss'])}", f"            {_loss(data['loss'])}", ""]
    lines += text_tables.table(_LAYER, [_layer(row) for row in data["layers"]], indent="")
    lines += ["", *_findings(seen), _cost(data)]
    lines += [f"logits       {escape_line(data['logits'])}"] if data["logits"] else []
    lines += [f"calibration  {escape_line(data['calibration'])}"] if data["calibration"] else []
    return "\n".join(lines)


def render_pair(data: EvaluationJson, seen: list[Finding], word: str) -> str:
    """Render two networks: perplexities, distance, where it begins, verdict."""
    kl = data["kl"]
    lines = [
        f"perplexity     {perplexity(data['loss'])}   {escape_line(data['source'])}",
        f"               {perplexity(data['other_loss'])}   {shown_path(data['against'] or '')}",
        f"KL divergence  mean {_number(kl['mean'])}, 99% below {_number(kl['p99'])} nats",
        f"agreement      likeliest token {data['top1']:.2%}, eight likeliest {data['top8']:.2%}",
        f"weights        {states(data)}",
        "",
        "relative error of each part on the same input, and the limit that its formats give:",
        *text_tables.table(_GAP, _gaps(data), indent=""),
        "",
    ]
    lines += [*_findings(seen), f"{word}  {measure(data)}", f"        {_cost(data)}"]
    return "\n".join(lines)


def render_candidates(data: EvaluationJson, seen: list[Finding], word: str) -> str:
    """Render several candidates as a table below the source, then what is beyond a limit."""
    reference = (
        *_size(data["source"], data["nbytes"], data["bits"]),
        *("", "", ""),
        perplexity(data["loss"]),
    )
    candidates = data["candidates"]
    rows = [reference, *map(_candidate, candidates)]
    lines = ["KL divergence in nats, bits for each parameter:"]
    lines += [*text_tables.table(_CANDIDATE, rows, indent=""), "", *_findings(seen)]
    count = sum(row["beyond"] for row in candidates)
    if word != "ok":
        lines.append(f"{word}  {count or len(candidates)} of {len(candidates)} candidates")
    lines.append(f"        {_cost(data)}")
    return "\n".join(lines)


def _size(place: str, nbytes: int, bits: float) -> tuple[str, str, str]:
    return shown_path(place), byte_size(nbytes), f"{bits:.2f}"


def _candidate(row: CandidateJson) -> tuple[str, ...]:
    kl = row["kl"]
    return (
        *_size(row["against"], row["nbytes"], row["bits"]),
        _number(kl["mean"]),
        _number(kl["p99"]),
        f"{row['top1']:.2%}",
        perplexity(row["loss"]),
    )


def _findings(seen: list[Finding]) -> list[str]:
    """List the first findings, and count the others."""
    lines = [_finding(row) for row in seen[:_MOST_FINDINGS]]
    if len(seen) > _MOST_FINDINGS:
        lines.append(f"      {numbers.others(len(seen) - _MOST_FINDINGS, 'finding')}")
    return lines


def states(data: EvaluationJson) -> str:
    """Count the weights that are equal, within what their formats allow, and beyond it."""
    found = data["weights"]
    counts = (
        (found["equal"], "equal"),
        (found["within"], "within what their formats allow"),
        (found["otherwise"], "stored otherwise"),
        (found["beyond"], "beyond"),
    )
    return ", ".join(f"{count:,} {words}" for count, words in counts if count) or "none"


def measure(data: EvaluationJson) -> str:
    """Describe what decided the verdict, with its limit and measurement."""
    said = []
    if data["max_kl"] is not None:
        said.append(f"mean KL divergence {_number(data['kl']['mean'])} of {data['max_kl']:g} nats")
    if data["min_top1"] is not None:
        said.append(f"likeliest token {data['top1']:.2%} of {data['min_top1']:.2%}")
    most, least = data.get("max_router_flips"), data.get("min_layer_cosine")
    if most is not None:
        flips = max(row["flips"] or 0.0 for row in data["layers"])
        said.append(f"other experts chosen {flips:.2%} of {most:.2%}")
    if least is not None:
        cosine = min(row["cosine"] or 0.0 for row in data["layers"])
        said.append(f"cosine of a layer {cosine:.6f} of {least:g}")
    if said:
        return ", ".join(said)
    nearest = max(data["parts"], key=_filling)
    where = nearest["part"] if nearest["layer"] is None else f"layer {nearest['layer']}'s "
    name = where if nearest["layer"] is None else where + nearest["part"]
    return f"error of {name}: {_number(nearest['error'])} of {_number(nearest['limit'])}"


def _filling(part: PartErrorJson) -> float:
    """Return how much of its limit a part takes."""
    if part["error"] is None or part["limit"] is None:
        return math.inf
    return float(part["error"] / part["limit"])


def _layer(row: LayerJson) -> tuple[str, ...]:
    return (
        str(row["layer"]),
        *(f"{row[key]:.4g}" for key in ("rms", "attention_rms", "experts_rms")),
        f"{row['gate']:.1%}",
        " ".join(map(str, row["load"])),
    )


def _gaps(data: EvaluationJson) -> list[tuple[str, ...]]:
    """Return the rows of every part: the embedding, the layers, the head."""
    limits = {(row["part"], row["layer"]): _number(row["limit"]) for row in data["parts"]}
    nothing = [""] * (len(_GAP) - 3)
    layers = [
        (
            str(row["layer"]),
            _number(row["attention"]),
            limits["attention", row["layer"]],
            _number(row["experts"]),
            limits["experts", row["layer"]],
            _number(row["stream"]),
            f"{row['flips']:.2%}",
        )
        for row in data["layers"]
    ]
    embedding = "embed", _number(data["embedding"]), limits["embedding", None], *nothing
    return [embedding, *layers, ("head", _number(data["head"]), limits["head", None], *nothing)]


def perplexity(loss: LossJson) -> str:
    """Format a perplexity, `23.41 +- 0.52`, or the reason why there is none."""
    if not loss["tokens"]:
        return "none: no token has a successor to predict"
    if loss["perplexity"] is None:
        return "not finite"
    error = loss["perplexity_error"]
    return f"{loss['perplexity']:.4g}" + ("" if error is None else f" +- {error:.2g}")


def _loss(loss: LossJson) -> str:
    if not loss["tokens"]:
        return ""
    error = "" if loss["error"] is None else f" +- {loss['error']:.2g}"
    mean = "not finite" if loss["mean"] is None else f"{loss['mean']:.4f}{error}"
    over = counted(loss["tokens"], "token")
    return f"loss {mean} nats over {over}, {loss['top1']:.1%} were the likeliest"


def _cost(data: EvaluationJson) -> str:
    read, took = byte_size(data["read_bytes"]), numbers.duration(data["seconds"])
    speed = f"{data['tokens_per_s']:.3g} tokens/s"
    return f"{counted(data['tokens'], 'token')} in {took} ({speed}), {read} of weights read"


def _number(value: float | None) -> str:
    if value is None:
        return "infinite"
    return f"{value:.2e}" if 0 < value < _TINY else f"{value:.4f}"


def _finding(row: Finding) -> str:
    where = row.tensor or escape_line(row.file or "")
    place = f": {where}" if where else ""
    return (
        f"{row.severity}[{row.code}]: {row.message}{place}\n"
        f"      expected {row.expected}, found {row.found}"
    )
