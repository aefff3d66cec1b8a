"""Small pictures inside a page: shares of a whole, and histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.render.html import Html, element

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 1000.0, 100.0
_GAP = 0.1  # of a bar's width
COLOURS = 5  # of parts, in the style sheet


def shares(rows: Sequence[tuple[str, float]]) -> Html:
    """A whole, divided: one bar whose pieces are as long as their shares (0 to 1)."""
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
    """The colour of a piece, for the table that names it."""
    return element("span", class_="swatch", style=f"background: var(--part-{number % COLOURS})")


def histogram(counts: Sequence[int], label: str, bins: Sequence[str]) -> Html:
    """Bars as high as their counts; each says on hover which bin it is and how much it holds.

    Args:
        counts: Of each bin.
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
    """A grid of squares, darker where a value is larger; each says its value on hover.

    Args:
        columns: Names of the columns.
        rows: Names of the rows.
        values: Of (column, row); squares without one are left out.
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


def _shade(value: float, low: float, high: float) -> float:
    """Opacity: the smallest value can still be seen."""
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
