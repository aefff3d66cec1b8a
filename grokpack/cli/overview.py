"""Overview that `grokpack` shows without a command: each command in a line."""

from __future__ import annotations

import typer

from grokpack.core.version import __version__
from grokpack.report import topics

_PURPOSE = "check, look into and convert Grok checkpoints too big for memory"
_EXAMPLES = (  # shown where the command is there
    ("inspect", "grokpack inspect ckpt-0"),
    ("verify", "grokpack verify ckpt-0"),
    ("synth", "grokpack synth tiny"),
    ("reshard", "grokpack reshard ckpt-0 --tp 8 -o grok-1-tp8 --dry-run"),
    ("quantize", "grokpack quantize ckpt-0 --bits 4 -o grok-1-int4"),
    ("convert", "grokpack convert ckpt-0 --to hf -o grok-1-hf"),
)
_FULL = 200  # characters, far beyond the one line that a command has


def render(context: typer.Context) -> str:
    """Render the overview from the commands of the application."""
    rows = commands(context)
    width = max(map(len, rows))
    examples = [text for name, text in _EXAMPLES if name in rows]
    half = -(-len(examples) // 2)
    column = max(map(len, examples[:half])) + 6
    pairs = zip(examples[:half], [*examples[half:], ""], strict=False)
    lines = [
        f"grokpack {__version__}  {_PURPOSE}",
        "",
        *(f"  {name:<{width}}  {text}" for name, text in rows.items()),
        "",
        *(f"  {left:<{column}}{right}".rstrip() for left, right in pairs),
        "",
        f"  grokpack help {' | '.join(topics.TOPICS)} | COMMAND",
    ]
    return "\n".join(lines)


def commands(context: typer.Context) -> dict[str, str]:
    """List the name and one line of each command, in the order of the application."""
    group = _group(context)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {
        name: command.get_short_help_str(_FULL).rstrip(".")
        for name, command in found.items()
        if command is not None and not command.hidden
    }


def help_of(context: typer.Context, name: str) -> str:
    """Return the help of a command."""
    command = _group(context).get_command(context, name)
    if command is None:
        message = f"no command {name}"
        raise KeyError(message)
    with type(context)(command, info_name=name, parent=context) as below:
        return command.get_help(below)


def _group(context: typer.Context) -> typer.core.TyperGroup:
    group = context.command
    if not isinstance(group, typer.core.TyperGroup):
        message = "commands are below the program itself"
        raise TypeError(message)
    return group
