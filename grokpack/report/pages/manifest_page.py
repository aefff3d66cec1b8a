"""HTML page of `grokpack manifest --report FILE.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.report.pages import html
from grokpack.report.pages.html import Page
from grokpack.report.text import numbers

if TYPE_CHECKING:
    from grokpack.core.documents.manifest_json import RecordingAnswer


def page(document: RecordingAnswer) -> Page:
    """Make the page of a recording's document."""
    data = document["data"]
    rows = [
        ("manifest", html.name(data["manifest"])),
        ("files", f"{data['files']:,}"),
        ("bytes", byte_size(data["bytes"])),
        (
            "checksums",
            "xxh3 of each tile, sha256 of each file" if data["sha256"] else "xxh3 of each tile",
        ),
        ("time", numbers.duration(data["seconds"])),
    ]
    text = "It tells what changes from now on. Whether the files are right now, it cannot tell."
    return Page(
        data["source"],
        [html.section("What was recorded", html.facts(rows), html.element("p", text))],
    )
