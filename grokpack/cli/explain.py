"""`grokpack explain`: what a code means and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from grokpack.cli.session import session
from grokpack.core.errors import GrokpackError


def explain(
    code: Annotated[str | None, typer.Argument(metavar="CODE", help="For example GP204")] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="COMMAND",
            help="Print the JSON Schema of its --json; or of grokpack.json",
        ),
    ] = None,
) -> None:
    """Say what an error code means and what to do.

    Lists all codes without one; with --schema prints what a command's JSON looks like.
    """
    with session("explain") as current:
        from grokpack.core.error_codes import CODES
        from grokpack.report import code_text

        if schema is not None:
            from json import dumps

            from grokpack.report import schemas

            current.result(dumps(schemas.schema(schema), indent=2), {})
            return
        if code is None:
            current.result(code_text.listing(CODES), {})
            return
        row = CODES.get(code.upper())
        if row is None:
            raise GrokpackError(
                "GP304", f"there is no code `{code}`", hint="`grokpack explain` lists them"
            )
        current.result(code_text.page(row), {})
