"""The application of all commands; nothing heavy is imported until one of them runs."""

from __future__ import annotations

import sys

import typer

from grokpack.cli import machine_output, overview
from grokpack.cli.command_group import CommandGroup
from grokpack.core import blas_threads
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.core.version import __version__
from grokpack.report.envelope import failure
from grokpack.report.text import terminal

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
        typer.echo(terminal.fitted(overview.render(), sys.stdout, "never"))


def main() -> int:
    """Run the command line; usage errors, too, are reported in the form asked for.

    Returns:
        The exit status.
    """
    blas_threads.ask_for_one_thread()  # before numpy is loaded
    try:
        status = typer.main.get_command(app).main(prog_name="grokpack", standalone_mode=False)
    except typer.Abort:
        return int(ExitStatus.INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # the last resort of what is no command's
        return _fail(error)
    return status if isinstance(status, int) else 0


def _fail(error: Exception) -> int:
    from grokpack.cli import crash_report, usage_errors
    from grokpack.report.text import error_text

    own = error if isinstance(error, GrokpackError) else None
    own = own or usage_errors.usage_error(error, sys.argv[1:])
    told = own or crash_report.bug(error)
    typer.echo(terminal.fitted(error_text.render(told), sys.stderr, "never"), err=True)
    form = machine_output.form_of(sys.argv[1:])
    machine_output.write(form, failure("usage", told, told.exit_status))
    return int(told.exit_status)
