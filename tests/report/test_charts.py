"""Charts: axes with units, colours of the page, nothing fetched, nothing unescaped."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest

from grokpack.report import pages
from grokpack.report.pages import chart_gallery
from grokpack.report.pages.charts import Bars, Chart, Histogram, Lines, Points, Series

pytest.importorskip("matplotlib", reason="charts need the extra `report`")

BARS = Bars(
    "Sizes", "share of all bytes", ["experts", "rest"], {"bytes": [0.9, 0.1]}, ["90 GB", "10 GB"]
)
HISTOGRAM = Histogram("weights", "int8 code", "weights", [-2, 0, 2], [1, 3])
OCTAVES = Histogram("norms", "magnitude", "values", [-1, 0, 1], [1, 1], ["0", "2⁰", "∞"])
LINES = Lines(
    "Errors",
    "layer",
    "relative error",
    [
        Series("attention", [0.01, 0.02, None]),
        Series("limit of attention", [0.1, 0.1, 0.1], limit_of="attention"),
        Series("experts", [0.0, 0.03, 0.5]),
    ],
)
POINTS = Points(
    "Divergence", "bits per weight", "KL (nats)", [("int4", 4.2, 0.02), ("fp8", 8.1, 0.001)]
)
STACKED = Bars(
    "Loads",
    "GB",
    ["int8", "int4"],
    {"experts": [8.0, 4.0], "cache": [1.0, 1.0]},
    ["on 2", "on 1"],
    ("memory of a device", 6.0),
)
EVERY = (BARS, STACKED, HISTOGRAM, OCTAVES, LINES, POINTS)


class Texts(HTMLParser):
    """Texts of a picture, by tag, and every attribute."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._tag = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.found.append((self._tag, data))

    def of(self, tag: str) -> list[str]:
        return [text for own, text in self.found if own == tag]


def drawn(chart: Chart) -> Texts:
    return Texts(chart_gallery.gallery(chart))


@pytest.fixture(scope="module")
def pictures() -> dict[str, Texts]:
    """Each of the charts above, by title."""
    return {chart.title: drawn(chart) for chart in EVERY}


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.title)
def test_a_picture_has_a_title_a_description_and_named_axes(
    chart: Chart, pictures: dict[str, Texts]
) -> None:
    found = pictures[chart.title]
    assert found.of("figcaption") == [chart.title]
    assert found.of("title")[0] == chart.title
    assert found.of("desc") == [chart.described()]
    assert ("svg", "role", "img") in found.attributes
    assert chart.axis in found.of("text")
    assert sum(any(c.isdigit() for c in text) for text in found.of("text")) >= 2  # ticks


def test_bars_carry_their_names_and_values(pictures: dict[str, Texts]) -> None:
    assert {"experts", "rest", "90 GB", "10 GB"} <= set(pictures[BARS.title].of("text"))


def test_pieces_of_bars_lie_end_to_end_and_their_legend_names_the_limit(
    pictures: dict[str, Texts],
) -> None:
    assert STACKED.lengths() == [9.0, 5.0]
    assert STACKED.described().endswith("int4: 5, on 1; memory of a device: 6")
    assert {"experts", "cache", "memory of a device"} <= set(pictures[STACKED.title].of("text"))
    assert pictures[STACKED.title].of("title")[1:] == [
        *("experts: 8", "experts: 4", "cache: 1", "cache: 1")
    ]


def test_a_histogram_shows_shares_and_each_bar_its_own_under_the_pointer(
    pictures: dict[str, Texts],
) -> None:
    found = pictures[HISTOGRAM.title]
    assert "share of weights" in found.of("text")
    assert found.of("title")[1:] == ["-2 to 0: 25.00%", "0 to 2: 75.00%"]
    octaves = pictures[OCTAVES.title]
    assert {"0", "∞"} <= set(octaves.of("text"))
    assert octaves.of("title")[1:] == ["0 to 2⁰: 50.00%", "2⁰ to ∞: 50.00%"]


