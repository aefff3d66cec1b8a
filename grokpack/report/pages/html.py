"""Building blocks of HTML pages: sections, tables, facts, badges, and the page itself.

A page is one file without scripts or anything to fetch, which its own policy forbids. It is light
or dark as the reader's system is, and wide tables scroll. Text is escaped here and nowhere else:
text that is HTML already has the type `Html`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from grokpack.core.escaping import escape_line, escape_prose
from grokpack.report.pages.invocation import versions
from grokpack.report.pages.style import CSS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grokpack.core.documents.answer_json import AnswerJson, Data, Status
    from grokpack.report.pages.invocation import Invocation

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Content of a page.

    Attributes:
        title: Its first heading.
        sections: What follows, from above.
    """

    title: str
    sections: Sequence[Html]


def of(value: object) -> Html:
    """Convert any value to HTML; None becomes empty."""
    if isinstance(value, Html):
        return value
    return Html("" if value is None else escape(escape_prose(str(value))))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """Make an element; `class_` gives its class, an attribute of None is left out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(escape_prose(str(value)))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{given}>{''.join(map(of, children))}</{tag}>")


def join(parts: Iterable[object]) -> Html:
    """Join several pieces."""
    return Html("".join(map(of, parts)))


def name(text: str) -> Html:
    """Show a name or path as code that may break behind each slash."""
    return element("code", Html(of(text).replace("/", "/<wbr>")))


def prose(text: str) -> Html:
    """Show a sentence, and as code what it has between backticks."""
    return join(
        element("code", part) if number % 2 else part for number, part in enumerate(text.split("`"))
    )


def badge(word: str, *, is_good: bool) -> Html:
    """Make a badge for a state: a word, with a colour to underline it."""
    kind = "good" if is_good else "idle" if word == "skipped" else "bad"
    return element("span", word, class_=f"badge {kind}")


def section(title: str, *content: object) -> Html:
    """Make a section of the page under a heading."""
    return element("section", element("h2", title), *content)


def facts(rows: Iterable[tuple[str, object]]) -> Html:
    """Make a list of labels and values side by side."""
    pairs = [
        element("div", element("dt", label), element("dd", value))
        for label, value in rows
        if value is not None
    ]
    return element("dl", *pairs)


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()
) -> Html:
    """Make a table that scrolls if it is too wide.

    Args:
        head: Titles of the columns.
        rows: Their cells.
        numbers: Columns that are aligned as numbers.
    """
    right = set(numbers)

    def line(tag: str, cells: Sequence[object]) -> Html:
        return element(
            "tr",
            *(
                cell
                if isinstance(cell, Html) and cell.startswith(("<td", "<th"))
                else element(tag, cell, class_="number" if i in right else None)
                for i, cell in enumerate(cells)
            ),
        )

    body = element("tbody", *(line("td", row) for row in rows))
    whole = element("table", element("thead", line("th", head)), body)
    return element("div", whole, class_="scroll", tabindex="0")


def folded(title: str, *content: object) -> Html:
    """Make content that unfolds on request."""
    return element("details", element("summary", title), *content)


def whole(document: AnswerJson[Status, Data], invocation: Invocation, page: Page) -> str:
    """Make the whole page of a document.

    Args:
        document: The command's JSON document, which gives the state.
        invocation: What was typed, and when.
        page: What it holds.
    """
    command = document["schema"].split("/")[1]
    typed = element("p", element("code", escape_line(invocation.command_line)), class_="typed")
    head = element(
        "header",
        element(
            "h1", page.title, " ", badge(document["status"], is_good=not document["exit_code"])
        ),
        typed,
    )
    started = element("time", invocation.when(), datetime=invocation.started.isoformat())
    foot = element(
        "footer",
        element("div", "Begun ", started, f"; exit status {document['exit_code']}."),
        element("div", versions()),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{element('title', f'{page.title} - grokpack {command}')}\n"
        f"<style>\n{CSS}</style>\n</head>\n"
        f"<body>\n{head}\n{element('main', *page.sections)}\n{foot}\n</body>\n</html>\n"
    )
