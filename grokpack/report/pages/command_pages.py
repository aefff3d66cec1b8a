"""HTML pages of commands, made from their JSON documents and nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from grokpack.report.pages import findings_section, html

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import Answer
    from grokpack.report.pages.invocation import Invocation

_PAGES = {
    "convert": "plan_page",
    "diff": "comparison_page",
    "evaluate": "evaluation_page",
    "generate": "generation_page",
    "inspect": "inspection_page",
    "manifest": "manifest_page",
    "quantize": "plan_page",
    "reshard": "plan_page",
    "synth": "plan_page",
    "verify": "verification_page",
}


def render(document: Answer, invocation: Invocation) -> str:
    """Render the page of a document, complete in itself."""
    return html.whole(document, invocation, _page(document))


def _page(document: Answer) -> html.Page:
    command = document["schema"].split("/")[1]
    if document["errors"]:
        return html.Page(command, [findings_section.errors(document["errors"])])
    module = importlib.import_module(f"grokpack.report.pages.{_PAGES[command]}")
    page: html.Page = module.page(document)
    return page
