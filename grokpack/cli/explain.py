"""`grokpack explain`: say what a code means and what to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.core.errors import Place, UnusableValue

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import ReasonsJson


def _codes() -> list[str]:
    from grokpack.core.error_codes import CODES

    return list(CODES)


def _schemas() -> list[str]:
    from grokpack.report import json_schemas

    return [*json_schemas.names(), json_schemas.MANIFEST]


@command(
    "explain",
    "explain",
    "explain GP204",
    "explain --schema verify",
    output=False,
)
def explain(
    session: Session,
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE|FILE.json",
            help="For example GP204; or what --json or --report FILE.json wrote",
            autocompletion=_codes,
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="COMMAND",
            help="Print the JSON Schema of its --json; or of grokpack.json",
            autocompletion=_schemas,
        ),
    ] = None,
) -> None:
    """Say what an error code means and what to do.

    Lists all codes without one, and of a part those that begin with it. Of the JSON of a command it
    says what each code in it means, where it was found, and what to do there. With --schema prints
    what a command's JSON looks like.
    """
    if schema is None:
        session.result(_explained(code or ""), {})
        return
    from json import dumps

    from grokpack.report import json_schemas

    session.result(dumps(json_schemas.schema(schema), indent=2), {}, verbatim=True)


def _explained(code: str) -> str:
    """Return the text about a code, about all that begin with it, or about a document's codes."""
    from grokpack.core.error_codes import CODES
    from grokpack.report.text import code_text

    found = {
        name: row for name, row in CODES.items() if name.startswith((code.upper(), f"GP{code}"))
    }
    if len(found) == 1:
        return "".join(map(code_text.page, found.values()))
    if found:
        return code_text.listing(found)
    if code.endswith(".json"):
        return code_text.of_answer(_answer(code))
    raise UnusableValue(f"there is no code `{code}`", hint="`grokpack explain` lists them")


def _answer(path: str) -> ReasonsJson:
    """Read what the JSON document of a command says of its findings and errors.

    Raises:
        GrokpackError: GP346 if the file is another; GP209 and GP214 if it cannot be read.
    """
    from pydantic import TypeAdapter, ValidationError

    from grokpack import storage
    from grokpack.core.documents.answer_json import ReasonsJson

    document = storage.read_json(os.path.expanduser(path))
    try:
        return TypeAdapter(ReasonsJson).validate_python(document)
    except ValidationError as error:
        hint = "name a file that `--report FILE.json` wrote, or `--json > FILE.json`"
        raise UnusableValue(
            "this is not the answer of a command", Place(path), hint=hint
        ) from error
