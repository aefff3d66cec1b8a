"""Findings and errors on a page: what was found, what to do, and what the codes mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.error_codes import CODES
from grokpack.report import error_text, html

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grokpack.core.documents.answer_json import ErrorJson, FindingJson
    from grokpack.report.html import Html


def findings(found: Sequence[FindingJson]) -> Html:
    """Make the section of what a check found."""
    if not found:
        return html.section("Findings", html.element("p", "None."))
    rows = [
        (
            html.element("code", row["code"]),
            html.element("span", row["severity"], class_="bad" if _is_bad(row) else None),
            row["message"],
            html.join(html.element("div", html.name(at)) for at in _places(row)),
            html.join(html.element("div", fact) for fact in error_text.compared(row)),
            _command(row.get("fix")),
        )
        for row in found
    ]
    head = ("code", "severity", "what", "where", "expected and found", "what to do")
    table = html.table(*_filled(head, rows))
    return html.section(f"Findings: {len(found)}", table, _meanings(row["code"] for row in found))


def errors(reasons: Sequence[ErrorJson]) -> Html:
    """Make the section that says why a command failed."""
    rows = [
        (
            html.element("code", row["code"]),
            row["message"],
            html.name(row["file"]) if row["file"] else "",
            html.join(html.element("div", f"{f['label']}: {f['value']}") for f in row["facts"]),
            _command(row["hint"]),
        )
        for row in reasons
    ]
    head = ("code", "what", "where", "facts", "what to do")
    table = html.table(*_filled(head, rows))
    return html.section("The command failed", table, _meanings(row["code"] for row in reasons))


def _filled(
    head: Sequence[str], rows: Sequence[Sequence[object]]
) -> tuple[list[str], list[list[object]]]:
    """Leave out columns that are empty in every row."""
    kept = [at for at in range(len(head)) if any(row[at] for row in rows)]
    return [head[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _places(finding: FindingJson) -> list[str]:
    return [place for place in (finding["file"], finding["tensor"]) if place]


def _is_bad(finding: FindingJson) -> bool:
    return finding["severity"] == "error"


def _command(text: str | None) -> Html:
    return html.element("pre", text) if text else html.of(None)


def _meanings(codes: Iterable[str]) -> Html:
    """Say what each code means and what helps, as `grokpack explain` does."""
    rows = [
        html.element(
            "div",
            html.element("dt", html.element("code", code), f" {CODES[code].title}"),
            html.element("dd", CODES[code].meaning, " ", CODES[code].remedy),
        )
        for code in dict.fromkeys(codes)
        if code in CODES
    ]
    return html.element("dl", *rows, class_="meanings")
