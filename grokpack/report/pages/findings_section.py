"""Findings and errors on a page: what was found, what to do, and what the codes mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.counts import counted
from grokpack.core.error_codes import CODES
from grokpack.core.finding import alike
from grokpack.report.pages import html
from grokpack.report.text import error_text
from grokpack.report.text.name_ranges import name_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grokpack.core.documents.answer_json import ErrorJson, FindingJson
    from grokpack.report.pages.html import Html

_MOST_RANGES = 50  # of names in a cell


def findings(found: Sequence[FindingJson]) -> Html:
    """Make the section of what a check found."""
    if not found:
        return html.section("Findings", html.element("p", "None."))
    kinds = alike(found, lambda row: (row["severity"], row["code"], row["message"]))
    rows = [_row(kind[0]) if len(kind) == 1 else _row_of_many(kind) for kind in kinds]
    head = ("code", "severity", "what", "where", "expected and found", "what to do")
    table = html.table(*_filled(head, rows))
    return html.section(f"Findings: {len(found)}", table, _meanings(row["code"] for row in found))


def _row(one: FindingJson) -> Sequence[Html]:
    return (
        *_kind(one, one["message"]),
        html.join(html.element("div", html.name(at)) for at in _places(one)),
        html.join(html.element("div", fact) for fact in error_text.compared(one)),
        _command(one.get("fix")),
    )


def _row_of_many(kind: Sequence[FindingJson]) -> Sequence[Html]:
    """Say once what was found of many files, with ranges of their names."""
    files = dict.fromkeys(_places(one)[0] if _places(one) else "" for one in kind)
    ranges = name_ranges(files)
    more = len(ranges) - _MOST_RANGES
    rest = f"and {more:,} more; the JSON document has all" if more > 0 else None
    return (
        *_kind(kind[0], f"{kind[0]['message']}: {counted(len(files), 'file')}"),
        html.join(
            html.element("div", place) for place in (*map(html.name, ranges[:_MOST_RANGES]), rest)
        ),
        html.of(None),
        html.of(None),
    )


def _kind(one: FindingJson, message: str) -> tuple[Html, Html, Html]:
    severity = html.element("span", one["severity"], class_="bad" if _is_bad(one) else None)
    return html.element("code", one["code"]), severity, html.of(message)


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
            html.element("dd", html.prose(f"{CODES[code].meaning} {CODES[code].remedy}")),
        )
        for code in dict.fromkeys(codes)
        if code in CODES
    ]
    return html.element("dl", *rows, class_="meanings")
