"""Drawing of charts by matplotlib: axes, ticks, units and legends."""

from __future__ import annotations

import itertools
import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from grokpack.core import escaping
from grokpack.report.pages import chart_svg, html
from grokpack.report.pages.charts import Bars, Histogram, Lines, Points

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from grokpack.report.pages.charts import Chart, Series
    from grokpack.report.pages.html import Html

_WIDTH, _HEIGHT = 440, 260  # CSS pixels
_LABEL_EVERY = 5  # edges
_BAR, _AROUND_BARS, _LEGEND = 24, 44, 40  # heights: a bar with its gap, the axis, a legend
_UNIT = 72  # pixels of an inch: one of matplotlib's points is a pixel
_MOST_MARKED = 100  # positions up to which each value has a mark
_FEW_DECADES = 2  # up to so many have three ticks each
_ROOM_FOR_LABELS = 1.25  # of the longest bar
_ROOM = 0.02  # decades between the outermost values and the ends of the scale
_MARKS = "os^D"  # by series, so that colour alone distinguishes nothing
_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": chart_svg.FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": chart_svg.FAINT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 11,
    "grid.color": chart_svg.RULE,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "grokpack",
    "text.color": chart_svg.INK,
    "text.parse_math": False,
    "xtick.color": chart_svg.FAINT,
    "ytick.color": chart_svg.FAINT,
}


def figure(chart: Chart) -> Html:
    """Draw a chart under its title."""
    caption = html.element("figcaption", chart.title)
    with _settings():
        drawn = Figure(
            figsize=(_WIDTH / _UNIT, _height(chart) / _UNIT), dpi=_UNIT, layout="constrained"
        )
        axes = drawn.add_subplot()
        match chart:
            case Bars():
                _bars(axes, chart)
            case Histogram():
                _histogram(axes, chart)
            case Lines():
                _lines(axes, chart)
            case Points():
                _points(axes, chart)
        picture = chart_svg.inline(drawn, chart.title, chart.described())
    return html.element("figure", caption, picture)


def _height(chart: Chart) -> int:
    """Return the height in pixels; of bars it depends on their number."""
    if not isinstance(chart, Bars):
        return _HEIGHT
    legend = len(chart.pieces) > 1
    return _AROUND_BARS + _BAR * len(chart.names) + _LEGEND * legend


