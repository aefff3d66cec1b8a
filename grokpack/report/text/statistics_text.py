"""Text of `grokpack inspect --stats`: a table of many tensors, or details of a few."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from grokpack.core.counts import counted
from grokpack.report.text import text_tables
from grokpack.report.text.text_tables import Column
from grokpack.verification.value_locations import describe_index

if TYPE_CHECKING:
    from grokpack.core.documents.inspection_json import FiguresJson, HistogramJson, StatisticsJson

_Kind = Literal["zero", "negative", "subnormal", "saturated", "minus_128"]
_Bad = Literal["nan", "posinf", "neginf", "undefined"]
_KINDS: tuple[_Kind, ...] = ("zero", "negative", "subnormal", "saturated", "minus_128")
_BAD: tuple[_Bad, ...] = ("nan", "posinf", "neginf", "undefined")
_FEW = 3  # tensors that get a histogram of many lines each
_BAR = 40  # characters of the fullest bin
_LEVELS = " .:-=+*#%@"
_COLUMNS = (
    Column("tensor", left=True),
    Column("min", 9),
    Column("max", 9),
    Column("rms", 9),
    Column("zero", 5),
    Column("bad"),
    Column("bad scales"),
    Column("distribution", left=True),
)
_LEGEND = (
    "bad: NaN, infinite, or without a finite scale; bad scales: not finite, zero or negative",
    "int8: 16 bins of 16 codes, -128 to 127; floats by magnitude: below 2^-20, 22 doublings, 4 and",
    f"above; each character from '{_LEVELS}' is a bin against the fullest of its row",
)


def render(rows: list[StatisticsJson], asked: int) -> str:
    """Render the statistics of the tensors that are there, of so many asked for."""
    if len(rows) <= _FEW:
        text = "\n\n".join(map(_page, rows))
    else:
        lines = text_tables.table(_COLUMNS, [_cells(row) for row in rows], indent="")
        text = "\n".join([*lines, "", *_LEGEND])
    absent = asked - len(rows)
    if not absent:
        return text
    return f"{text}\n\n{counted(absent, 'tensor')} not read: parts of them are missing"


def _cells(row: StatisticsJson) -> tuple[str, ...]:
    return (
        row["name"],
        *(f"{row[key]:.3g}" for key in ("min", "max", "rms")),
        f"{row['zero'] / max(row['elements'], 1):.1%}",
        str(_bad(row)),
        _bad_scales(row["scales"]),
        _sparks(row["histogram"]["counts"]),
    )


def _bad(row: FiguresJson) -> int:
    return sum(row.get(kind, 0) for kind in _BAD)


def _bad_scales(scales: FiguresJson | None) -> str:
    return "" if scales is None else str(_bad(scales) + scales["zero"] + scales["negative"])


def _sparks(counts: list[int]) -> str:
    """Render a histogram in one line of plain characters; only an empty bin is a blank."""
    most, top = max(counts, default=0) or 1, len(_LEVELS) - 1
    return "".join(_LEVELS[-(-count * top // most)] for count in counts)


def _page(row: StatisticsJson) -> str:
    lines = [f"{row['name']}     {row['dtype']}", *_figures(row)]
    if row["scales"] is not None:
        lines += ["", "  scales", *_figures(row["scales"], scales=True)]
    return "\n".join([*lines, "", *_histogram(row["histogram"])])


def _figures(row: FiguresJson, *, scales: bool = False) -> list[str]:
    moments = "   ".join(f"{key} {row[key]:.6g}" for key in ("min", "max", "rms"))
    counts: dict[str, int] = {kind: row[kind] for kind in _KINDS if kind in row}
    counts |= {kind: row[kind] for kind in _BAD if row.get(kind)}
    lines = [
        f"    {moments}",
        f"    {row['elements']:,} values: "
        + ", ".join(
            f"{count:,} {kind.replace('minus_', 'of -')}" for kind, count in counts.items()
        ),
    ]
    for kind, locations in row["places"].items():
        places = "; ".join(describe_index(index, scales=scales) for index in locations)
        more = "; .." if counts[kind] > len(locations) else ""
        lines.append(f"    {kind}: {places}{more}")
    return lines


def _histogram(histogram: HistogramJson) -> list[str]:
    """Render a histogram with a line for each bin, from the first filled to the last."""
    counts, edges = histogram["counts"], histogram["edges"]
    filled = [i for i, count in enumerate(counts) if count]
    if not filled:
        return ["  histogram: no value to show"]
    kind = "codes" if histogram["of"] == "codes" else "magnitude, zeros left out"
    total, most = sum(counts), max(counts)
    lines = [f"  {kind}"]
    for i in range(filled[0], filled[-1] + 1):
        bar = "#" * -(-counts[i] * _BAR // most)
        span = _span(edges[i], edges[i + 1], kind)
        lines.append(f"    {span:<16} {counts[i]:>15,} {counts[i] / total:>7.2%}  {bar}".rstrip())
    return lines


def _span(low: float, high: float, kind: str) -> str:
    if kind == "codes":
        return f"{low:>4} .. {high - 1:>4}"
    if low == 0:
        return f"below {_power(high)}"
    if high > 2.0**100:
        return f"{_power(low)} and above"
    return f"{_power(low)} .. {_power(high)}"


def _power(value: float) -> str:
    """Format the edge of a bin: `2^-7`."""
    return f"2^{round(math.log2(value))}"
