"""Table of facts that a notebook shows for an object."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from grokpack.core.escaping import escape_line

if TYPE_CHECKING:
    from collections.abc import Mapping


def notebook_table(title: str, facts: Mapping[str, object]) -> str:
    """Make an HTML table with a caption and a row for each fact; text is escaped."""
    head, cell = (f'<{of} style="text-align: left">' for of in ('th scope="row"', "td"))
    rows = "".join(
        f"<tr>{head}{_text(name)}</th>{cell}{_text(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption>{_text(title)}</caption>{rows}</table>"


def _text(value: object) -> str:
    return escape(escape_line(str(value)))
