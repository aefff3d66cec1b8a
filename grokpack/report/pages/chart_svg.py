"""SVG of a chart, as part of a page.

matplotlib writes a document of its own: with references by id, which several charts of a page
would share, with fonts, and with colours that are the same by day and by night. What is kept are
paths and texts. Their colours are the style sheet's, so that a chart is light or dark as the page.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from matplotlib.backends.backend_svg import FigureCanvasSVG

from grokpack.core.escaping import escape_line
from grokpack.report.pages.html import Html, element, join

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

INK, FAINT, RULE, PAPER = "#000001", "#000002", "#000003", "#000004"
"""Colours to draw with, which stand for the style sheet's."""
PARTS = tuple(f"#0000{number}0" for number in range(1, 5))
"""Colours of parts, likewise."""
_COLOURS = {INK: "ink", FAINT: "faint", RULE: "line", PAPER: "paper"} | {
    colour: f"part-{number}" for number, colour in enumerate(PARTS)
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_HOVER = "hover: "
_STYLES = {
    "fill",
    "fill-opacity",
    "opacity",
    "stroke",
    "stroke-dasharray",
    "stroke-dashoffset",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-width",
    "text-anchor",
}
_PLACES = ("d", "x", "y", "transform")
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


def hover(text: str) -> str:
    """Return the id by which an artist gets a text that is shown under the pointer."""
    return _HOVER + escape_line(text)


def inline(figure: Figure, title: str, description: str) -> Html:
    """Return a drawn figure as an element.

    Args:
        figure: What is drawn.
        title: Its name, for those who cannot see it.
        description: What it shows, in words.
    """
    written = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)  # whose methods have no types
    canvas.print_svg(written, metadata=_NO_METADATA)
    root = ET.fromstring(written.getvalue())  # noqa: S314  # matplotlib's own
    symbols = {path.get("id", ""): path for path in root.iter(f"{_SVG}path") if path.get("id")}
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *(_shape(child, symbols) for child in root),
        viewBox=root.get("viewBox"),
        class_="chart",
        role="img",
        aria_label=title,
    )


def _shape(node: ET.Element, symbols: Mapping[str, ET.Element]) -> Html:
    """Return what is kept of an element."""
    match node.tag.removeprefix(_SVG):
        case "g":
            return _group(node, symbols)
        case "path" | "text" as tag:
            return element(tag, node.text, style=_style(node), **_placed(node))
        case "use":
            return _symbol(node, symbols[node.get(_LINK, "").removeprefix("#")])
    return Html()


def _group(node: ET.Element, symbols: Mapping[str, ET.Element]) -> Html:
    shapes = join(_shape(child, symbols) for child in node)
    name = node.get("id", "")
    if not name.startswith(_HOVER):
        return shapes
    return element("g", element("title", name.removeprefix(_HOVER)), shapes)


def _symbol(use: ET.Element, path: ET.Element) -> Html:
    """Return a tick or mark where it is used."""
    place = _short(f"translate({use.get('x')} {use.get('y')})")
    style = ";".join(filter(None, map(_style, (use, path))))  # the path's own count more
    return element("path", d=_short(path.get("d", "")), transform=place, style=style)


def _placed(node: ET.Element) -> dict[str, str]:
    return {name: _short(value) for name in _PLACES if (value := node.get(name)) is not None}


def _short(numbers: str) -> str:
    """Round coordinates to hundredths of a pixel."""
    return _DECIMALS.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), numbers)


def _style(node: ET.Element) -> str | None:
    """Return the styles that are kept, in the colours of the page."""
    pairs = (piece.partition(":") for piece in node.get("style", "").split(";"))
    kept = [
        f"{name.strip()}:{_coloured(value.strip())}"
        for name, _, value in pairs
        if name.strip() in _STYLES
    ]
    return ";".join(kept) or None


def _coloured(value: str) -> str:
    return f"var(--{_COLOURS[value]})" if value in _COLOURS else value
