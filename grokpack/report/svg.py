"""Small SVG pictures inside a page: shares of a whole, histograms, heat maps, curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grokpack.report.html import Html, element

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 1000.0, 100.0
_GAP = 0.1  # of a bar's width
_DOT = 0.8  # width of a value's mark, of what it has
COLOURS = 5  # of parts, in the style sheet


def shares(rows: Sequence[tuple[str, float]]) -> Html:
    """Draw a bar divided into pieces as long as their shares (0 to 1)."""
    at, pieces = 0.0, []
    for number, (name, share) in enumerate(rows):
        title = element("title", f"{name}: {share:.2%}")
        pieces.append(
            element(
                "rect",
                title,
                x=f"{at * _WIDTH:.2f}",
                y=0,
                width=f"{share * _WIDTH:.2f}",
                height=_HEIGHT,
                style=f"fill: var(--part-{number % COLOURS})",
            )
        )
        at += share
    label = ", ".join(f"{name} {share:.1%}" for name, share in rows)
    return _picture(pieces, "shares", label)


def swatch(number: int) -> Html:
    """Draw the colour of a piece, for the table that names it."""
    return element("span", class_="swatch", style=f"background: var(--part-{number % COLOURS})")


def histogram(counts: Sequence[int], label: str, bins: Sequence[str]) -> Html:
    """Draw bars as high as their counts, each with its bin and count on hover.

    Args:
        counts: Count of each bin.
        label: What the picture shows, for those who cannot see it.
        bins: A name for each.
    """
    most, total = max(counts, default=0) or 1, sum(counts) or 1
    wide = _WIDTH / max(len(counts), 1)
    bars = [
        element(
            "rect",
            element("title", f"{name}: {count / total:.2%}"),
            x=f"{(i + _GAP / 2) * wide:.1f}",
            y=f"{_HEIGHT * (1 - count / most):.2f}",
            width=f"{(1 - _GAP) * wide:.1f}",
            height=f"{_HEIGHT * count / most:.2f}",
        )
        for i, (count, name) in enumerate(zip(counts, bins, strict=True))
    ]
    return _picture(bars, "bars", label)


def heat(
    columns: Sequence[str], rows: Sequence[str], values: Mapping[tuple[str, str], float]
) -> Html:
    """Draw a grid of squares, darker for larger values, each with its value on hover.

    Args:
        columns: Names of the columns.
        rows: Names of the rows.
        values: Value by (column, row); squares without a value are left out.
    """
    if not values:
        return element("p", "no values")
    low, high = min(values.values()), max(values.values())
    wide, tall = _WIDTH / len(columns), _HEIGHT / len(rows)
    squares = [
        element(
            "rect",
            element("title", f"{row}, {column}: {value:.4g}"),
            x=f"{columns.index(column) * wide:.2f}",
            y=f"{rows.index(row) * tall:.2f}",
            width=f"{wide * (1 - _GAP):.2f}",
            height=f"{tall * (1 - _GAP):.2f}",
            style=f"fill: var(--part-0); fill-opacity: {_shade(value, low, high):.2f}",
        )
        for (column, row), value in values.items()
    ]
    label = f"{len(rows)} rows by {len(columns)} columns, from {low:.4g} to {high:.4g}"
    legend = element("p", f"Rows from above: {', '.join(rows)}. Lightest {low:.4g}, ",
                     f"darkest {high:.4g}.")  # fmt: skip
    return Html(_picture(squares, "heat", label) + legend)


def curves(lines: Mapping[str, Sequence[float | None]], label: str) -> Html:
    """Draw values along an axis, a row of marks for each name, on a logarithmic scale.

    Each value is a mark; zeros and missing values have none.

    Args:
        lines: Values by name, all as many.
        label: What the picture shows, for those who cannot see it.
    """
    shown = [math.log10(v) for line in lines.values() for v in line if v]
    if not shown:
        return element("p", "All are zero.")
    low, high = math.floor(min(shown)), math.ceil(max(shown) + 1e-9)
    drawn = []
    for number, (name, line) in enumerate(lines.items()):
        wide = _WIDTH / max(len(line), 1)
        for at, value in enumerate(line):
            if not value:
                continue
            y = _HEIGHT * (1 - (math.log10(value) - low) / max(high - low, 1))
            title = element("title", f"{name}, {at}: {value:.4g}")
            colour = f"fill: var(--part-{number % COLOURS})"
            x = f"{(at + 0.5 - _DOT / 2) * wide:.1f}"
            drawn.append(
                element("rect", title, x=x, y=f"{y - 1:.2f}", width=f"{_DOT * wide:.1f}",
                        height=2, style=colour)
            )  # fmt: skip
    legend = element("p", *(piece for number, name in enumerate(lines)
                            for piece in (swatch(number), f" {name}  ")),
                     f"From 1e{low} below to 1e{high} above.")  # fmt: skip
    return Html(_picture(drawn, "heat", label) + legend)


def _shade(value: float, low: float, high: float) -> float:
    """Return the opacity of a value; the smallest can still be seen."""
    return 0.15 + 0.85 * (value - low) / ((high - low) or 1.0)


def _picture(children: Sequence[Html], kind: str, label: str) -> Html:
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}",
        preserveAspectRatio="none",
        class_=kind,
        role="img",
        aria_label=label,
    )
