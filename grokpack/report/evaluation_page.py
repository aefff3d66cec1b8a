"""HTML page of `grokpack evaluate --report FILE.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.report import html, numbers, svg
from grokpack.report.evaluation_text import measure, perplexity, states

if TYPE_CHECKING:
    from grokpack.core.documents.evaluation_json import EvaluationAnswer, EvaluationJson
    from grokpack.report.html import Html

_BINS = 40  # of the histogram of losses


def page(document: EvaluationAnswer) -> str:
    """Make the page of an evaluation's document."""
    data = document["data"]
    if "candidates" in data:
        overview = _overview(data, [("verdict", document["status"])])
        sections = [overview, _verdict(document), _candidates(data)]
    elif data["against"] is None:
        sections = [_overview(data, []), _flow(data), _load(data), *_losses(data)]
    else:
        more = [("verdict", f"{document['status']}: {measure(data)}"), *_distance(data)]
        sections = [_overview(data, more), _verdict(document), _errors(data)]
    return html.page(document, data["source"], sections)


def _overview(data: EvaluationJson, more: list[tuple[str, object]]) -> Html:
    rows = [
        ("perplexity", perplexity(data["loss"])),
        *more,
        ("tokens", f"{data['tokens']:,} of {data['input']}"),
        ("network", data["family"]),
        ("arithmetic", f"{data['precision']}, GELU by {data['gelu']}"),
        ("read", byte_size(data["read_bytes"])),
        ("time", f"{numbers.duration(data['seconds'])}, {data['tokens_per_s']:.3g} tokens/s"),
    ]
    return html.section("Overview", html.facts(rows))


def _distance(data: EvaluationJson) -> list[tuple[str, object]]:
    kl = data["kl"]
    return [
        (f"perplexity of {data['against']}", perplexity(data["other_loss"])),
        ("KL divergence, mean", _figure(kl["mean"])),
        ("KL divergence, 99% below", _figure(kl["p99"])),
        ("likeliest token agrees", f"{data['top1']:.2%}"),
        ("eight likeliest agree", f"{data['top8']:.2%}"),
        ("weights", states(data)),
    ]


def _verdict(document: EvaluationAnswer) -> Html:
    rows = [
        (
            html.element("code", f["code"]),
            f["severity"],
            f["message"],
            f["tensor"] or "",
            f["expected"],
            f["found"],
        )
        for f in document["findings"]
    ]
    if not rows:
        return html.section("Findings", html.element("p", "None."))
    head = ("code", "severity", "what", "tensor", "expected", "found")
    return html.section("Findings", html.table(head, rows))


def _candidates(data: EvaluationJson) -> Html:
    """Show size and distance of every candidate."""
    head = ("", "size", "bits", "KL, mean", "KL, 99% below", "likeliest token", "perplexity")
    source = (data["source"], byte_size(data["nbytes"]), f"{data['bits']:.2f}")
    rows = [
        (
            row["against"],
            byte_size(row["nbytes"]),
            f"{row['bits']:.2f}",
            _figure(row["kl"]["mean"]),
            _figure(row["kl"]["p99"]),
            f"{row['top1']:.2%}",
            perplexity(row["loss"]),
        )
        for row in data["candidates"]
    ]
    reference = (*source, "", "", "", perplexity(data["loss"]))
    table = html.table(head, [reference, *rows], range(1, len(head)))
    return html.section("Candidates", table)


def _errors(data: EvaluationJson) -> Html:
    """Show the relative errors by layer, with their limits."""
    layers = data["layers"]
    lines = {
        "stream, each its own": [row["stream"] for row in layers],
        "attention, same input": [row["attention"] for row in layers],
        "experts, same input": [row["experts"] for row in layers],
    }
    picture = svg.curves(lines, "relative error by layer")
    limits = {(row["part"], row["layer"]): _figure(row["limit"]) for row in data["parts"]}
    head = ("layer", "stream", "attention", "limit", "experts", "limit", "other experts chosen")
    rows = [
        (
            row["layer"],
            _figure(row["stream"]),
            _figure(row["attention"]),
            limits["attention", row["layer"]],
            _figure(row["experts"]),
            limits["experts", row["layer"]],
            f"{row['flips']:.2%}",
        )
        for row in layers
    ]
    ends = html.facts(
        [(k, f"{_figure(data[k])}, limit {limits[k, None]}") for k in ("embedding", "head")]
    )
    table = html.table(head, rows, range(len(head)))
    return html.section("Relative error by layer", picture, ends, table)


def _flow(data: EvaluationJson) -> Html:
    head = ("layer", "stream", "largest", "attention adds", "experts add", "best gate")
    rows = [
        (
            row["layer"],
            *(f"{row[k]:.4g}" for k in ("rms", "largest", "attention_rms", "experts_rms")),
            f"{row['gate']:.1%}",
        )
        for row in data["layers"]
    ]
    lines = {
        "attention adds": [row["attention_rms"] for row in data["layers"]],
        "experts add": [row["experts_rms"] for row in data["layers"]],
        "stream": [row["rms"] for row in data["layers"]],
    }
    picture = svg.curves(lines, "root mean square by layer")
    table = html.table(head, rows, range(len(head)))
    return html.section("What flows through the layers (root mean squares)", picture, table)


def _load(data: EvaluationJson) -> Html:
    """Draw the load of experts: layers across, experts down, darker for more tokens."""
    layers = data["layers"]
    experts = [f"expert {e}" for e in range(len(layers[0]["load"]))] if layers else []
    columns = [f"layer {row['layer']}" for row in layers]
    values = {
        (columns[n], name): float(row["load"][e])
        for n, row in enumerate(layers)
        for e, name in enumerate(experts)
    }
    return html.section("Tokens of each expert", svg.heat(columns, experts, values))


def _losses(data: EvaluationJson) -> list[Html]:
    known = [loss for loss in data["losses"] if loss is not None]
    if not known:
        return []
    low, high = min(known), max(known)
    step = (high - low) / _BINS or 1.0
    counts = [0] * _BINS
    for loss in known:
        counts[min(_BINS - 1, int((loss - low) / step))] += 1
    bins = [f"{low + i * step:.2f} to {low + (i + 1) * step:.2f} nats" for i in range(_BINS)]
    spread = svg.histogram(counts, "losses of tokens", bins)
    order = svg.curves({"loss": data["losses"]}, "loss of each token in order")
    return [html.section(f"Loss of {len(known):,} tokens", spread, order)]


def _figure(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.4g}"
