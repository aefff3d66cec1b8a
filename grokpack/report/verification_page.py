"""HTML page of `grokpack verify --report FILE.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.report import error_text, html, numbers

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import FindingJson
    from grokpack.core.documents.verification_json import (
        LayerStateJson,
        VerificationAnswer,
        VerificationJson,
    )
    from grokpack.report.html import Html

_COMPLETE = {
    True: "yes",
    False: "no",
    None: "completeness not known: nothing tells how many files there should be",
}


def page(document: VerificationAnswer) -> str:
    """Make the page of a verification's document."""
    data = document["data"]
    sections = [_overview(data), _findings(document["findings"])]
    if data["fix"]:
        sections.append(html.section("What to do", html.element("pre", data["fix"])))
    if data["layers"]:
        sections.append(_layers(data["layers"]))
    return html.page(document, data["source"], sections)


def _overview(data: VerificationJson) -> Html:
    files = data["files"]
    rows = [
        ("model", data["family"]),
        ("stored as", data["format"]),
        ("files", f"{files['ok']} of {files['expected']} good"),
        ("complete", _COMPLETE[data.get("complete")]),
        ("bytes", byte_size(data["bytes"])),
        ("time", numbers.duration(data["seconds"])),
        *((f"check of {name}", html.badge(state)) for name, state in data["checks"].items()),
    ]
    return html.section("Overview", html.facts(rows))


def _findings(findings: list[FindingJson]) -> Html:
    if not findings:
        return html.section("Findings", html.element("p", "None."))
    rows = [
        (
            html.element("code", row["code"]),
            html.element("span", row["severity"], class_="bad" if _is_bad(row) else None),
            row["message"],
            html.join(html.element("div", html.element("code", at)) for at in _places(row)),
            html.join(html.element("div", fact) for fact in error_text.compared(row)),
        )
        for row in findings
    ]
    head = ("code", "severity", "what", "where", "expected and found")
    return html.section(f"Findings: {len(findings)}", html.table(head, rows))


def _places(finding: FindingJson) -> list[str]:
    return [place for place in (finding["file"], finding["tensor"]) if place]


def _is_bad(finding: FindingJson) -> bool:
    return finding["severity"] == "error"


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
