"""Table of the commands whose result can be an HTML page.

A page is made from the command's JSON document and nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import Answer

COMMANDS = {
    "evaluate": "grokpack.report.evaluation_page",
    "inspect": "grokpack.report.inspection_page",
    "quantize": "grokpack.report.quantization_error_page",
    "verify": "grokpack.report.verification_page",
}


def render(document: Answer) -> str:
    """Render the page of a document, complete in itself."""
    command = document["schema"].split("/")[1]
    if document["errors"]:
        from grokpack.report import html

        return html.page(document, command, html.errors(document["errors"]))
    page: str = importlib.import_module(COMMANDS[command]).page(document)
    return page