@contextmanager
def _settings() -> Iterator[None]:
    """Hold settings of our own, whatever matplotlibrc says; names may lack glyphs."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def _bars(axes: Axes, chart: Bars) -> None:
    places, ends = range(len(chart.names)), [0.0] * len(chart.names)
    for colour, (name, lengths) in zip(chart_svg.PARTS, chart.pieces.items(), strict=False):
        drawn = axes.barh(places, lengths, left=ends, color=colour, label=_plain(name))
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
        for bar, length in zip(drawn, lengths, strict=True):
            bar.set(edgecolor=chart_svg.PAPER, linewidth=0.5)
            bar.set_gid(chart_svg.hover(f"{name}: {length:.3g}"))
    for place, end, label in zip(places, ends, chart.labels, strict=True):
        axes.annotate(_plain(label), (end, place), (4, 0), textcoords="offset points", va="center")
    if chart.limit is not None:
        name, limit = chart.limit
        axes.axvline(limit, color=chart_svg.INK, linestyle="--", label=_plain(name))
    axes.set_xlim(0, max([*ends, *(chart.limit or ())[1:]], default=0) * _ROOM_FOR_LABELS or 1)
    axes.set_ylim(len(chart.names) - 0.4, -0.6)  # the first above
    axes.set_yticks(places, [_plain(name) for name in chart.names])
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=chart_svg.INK)
    axes.set_xlabel(chart.axis)
    if len(chart.pieces) > 1:
        _legend(axes)


def _histogram(axes: Axes, chart: Histogram) -> None:
    total = sum(chart.counts) or 1
    widths = [high - low for low, high in itertools.pairwise(chart.edges)]
    shares = [count / total for count in chart.counts]
    bars = axes.bar(chart.edges[:-1], shares, widths, align="edge", color=chart_svg.PARTS[0])
    for bar, name, share in zip(bars, chart.bins(), shares, strict=True):
        bar.set_gid(chart_svg.hover(f"{name}: {share:.2%}"))
        bar.set(edgecolor=chart_svg.PAPER, linewidth=0.5)
    axes.set_xlim(chart.edges[0], chart.edges[-1])
    if chart.labels:
        axes.set_xticks(*_spaced(chart))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(chart.axis)
    axes.set_ylabel(f"share of {chart.counted}")


def _spaced(chart: Histogram) -> tuple[list[float], list[str]]:
    """Choose the labels of edges that have room: of both ends, and of some between them."""
    last = len(chart.edges) - 1
    between = range(_LABEL_EVERY, last - _LABEL_EVERY // 2, _LABEL_EVERY)
    shown = [0, *between, last]
    return [chart.edges[at] for at in shown], [chart.labels[at] for at in shown]


def _lines(axes: Axes, chart: Lines) -> None:
    colours = {series.name: chart_svg.PARTS[i] for i, series in enumerate(chart.measured())}
    marks = dict(zip(colours, _MARKS, strict=False))
    for series in chart.series:
        _line(axes, chart, series, colours, marks)
    if chart.logarithmic:
        _logarithmic(axes, [value for series in chart.series for value in chart.placed(series)])
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(-0.5, max(len(series.values) for series in chart.series) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel(chart.along)
    axes.set_ylabel(chart.axis)
    if len(chart.series) > 1:
        _legend(axes)


def _legend(axes: Axes) -> None:
    """Put the legend above the axes, where it covers nothing; limits are named last."""
    handles, names = axes.get_legend_handles_labels()
    shown = sorted(zip(handles, names, strict=True), key=lambda row: _is_dashed(row[0]))
    axes.figure.legend(
        *zip(*shown, strict=True), loc="outside upper left", ncols=2, handlelength=2.5
    )


def _is_dashed(handle: object) -> bool:
    return isinstance(handle, Line2D) and handle.get_linestyle() == "--"


def _line(
    axes: Axes, chart: Lines, series: Series, colours: dict[str, str], marks: dict[str, str]
) -> None:
    """Draw one series; a limit is dashed, in the colour of what it limits."""
    owner = series.limit_of or series.name
    own = chart.placed(series)
    is_marked = series.limit_of is None and len(own) <= _MOST_MARKED
    axes.plot(
        own,
        label=_plain(series.name),
        color=colours[owner],
        linestyle="-" if series.limit_of is None else "--",
        linewidth=1.5,
        marker=marks[owner] if is_marked else None,
        markersize=4,
    )


def _points(axes: Axes, chart: Points) -> None:
    """Draw named points; a name stands on the side that has room."""
    found = chart.placed()
    axes.margins(0.2)
    axes.scatter([x for _, x, _ in found], [y for *_, y in found], color=chart_svg.PARTS[0])
    middle = sum(axes.get_xlim()) / 2
    for name, x, y in found:
        side, shift = ("left", 6) if x < middle else ("right", -6)
        axes.annotate(
            _plain(name), (x, y), (shift, 4), textcoords="offset points", horizontalalignment=side
        )
    _logarithmic(axes, [y for *_, y in found])
    axes.set_xlabel(chart.axis)
    axes.set_ylabel(chart.other_axis)


def _logarithmic(axes: Axes, values: list[float]) -> None:
    """Scale the values in whole decades, labelled as people write them."""
    decades = [math.log10(value) for value in values if not math.isnan(value)] or [0.0]
    low, high = math.floor(min(decades) - _ROOM), math.ceil(max(decades) + _ROOM)
    steps = (1.0,) if high - low > _FEW_DECADES else (1.0, 2.0, 5.0)
    axes.set_yscale("log")
    axes.set_ylim(10.0**low, 10.0**high)
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _plain(text: str) -> str:
    """Escape what XML cannot hold."""
    return escaping.escape_line(text)
