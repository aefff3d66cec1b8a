"""Commands of the program: a line for each, and its module, imported when it is needed.

Building the options of all commands would take as long as starting Typer itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from grokpack.cli import command, command_line
from grokpack.cli.command_help import CommandHelp

COMMANDS = {
    "verify": "Check that a checkpoint is whole.",
    "manifest": "Record the checksums of a checkpoint that has none.",
    "inspect": "Show what a checkpoint holds.",
    "reshard": "Cut a checkpoint for tensor parallelism.",
    "quantize": "Write a 4-bit or 8-bit copy.",
    "convert": "Write the format that another program loads.",
    "synth": "Write a synthetic checkpoint of any size.",
    "diff": "Compare the weights of two checkpoints, in whatever formats.",
    "evaluate": "Run the network over a text, or several networks side by side.",
    "generate": "Continue a prompt, with the weights streamed anew for each token.",
    "explain": "Say what an error code means and what to do.",
    "help": "Show a help topic.",
}
"""First sentence of each command's help, in the order shown; a module has each one's name."""


class _Commands(Mapping[str, Any]):
    """Typer's commands by name, each built at its first use."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # a class that Typer keeps to itself
        if name not in COMMANDS:
            raise KeyError(name)
        return _build(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _build(name: str) -> Any:  # noqa: ANN401  # a class that Typer keeps to itself
    importlib.import_module(f"grokpack.cli.{name}")
    found = command.declared[name]
    info = CommandInfo(name, cls=CommandHelp, callback=found.run, epilog="\n".join(found.examples))
    return get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)


class CommandGroup(TyperGroup):
    """Group that knows the names and lines of its commands without importing them."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  # Typer's own
        super().__init__(**settings | {"commands": None})
        self.commands = _Commands()  # type: ignore[assignment]  # nothing is added to them

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  # Typer's own
        """Parse what was typed, and remember it for reports."""
        command_line.begin(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """List the names, in the order shown."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Write the section of commands."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
