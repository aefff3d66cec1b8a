"""`grokpack explain`: say what a code means and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.core.errors import UnusableValue


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
        typer.Argument(metavar="CODE", help="For example GP204", autocompletion=_codes),
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

    Lists all codes without one; with --schema prints what a command's JSON looks like.
    """
    from grokpack.core.error_codes import CODES
    from grokpack.report import code_text

    if schema is not None:
        from json import dumps

        from grokpack.report import json_schemas

        session.result(dumps(json_schemas.schema(schema), indent=2), {}, verbatim=True)
        return
    if code is None:
        session.result(code_text.listing(CODES), {})
        return
    row = CODES.get(code.upper())
    if row is None:
        raise UnusableValue(f"there is no code `{code}`", hint="`grokpack explain` lists them")
    session.result(code_text.page(row), {})
