"""Statistics as pictures: heat map of rms, histograms by kind of tensor, bad values."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import TYPE_CHECKING, Any

from grokpack.models import registry
from grokpack.report import html, svg

if TYPE_CHECKING:
    from grokpack.report.html import Html

_FULL_OCTAVES = 1.0  # a factor of two from the median gets the full colour
_MOST_PERCENT = 80  # of colour, so that the number stays readable
_LARGEST = 2.0**100  # an edge above it stands for no bound
_BAD_VALUES = ("nan", "posinf", "neginf", "undefined")
_BAD_SCALES = ("nan", "posinf", "neginf", "zero", "negative")


def sections(data: dict[str, Any]) -> list[Html]:
    """Make all sections that need the values to have been read."""
    about = {row["name"]: row for row in data["tensors"]}
    family = registry.by_paths(about)
    rows = [
        row | {"kind": family.path_of(row["name"]), "about": about[row["name"]]}
        for row in _rows(data)
    ]
    layered = [row for row in rows if row["about"]["layer"] is not None]
    found = [_heat_map(layered)] if layered else []
    return [*found, _histograms(rows), _unsound(rows), _table(rows)]


def _rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = data["statistics"]
    return rows


def _heat_map(rows: list[dict[str, Any]]) -> Html:
    """Draw layers by kinds of tensors, shaded by the distance from the column's median."""
    kinds = {row["kind"]: row["about"]["title"] for row in rows}
    values = {(row["about"]["layer"], row["kind"]): row["rms"] for row in rows}
    layers = sorted({layer for layer, _ in values})
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


def _histograms(rows: list[dict[str, Any]]) -> Html:
    """Draw a histogram for each kind of tensor, all layers together."""
    counts: dict[str, list[int]] = {}
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        own = row["histogram"]["counts"]
        held = counts.get(row["kind"])
        counts[row["kind"]] = (
            own if held is None else [a + b for a, b in zip(held, own, strict=False)]
        )
        first.setdefault(row["kind"], row)
    figures = [_figure(first[kind], held) for kind, held in counts.items() if held]
    text = "Quantized tensors by int8 code, others by magnitude; all layers of a kind together."
    return html.section(
        "Distributions", html.element("p", text), html.element("div", *figures, class_="many")
    )


def _figure(row: dict[str, Any], counts: list[int]) -> Html:
    names = _bins(row["histogram"])
    title = row["about"]["title"]
    ends = f"{names[0]} to {names[-1]}; tallest bar {max(counts) / (sum(counts) or 1):.0%}"
    caption = html.element("figcaption", title, html.element("div", html.element("small", ends)))
    return html.element(
        "figure", svg.histogram(counts, f"histogram of {title}, {ends}", names), caption
    )


def _bins(histogram: dict[str, Any]) -> list[str]:
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


def _unsound(rows: list[dict[str, Any]]) -> Html:
    lines = [
        (html.element("code", row["name"]), f"{values:,}", f"{scales:,}")
        for row in rows
        for values, scales in [(_bad(row, _BAD_VALUES), _bad(row["scales"] or {}, _BAD_SCALES))]
        if values or scales
    ]
    title = "NaN, infinities, scales that are not positive"
    if not lines:
        return html.section(title, html.element("p", f"None in {len(rows)} tensors."))
    return html.section(title, html.table(("name", "bad values", "bad scales"), lines, (1, 2)))


def _bad(figures: dict[str, Any], kinds: tuple[str, ...]) -> int:
    return sum(figures.get(kind, 0) for kind in kinds)


def _table(rows: list[dict[str, Any]]) -> Html:
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
