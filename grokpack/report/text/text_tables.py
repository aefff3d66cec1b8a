"""Tables of text that fit the terminal: laid out wide, squeezed, or as a record for each row."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from grokpack.report.text import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GAP = "  "
_TOGETHER = "\N{NO-BREAK SPACE}"  # between words that stay on a line
_NARROWEST = 16  # characters of a line of a record at least


@dataclass(frozen=True, slots=True)
class Column:
    """Column of a table.

    Attributes:
        title: Its heading; the first column's may be empty.
        width: Characters that it takes where there is room; more, if a cell is longer.
        left: Whether cells begin at its left edge.
    """

    title: str
    width: int = 0
    left: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, indent: str = _GAP
) -> list[str]:
    """Lay out a table in lines, with a heading.

    Where the terminal is too narrow even for the longest cells, each row becomes a record: its
    first cell, and below it the others with their headings.

    Args:
        columns: The columns.
        rows: Cells of each row, one for each column.
        indent: What each line begins with.
    """
    width, lined = terminal.text_width(sys.stdout), (_titles(columns), *rows)
    needed = [max(map(len, cells)) for cells in zip(*lined, strict=True)]
    roomy = [max(column.width, need) for column, need in zip(columns, needed, strict=True)]
    excess = 0 if width is None else _line_width(needed, indent) - width
    for widths in (roomy, needed, _narrowed(columns, lined, needed, excess)):
        if width is None or _line_width(widths, indent) <= width:
            return [line for cells in lined for line in _lines(columns, cells, widths, indent)]
    return [line for cells in rows for line in _record(columns, cells, indent, width or 0)]


def _line_width(widths: Sequence[int], indent: str) -> int:
    return len(indent) + sum(widths) + len(_GAP) * (len(widths) - 1)


def _narrowed(
    columns: Sequence[Column],
    lined: Sequence[Sequence[str]],
    widths: Sequence[int],
    excess: int,
) -> Sequence[int]:
    """Return widths of which the widest column of words gives up the excess, as far as it can."""
    words = [number for number, column in enumerate(columns) if column.left]
    if not words:
        return widths
    widest = max(words, key=widths.__getitem__)
    least = max(len(fact) + 1 for cells in lined for fact in cells[widest].split(", "))
    narrow = max(widths[widest] - excess, min(least, widths[widest]))
    return [*widths[:widest], narrow, *widths[widest + 1 :]]


def _titles(columns: Sequence[Column]) -> list[str]:
    return [column.title for column in columns]


def _lines(
    columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], indent: str
) -> Iterator[str]:
    """Yield the lines of a row; one, unless a cell of words is wider than its column."""
    wrapped = [
        _wrapped(cell, width) if len(cell) > width else [cell]
        for cell, width in zip(cells, widths, strict=True)
    ]
    for parts in zip_longest(*wrapped, fillvalue=""):
        shown = (
            f"{part:<{width}}" if column.left else f"{part:>{width}}"
            for column, part, width in zip(columns, parts, widths, strict=True)
        )
        yield (indent + _GAP.join(shown)).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap a list of facts; each stays on a line where it fits."""
    facts = (
        fact.replace(" ", _TOGETHER) if len(fact) < width else fact for fact in text.split(", ")
    )
    lead = " " * (len(text) - len(text.lstrip()))
    together = lead + ", ".join(facts).lstrip(_TOGETHER)
    lines = textwrap.wrap(together, width, subsequent_indent=lead, break_on_hyphens=False)
    return [line.replace(_TOGETHER, " ") for line in lines]


def _record(columns: Sequence[Column], cells: Sequence[str], indent: str, width: int) -> list[str]:
    """Lay out a row in lines: its first cell, then `heading value` of the others."""
    first, *others = zip(_titles(columns), cells, strict=True)
    title = " ".join(filter(None, first))
    facts = ", ".join(f"{name} {cell.strip()}" for name, cell in others if cell.strip())
    within = f"{indent}{_GAP * 2}"
    below = _wrapped(facts, max(width - len(within), _NARROWEST))
    return [f"{indent}{title}", *(f"{within}{line}" for line in below)]
