"""Statistics as pictures: heat map of rms, histograms by kind of tensor, bad values."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from grokpack.models import registry
from grokpack.report import html, svg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.core.documents.inspection_json import (
        FiguresJson,
        HistogramJson,
        InspectionJson,
        StatisticsJson,
        TensorJson,
    )
    from grokpack.report.html import Html

_FULL_OCTAVES = 1.0  # a factor of two from the median gets the full colour
_MOST_PERCENT = 80  # of colour, so that the number stays readable
_LARGEST = 2.0**100  # an edge above it stands for no bound
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
    """Draw layers by kinds of tensors, shaded by the distance from the column's median."""
    layered = [(layer, row) for row in rows if (layer := row.about["layer"]) is not None]
    kinds = {row.kind: row.about["title"] for _, row in layered}
    values = {(layer, row.kind): row.figures["rms"] for layer, row in layered}
    layers = sorted({layer for layer, _ in layered})
    medians = {
        kind: statistics.median(v for (_, k), v in values.items() if k == kind) for kind in kinds
    }
    lines = [
        [
            html.element("th", layer, scope="row", class_="number"),
            *(_cell(values.get((layer, kind)), medians[kind]) for kind in kinds),
        ]
        for layer in layers
    ]
    head = [
        "layer",
        *(html.element("th", title, class_="kind", title=k) for k, title in kinds.items()),
    ]
    text = (
        "Root of the mean square of each tensor, scales applied. Orange is above, blue below the "
        "median of the column; the full shade is a factor of two."
    )
    return html.section(
        "rms by layer", html.element("p", text), html.table(head, lines, range(len(head)))
    )


def _cell(value: float | None, median: float) -> Html:
    if value is None:
        return html.element("td", "-", class_="heat", style="--low: 0")
    octaves = math.log2(value / median) if value > 0 and median > 0 else 0.0
    shade = min(abs(octaves) / _FULL_OCTAVES, 1.0) * _MOST_PERCENT
    kind = "heat high" if octaves > 0 else "heat"
    return html.element("td", f"{value:.3g}", class_=kind, style=f"--low: {shade:.0f}")


def _histograms(rows: list[_Row]) -> Html:
    """Draw a histogram for each kind of tensor, all layers together."""
    counts: dict[str, list[int]] = {}
    first: dict[str, _Row] = {}
    for row in rows:
        own = row.figures["histogram"]["counts"]
        held = counts.get(row.kind)
        counts[row.kind] = own if held is None else [a + b for a, b in zip(held, own, strict=False)]
        first.setdefault(row.kind, row)
    figures = [_figure(first[kind], held) for kind, held in counts.items() if held]
    text = "Quantized tensors by int8 code, others by magnitude; all layers of a kind together."
    return html.section(
        "Distributions", html.element("p", text), html.element("div", *figures, class_="many")
    )


def _figure(row: _Row, counts: list[int]) -> Html:
    names = _bins(row.figures["histogram"])
    title = row.about["title"]
    ends = f"{names[0]} to {names[-1]}; tallest bar {max(counts) / (sum(counts) or 1):.0%}"
    caption = html.element("figcaption", title, html.element("div", html.element("small", ends)))
    return html.element(
        "figure", svg.histogram(counts, f"histogram of {title}, {ends}", names), caption
    )


def _bins(histogram: HistogramJson) -> list[str]:
    """Return the names of a histogram's bins."""
    spans = itertools.pairwise(histogram["edges"])
    if histogram["of"] == "codes":
        return [f"{low} .. {high - 1}" for low, high in spans]
    return [f"{_from(low)}{_to(high)}".lstrip() for low, high in spans]


def _from(edge: float) -> str:
    return f"from {_power(edge)}" if edge else ""


def _to(edge: float) -> str:
    return " up" if edge > _LARGEST else f" to {_power(edge)}"


def _power(edge: float) -> str:
    return f"2^{round(math.log2(edge))}"


def _unsound(rows: list[StatisticsJson]) -> Html:
    lines = [
        (html.element("code", row["name"]), f"{values:,}", f"{scales:,}")
        for row in rows
        for values, scales in [(_bad(row, _BAD_VALUES), _bad(row["scales"], _BAD_SCALES))]
        if values or scales
    ]
    title = "NaN, infinities, scales that are not positive"
    if not lines:
        return html.section(title, html.element("p", f"None in {len(rows)} tensors."))
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
    return html.section("All statistics", html.folded(f"{len(rows)} tensors", whole))
