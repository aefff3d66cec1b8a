"""Tables of numbers by layer, shaded by how far each is from where its scale begins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grokpack.report.pages import html

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grokpack.report.pages.html import Html

_MOST_PERCENT = 60  # of colour, so that the number stays readable
_FULL_OCTAVES = 1.0  # a factor of two gets the full colour


def above_zero(
    columns: Mapping[str, str], values: Mapping[tuple[int, str], float], form: str, most: float
) -> Html:
    """Make a table in which zero has no colour, and the largest value the full one.

    Args:
        columns: Titles of the columns by key.
        values: Values by layer and column.
        form: Format of a value: `.2%`.
        most: Value that gets the full colour.
    """
    shades = {at: value / most if most else 0.0 for at, value in values.items()}
    legend = _scale(f"{0:{form}}", "", f"{most:{form}}")
    return html.join((legend, _table(columns, values, shades, form)))


def around(
    columns: Mapping[str, str],
    values: Mapping[tuple[int, str], float],
    form: str,
    middles: Mapping[str, float],
    middle: str,
) -> Html:
    """Make a table in which a column's middle has no colour, and twice or half of it the full one.

    Args:
        columns: Titles of the columns by key.
        values: Values by layer and column.
        form: Format of a value: `.3g`.
        middles: Middle of each column.
        middle: What the middle is, in words.
    """
    shades = {at: _octaves(value, middles[at[1]]) / _FULL_OCTAVES for at, value in values.items()}
    return html.join(
        (_scale("half", middle, "twice", both=True), _table(columns, values, shades, form))
    )


def _octaves(value: float, middle: float) -> float:
    """Return by how many factors of two a value is above a middle; 0 where that has no answer."""
    if middle <= 0:
        return 0.0
    return math.log2(value / middle) if value > 0 else -math.inf


def _table(
    columns: Mapping[str, str],
    values: Mapping[tuple[int, str], float],
    shades: Mapping[tuple[int, str], float],
    form: str,
) -> Html:
    head: Sequence[object] = [
        "layer",
        *(
            html.element("th", title, class_="kind", scope="col", title=key)
            for key, title in columns.items()
        ),
    ]
    rows = [
        [
            html.element("th", layer, scope="row", class_="number"),
            *(_cell(values, shades, (layer, key), form) for key in columns),
        ]
        for layer in sorted({layer for layer, _ in values})
    ]
    return html.table(head, rows, range(len(head)))


def _cell(
    values: Mapping[tuple[int, str], float],
    shades: Mapping[tuple[int, str], float],
    at: tuple[int, str],
    form: str,
) -> Html:
    if at not in values:
        return html.element("td", "-", class_="heat", style=_shade(0.0))
    kind = "heat high" if shades[at] > 0 else "heat"
    return html.element("td", f"{values[at]:{form}}", class_=kind, style=_shade(shades[at]))


def _shade(share: float) -> str:
    """Return the strength of colour for a share of the scale, from -1 to 1."""
    return f"--shade:{min(abs(share), 1.0) * _MOST_PERCENT:.0f}"


def _scale(low: str, middle: str, high: str, *, both: bool = False) -> Html:
    """Draw the scale of colours with its ends."""
    strip = html.element("span", class_="strip both" if both else "strip")
    words = (html.element("span", word) for word in (low, middle, high))
    return html.element("div", strip, html.element("div", *words, class_="ends"), class_="scale")
