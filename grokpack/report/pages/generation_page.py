"""HTML page of `grokpack generate --report FILE.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.report.pages import html
from grokpack.report.pages.html import Page
from grokpack.report.text import numbers

if TYPE_CHECKING:
    from grokpack.core.documents.generation_json import (
        GenerationAnswer,
        GenerationJson,
        SequenceJson,
    )
    from grokpack.report.pages.html import Html


def page(document: GenerationAnswer) -> Page:
    """Make the page of a generation's document."""
    data = document["data"]
    sequences = [_sequence(n, row) for n, row in enumerate(data["sequences"])]
    return Page(data["source"], [*sequences, _overview(data)])


def _sequence(number: int, row: SequenceJson) -> Html:
    """Show the tokens that continue a prompt, as text where there is one."""
    listed = " ".join(map(str, row["tokens"]))
    by = "the model ended it" if row["ended"] else "the limit of tokens ended it"
    new = counted(len(row["tokens"]), "token")
    about = f"{new} after a prompt of {len(row['prompt']):,}; {by}."
    ids = html.folded("Tokens", html.element("pre", listed)) if row["text"] is not None else ""
    made = listed if row["text"] is None else row["text"]
    return html.section(
        f"Prompt {number}", html.element("pre", made), html.element("p", about), ids
    )


def _overview(data: GenerationJson) -> Html:
    each = data["s_per_token"]
    rows = [
        ("network", data["family"]),
        ("GELU by", data["gelu"]),
        ("temperature", f"{data['temperature']:g}"),
        ("top p", f"{data['top_p']:g}"),
        ("seed", data["seed"]),
        ("tokens", f"{data['tokens']:,}"),
        ("read", byte_size(data["read_bytes"])),
        ("first token", numbers.duration(data["first_s"])),
        ("each after it", None if each is None else numbers.duration(each)),
        ("time", numbers.duration(data["seconds"])),
    ]
    return html.section("How", html.facts(rows))
