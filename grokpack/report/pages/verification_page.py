"""HTML page of `grokpack verify --report FILE.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.report.pages import findings_section, html
from grokpack.report.pages.html import Page
from grokpack.report.text import numbers

if TYPE_CHECKING:
    from grokpack.core.documents.verification_json import (
        LayerStateJson,
        VerificationAnswer,
        VerificationJson,
    )
    from grokpack.report.pages.html import Html

_COMPLETE = {
    True: "yes",
    False: "no",
    None: "completeness not known: nothing tells how many files there should be",
}


def page(document: VerificationAnswer) -> Page:
    """Make the page of a verification's document."""
    data = document["data"]
    sections = [_overview(data), findings_section.findings(document["findings"])]
    if data["fix"]:
        sections.append(html.section("What to do", html.element("pre", data["fix"])))
    if data["layers"]:
        sections.append(_layers(data["layers"]))
    return Page(data["source"], sections)


def _overview(data: VerificationJson) -> Html:
    files = data["files"]
    rows = [
        ("model", data["family"]),
        ("stored as", data["format"]),
        ("files", f"{files['ok']} of {files['expected']} good"),
        ("complete", _COMPLETE[data.get("complete")]),
        ("bytes", byte_size(data["bytes"])),
        ("time", numbers.duration(data["seconds"])),
        *(
            (f"check of {name}", html.badge(state, is_good=state == "ok"))
            for name, state in data["checks"].items()
        ),
    ]
    return html.section("Overview", html.facts(rows))


def _layers(layers: list[LayerStateJson]) -> Html:
    """Draw a cell for each decoder layer: its number, and what is wrong with it."""
    cells = [
        html.element(
            "li",
            html.element("strong", row["layer"]),
            f"  {len(row['bad'])} of {row['tensors']} bad" if row["bad"] else "  ok",
            *(html.element("div", html.element("code", name)) for name in row["bad"]),
            class_="bad" if row["bad"] else None,
        )
        for row in layers
    ]
    text = "Decoder layers by number. Embedding and final norm are in none of them."
    return html.section(
        "State by layer", html.element("p", text), html.element("ol", *cells, class_="layers")
    )