def test_lines_are_named_in_a_legend_and_their_scale_has_plain_numbers(
    pictures: dict[str, Texts],
) -> None:
    texts = pictures[LINES.title].of("text")
    assert {"attention", "limit of attention", "experts", "layer"} <= set(texts)
    assert {"0.01", "0.1", "1"} <= set(texts)


def test_points_carry_their_names_and_those_without_a_place_are_left_out(
    pictures: dict[str, Texts],
) -> None:
    assert {"int4", "fp8", "KL (nats)"} <= set(pictures[POINTS.title].of("text"))
    infinite = Points("Divergence", "bits", "nats", [("broken", 4.0, None), ("equal", 8.0, 0.0)])
    assert not {"broken", "equal"} & set(drawn(infinite).of("text"))


def test_a_limit_is_dashed_in_the_colour_of_what_it_limits(pictures: dict[str, Texts]) -> None:
    lines = [
        v for _, name, v in pictures[LINES.title].attributes if name == "style" and "fill:none" in v
    ]
    dashed = [style for style in lines if "stroke-dasharray" in style and "--part" in style]
    assert dashed
    assert all("--part-0" in style for style in dashed)


def test_a_linear_scale_begins_at_zero() -> None:
    chart = Lines("Loss", "token", "nats", [Series("loss", [5.0, 6.0])], logarithmic=False)
    assert "0" in drawn(chart).of("text")


@pytest.mark.parametrize("values", [[], [None], [0.0, 0.0], [0.5]])
def test_few_values_make_a_picture_too(values: list[float | None]) -> None:
    chart = Lines("Errors", "layer", "relative error", [Series("stream", values)])
    assert drawn(chart).of("title") == ["Errors"]


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.title)
def test_a_picture_refers_to_nothing_and_takes_its_colours_from_the_page(
    chart: Chart, pictures: dict[str, Texts]
) -> None:
    found = pictures[chart.title]
    names = {name for _, name, _ in found.attributes}
    assert names <= {"aria-label", "class", "d", "role", "style", "transform", "viewbox", "x", "y"}
    assert {tag for tag, _, _ in found.attributes} <= {"div", "svg", "path", "text"}
    styles = [value for _, name, value in found.attributes if name == "style"]
    assert not [style for style in styles if re.search(r"url|#|font|black", style)]
    assert any("var(--part-0)" in style for style in styles)


@pytest.mark.parametrize("name", ["<script>&'\"", "$x_1$", "\u4e00", "a\x1b\x00b\ud800"])
def test_a_name_is_text_whatever_it_holds(name: str) -> None:
    found = drawn(Bars("Sizes", "bytes", [name], {name: [1.0]}, ["1 B"]))
    shown = name.encode("utf-8", "backslashreplace").decode()
    shown = shown.replace("\x1b", "\\x1b").replace("\x00", "\\x00")
    assert shown in found.of("text")
    assert "script" not in {tag for tag, _ in found.found}


def test_the_same_chart_is_the_same_picture() -> None:
    assert chart_gallery.gallery(HISTOGRAM, LINES) == chart_gallery.gallery(HISTOGRAM, LINES)


def test_settings_of_the_user_change_nothing() -> None:
    import matplotlib as mpl

    plain = chart_gallery.gallery(BARS)
    with mpl.rc_context({"axes.linewidth": 9, "xtick.major.size": 30}):
        assert chart_gallery.gallery(BARS) == plain


def test_without_matplotlib_a_page_says_what_would_draw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pages, "chart_drawing", raising=False)
    monkeypatch.setitem(sys.modules, "grokpack.report.pages.chart_drawing", None)
    found = drawn(BARS)
    assert found.of("code")[:1] == ["pip install 'grokpack[report]'"]
    assert "svg" not in {tag for tag, _, _ in found.attributes}
