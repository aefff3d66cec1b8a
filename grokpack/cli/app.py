"""The application of all commands; nothing heavy is imported until one of them runs."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import typer

from grokpack.cli import machine_output, overview
from grokpack.cli.command_group import CommandGroup
from grokpack.core.errors import GrokpackError
from grokpack.core.escaping import escape_line, escape_terminal
from grokpack.core.exit_status import ExitStatus
from grokpack.core.version import __version__
from grokpack.report.envelope import failure, usage

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import Answer

app = typer.Typer(
    name="grokpack",
    cls=CommandGroup,
    help="Check, cut, quantize and convert Grok-1 and Grok-2 checkpoints too big for memory.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    suggest_commands=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"grokpack {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version"
    ),
) -> None:
    """Check, cut, quantize and convert Grok-1 and Grok-2 checkpoints too big for memory."""
    del version
    if context.invoked_subcommand is None:
        typer.echo(overview.render())


def main() -> int:
    """Run the command line; usage errors, too, are reported in the form asked for.

    Returns:
        The exit status.
    """
    try:
        status = typer.main.get_command(app).main(prog_name="grokpack", standalone_mode=False)
    except typer.Abort:
        return int(ExitStatus.INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # the last resort of what is no command's
        show = getattr(error, "show", None)  # Typer's usage errors have it; nothing else does
        if show is None:
            return _fail(error)
        error.message = escape_line(str(error))  # type: ignore[attr-defined]  # Typer's have it
        said = io.StringIO()
        show(file=said)
        typer.echo(escape_terminal(said.getvalue()), nl=False, err=True)
        _answer(usage(str(error)))
        return int(ExitStatus.USAGE)
    return status if isinstance(status, int) else 0


def _fail(error: Exception) -> int:
    from grokpack.cli import crash_report
    from grokpack.report import error_text

    told = error if isinstance(error, GrokpackError) else crash_report.bug(error)
    typer.echo(escape_terminal(error_text.render(told)), err=True)
    _answer(failure("usage", told, told.exit_status))
    return int(told.exit_status)


def _answer(document: Answer) -> None:
    machine_output.write(machine_output.form_of(sys.argv[1:]), document)
