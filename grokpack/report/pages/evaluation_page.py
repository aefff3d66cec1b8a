"""HTML page of `grokpack evaluate --report FILE.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.report.pages import chart_gallery, findings_section, heat_table, html
from grokpack.report.pages.charts import Histogram, Lines, Points, Series
from grokpack.report.pages.html import Page
from grokpack.report.text import numbers
from grokpack.report.text.evaluation_text import measure, perplexity, states
from grokpack.report.text.shown_paths import shown_path

if TYPE_CHECKING:
    from grokpack.core.documents.evaluation_json import (
        EvaluationAnswer,
        EvaluationJson,
        PartName,
    )
    from grokpack.report.pages.html import Html

_BINS = 40  # of the histogram of losses
_Half = Literal["attention", "experts"]


def page(document: EvaluationAnswer) -> Page:
    """Make the page of an evaluation's document."""
    data = document["data"]
    if "candidates" in data:
        overview = _overview(data, [("verdict", document["status"])])
        found = findings_section.findings(document["findings"])
        return Page(data["source"], [overview, _candidates(data), found])
    if data["against"] is None:
        return Page(data["source"], [_overview(data, []), _flow(data), _load(data), *_losses(data)])
    verdict = ("verdict", f"{document['status']}: {measure(data)}")
    sections = [
        _overview(data, [verdict, *_distance(data)]),
        findings_section.findings(document["findings"]),
        _errors(data),
    ]
    return Page(f"{data['source']} and {shown_path(data['against'])}", sections)


def _overview(data: EvaluationJson, more: list[tuple[str, object]]) -> Html:
    rows = [
        (f"perplexity of {data['source']}" if more else "perplexity", perplexity(data["loss"])),
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
        (f"perplexity of {shown_path(data['against'] or '')}", perplexity(data["other_loss"])),
        ("KL divergence, mean", f"{_figure(kl['mean'])} nats"),
        ("KL divergence, 99% below", f"{_figure(kl['p99'])} nats"),
        ("likeliest token agrees", f"{data['top1']:.2%}"),
        ("eight likeliest agree", f"{data['top8']:.2%}"),
        ("weights", states(data)),
    ]


def _candidates(data: EvaluationJson) -> Html:
    """Show size and distance of every candidate."""
    head = ("", "size", "bits", "KL, mean", "KL, 99% below", "likeliest token", "perplexity")
    source = (data["source"], byte_size(data["nbytes"]), f"{data['bits']:.2f}")
    rows = [
        (
            shown_path(row["against"]),
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
    chart = Points(
        "Divergence by bits",
        "bits per weight",
        "mean KL divergence (nats)",
        [
            (shown_path(row["against"]), row["bits"], row["kl"]["mean"])
            for row in data["candidates"]
        ],
    )
    return html.section("Candidates", chart_gallery.gallery(chart), table)


def _errors(data: EvaluationJson) -> Html:
    """Show the relative errors by layer, with their limits."""
    layers = data["layers"]
    limits = {(row["part"], row["layer"]): row["limit"] for row in data["parts"]}

    def limit(part: PartName, layer: int | None) -> str:
        return _figure(limits[part, layer])

    def half(part: _Half) -> list[Series]:
        allowed = [limits[part, row["layer"]] for row in layers]
        return [
            Series(part, [row[part] for row in layers]),
            Series(f"limit of {part}", allowed, limit_of=part),
        ]

    same = Lines("Each half of a layer on the same input", "layer", "relative error",
                 [*half("attention"), *half("experts")])  # fmt: skip
    own = Lines("The residual stream, each network in its own", "layer", "relative error",
                [Series("stream", [row["stream"] for row in layers])])  # fmt: skip
    head = ("layer", "stream", "attention", "limit", "experts", "limit", "other experts chosen")
    rows = [
        (
            row["layer"],
            _figure(row["stream"]),
            _figure(row["attention"]),
            limit("attention", row["layer"]),
            _figure(row["experts"]),
            limit("experts", row["layer"]),
            f"{row['flips']:.2%}",
        )
        for row in layers
    ]
    ends = html.facts(
        [
            ("embedding", f"{_figure(data['embedding'])}, limit {limit('embedding', None)}"),
            ("head", f"{_figure(data['head'])}, limit {limit('head', None)}"),
        ]
    )
    table = html.table(head, rows, range(len(head)))
    return html.section("Relative error by layer", chart_gallery.gallery(same, own), ends, table)


def _flow(data: EvaluationJson) -> Html:
    head = ("layer", "stream", "largest", "attention adds", "experts add", "best gate")
    layers = data["layers"]
    rows = [
        (
            row["layer"],
            *(f"{row[k]:.4g}" for k in ("rms", "largest", "attention_rms", "experts_rms")),
            f"{row['gate']:.1%}",
        )
        for row in layers
    ]
    series = [
        Series("attention adds", [row["attention_rms"] for row in layers]),
        Series("experts add", [row["experts_rms"] for row in layers]),
        Series("stream", [row["rms"] for row in layers]),
    ]
    chart = Lines("What each layer adds to the stream", "layer", "root mean square", series)
    table = html.table(head, rows, range(len(head)))
    return html.section(
        "What flows through the layers (root mean squares)", chart_gallery.gallery(chart), table
    )


def _load(data: EvaluationJson) -> Html:
    """Show the load of experts by layer, shaded around an even load."""
    layers = data["layers"]
    experts = range(len(layers[0]["load"])) if layers else range(0)
    columns = {str(e): f"expert {e}" for e in experts}
    values = {(row["layer"], str(e)): float(row["load"][e]) for row in layers for e in experts}
    even = sum(layers[0]["load"]) / len(experts) if layers else 0.0
    table = heat_table.around(
        columns, values, ".0f", dict.fromkeys(columns, even), f"even load, {even:,.0f} tokens"
    )
    return html.section("Tokens of each expert", table)


def _losses(data: EvaluationJson) -> list[Html]:
    known = [loss for loss in data["losses"] if loss is not None]
    if not known:
        return []
    low, high = min(known), max(known)
    step = (high - low) / _BINS or 1.0
    counts = [0] * _BINS
    for loss in known:
        counts[min(_BINS - 1, int((loss - low) / step))] += 1
    edges = [low + step * at for at in range(_BINS + 1)]
    spread = Histogram("How often which loss", "loss of a token (nats)", "tokens", edges, counts)
    order = Lines("In the order of the text", "token", "loss (nats)",
                  [Series("loss", data["losses"])], logarithmic=False)  # fmt: skip
    title = f"Loss of {counted(len(known), 'token')}"
    return [html.section(title, chart_gallery.gallery(spread, order))]


def _figure(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
