"""Statistics on a page: rms by layer, histograms by kind of tensor, bad values."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from grokpack.core.counts import counted
from grokpack.models import registry
from grokpack.report.pages import chart_gallery, heat_table, html
from grokpack.report.pages.charts import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.core.documents.inspection_json import (
        FiguresJson,
        InspectionJson,
        StatisticsJson,
        TensorJson,
    )
    from grokpack.report.pages.html import Html

_SUPERSCRIPT = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)
_Bad = Literal["nan", "posinf", "neginf", "undefined", "zero", "negative"]
_BAD_VALUES: tuple[_Bad, ...] = ("nan", "posinf", "neginf", "undefined")
_BAD_SCALES: tuple[_Bad, ...] = ("nan", "posinf", "neginf", "zero", "negative")


@dataclass(frozen=True, slots=True)
class _Row:
    """Statistics of a tensor, with its kind and what else is known of it."""

    kind: str
    about: TensorJson
    figures: StatisticsJson


def sections(data: InspectionJson) -> list[Html]:
    """Make all sections that need the values to have been read."""
    about = {row["name"]: row for row in data["tensors"]}
    family = registry.by_paths(about)
    rows = [
        _Row(family.path_of(row["name"]), about[row["name"]], row) for row in data["statistics"]
    ]
    found = [_heat_map(rows)] if any(row.about["layer"] is not None for row in rows) else []
    return [*found, _histograms(rows), _unsound(data["statistics"]), _table(data["statistics"])]


def _heat_map(rows: list[_Row]) -> Html:
    """Show the rms by layer and kind, shaded by the distance from the kind's median."""
    layered = [(layer, row) for row in rows if (layer := row.about["layer"]) is not None]
    kinds = {row.kind: row.about["title"] for _, row in layered}
    values = {(layer, row.kind): row.figures["rms"] for layer, row in layered}
    medians = {
        kind: statistics.median(v for (_, k), v in values.items() if k == kind) for kind in kinds
    }
    text = (
        "Root of the mean square of each tensor, scales applied. Shades compare layers of a kind."
    )
    table = heat_table.around(kinds, values, ".3g", medians, "median of the kind")
    return html.section("rms by layer", html.element("p", text), table)


def _histograms(rows: list[_Row]) -> Html:
    """Draw a histogram for each kind of tensor, all layers together."""
    counts: dict[str, list[int]] = {}
    first: dict[str, _Row] = {}
    for row in rows:
        own = row.figures["histogram"]["counts"]
        held = counts.get(row.kind)
        counts[row.kind] = own if held is None else [a + b for a, b in zip(held, own, strict=False)]
        first.setdefault(row.kind, row)
    shown = [_histogram(first[kind], held) for kind, held in counts.items() if held]
    text = "Quantized tensors by int8 code, others by magnitude; all layers of a kind together."
    return html.section("Distributions", html.element("p", text), chart_gallery.gallery(*shown))


def _histogram(row: _Row, counts: list[int]) -> Histogram:
    title, histogram = row.about["title"], row.figures["histogram"]
    if histogram["of"] == "codes":
        return Histogram(title, "int8 code", "weights", histogram["edges"], counts)
    places, labels = _octaves(histogram["edges"])
    return Histogram(title, "magnitude", "values", places, counts, labels)


def _octaves(edges: list[float]) -> tuple[list[float], list[str]]:
    """Return where the edges of magnitudes are drawn, a factor of two apart, and their labels.

    The first bin begins at zero and the last has no end: they are drawn as wide as the others.
    """
    inner = [round(math.log2(edge)) for edge in edges[1:-1]]
    labels = [f"2{str(power).translate(_SUPERSCRIPT)}" for power in inner]
    return [inner[0] - 1, *inner, inner[-1] + 1], ["0", *labels, "\N{INFINITY}"]


def _unsound(rows: list[StatisticsJson]) -> Html:
    lines = [
        (html.element("code", row["name"]), f"{values:,}", f"{scales:,}")
        for row in rows
        for values, scales in [(_bad(row, _BAD_VALUES), _bad(row["scales"], _BAD_SCALES))]
        if values or scales
    ]
    title = "NaN, infinities, scales that are not positive"
    if not lines:
        return html.section(title, html.element("p", f"None in {counted(len(rows), 'tensor')}."))
    return html.section(title, html.table(("name", "bad values", "bad scales"), lines, (1, 2)))


def _bad(figures: FiguresJson | None, kinds: Iterable[_Bad]) -> int:
    return 0 if figures is None else sum(figures.get(kind, 0) for kind in kinds)


def _table(rows: list[StatisticsJson]) -> Html:
    lines = [
        (
            html.element("code", row["name"]),
            *(f"{row[key]:.4g}" for key in ("min", "max", "rms")),
            f"{row['saturated']:,}" if "saturated" in row else "",
        )
        for row in rows
    ]
    head = ("name", "min", "max", "rms", "saturated codes")
    whole = html.table(head, lines, (1, 2, 3, 4))
    return html.section("All statistics", html.folded(counted(len(rows), "tensor"), whole))
