"""`grokpack help`: show topics that belong to no single command."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from grokpack.cli import options, overview
from grokpack.cli.command import command
from grokpack.cli.command_group import COMMANDS, CommandGroup
from grokpack.cli.command_help import CommandHelp
from grokpack.cli.session import Session
from grokpack.core.errors import WrongUsage


@command(
    "help",
    "help",
    "help common",
    "help exit-codes",
    output=False,
)
def topics(
    session: Session,
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="A topic, or a command",
            autocompletion=options.completing((*overview.TOPICS, *COMMANDS)),
        ),
    ] = None,
) -> None:
    """Show a help topic.

    There are common (options that commands share), exit-codes, environment and formatting; the
    name of a command shows its options.
    """
    from grokpack.report.text.topics import TOPICS

    if topic is None:
        session.result(overview.render(), {})
    elif topic == overview.COMMON:
        session.result(_shared_options(cast("typer.Context", context.parent)), {})
    elif topic in TOPICS:
        session.result(TOPICS[topic], {})
    elif topic in COMMANDS:
        session.result(_help_of(topic, cast("typer.Context", context.parent)), {})
    else:
        hint = f"topics: {', '.join(overview.TOPICS)}; and every command"
        raise WrongUsage(f"there is no topic `{topic}`", hint=hint)


def _help_of(name: str, program: typer.Context) -> str:
    """Return the help of a command, as its own `--help` shows it."""
    command = cast("CommandGroup", program.command).commands[name]
    with type(program)(command, info_name=name, parent=program) as below:
        return str(command.get_help(below))


def _shared_options(program: typer.Context) -> str:
    """Return what commands share, described by a command that has all of it."""
    command = cast("CommandHelp", cast("CommandGroup", program.command).commands["reshard"])
    with type(program)(command, info_name="reshard", parent=program) as below:
        formatter = below.make_formatter()
        command.format_shared(below, formatter)
        return str(formatter.getvalue()).rstrip("\n")
