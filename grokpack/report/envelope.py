"""JSON document that a command prints: schema, status, data, findings, errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from grokpack.core import escaping
from grokpack.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grokpack.core.documents.answer_json import Answer, ErrorJson, FindingJson
    from grokpack.core.errors import GrokpackError
    from grokpack.core.exit_status import ExitStatus


def document(
    command: str,
    status: str,
    exit_code: ExitStatus,
    data: Mapping[str, object],
    findings: Sequence[FindingJson] = (),
    errors: Sequence[ErrorJson] = (),
) -> Answer:
    """Make the document; `grokpack explain --schema COMMAND` describes it.

    Its text is escaped, so that pages, tables and annotations can be made of it.
    """
    return {
        "schema": f"grokpack/{command}/1",
        "tool": {"name": "grokpack", "version": __version__},
        "status": status,
        "exit_code": int(exit_code),
        "data": escaping.document(data),
        "findings": escaping.document(findings),
        "errors": escaping.document(errors),
    }


def text(document: Answer) -> str:
    """Serialize the document as it is printed and stored."""
    return escaping.json(json.dumps(document, indent=2))


def error_row(error: GrokpackError) -> ErrorJson:
    """Return an error as JSON values."""
    place = error.where
    return {
        "code": error.code,
        "message": error.what,
        "file": place.path if place else None,
        "byte": place.byte if place else None,
        "facts": [{"label": label, "value": value} for label, value in error.facts],
        "hint": error.hint,
        "help": f"grokpack explain {error.code}",
    }


def failure(command: str, error: GrokpackError, status: ExitStatus) -> Answer:
    """Make the document of a command that ended with an error."""
    return document(command, "error", status, {}, errors=[error_row(error)])
