"""Pages made from the command line: every command with its own --help, and the variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from grokpack.cli.app import app
from grokpack.report.topics import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH = 78  # of help on a terminal of 80 columns; the same wherever this page is made


def cli_page() -> str:
    """Every command with what its --help shows."""
    group = typer.main.get_command(app)
    lines = [
        "<!-- Made by docs/_generate.py from grokpack/cli: edit that. -->",
        "",
        "# Command line",
        "",
        "`grokpack COMMAND --help` prints what stands here. Each result goes to standard output,",
        "everything else to standard error; see [exit statuses](exit-codes.md),",
        "[JSON](json.md) and [environment](environment.md). `python -m grokpack` is the same.",
        "",
    ]
    with _context(group, "grokpack", None) as top:
        lines += _shown("grokpack", group.get_help(top))
        for name in group.list_commands(top):
            command = group.get_command(top, name)
            with _context(command, name, top) as below:
                lines += _shown(f"grokpack {name}", command.get_help(below))
    return "\n".join(lines).rstrip() + "\n"


def _context(command: object, name: str, parent: object) -> object:
    kind, settings = command.context_class, command.context_settings
    return kind(command, info_name=name, parent=parent, terminal_width=_WIDTH, **settings)


def _shown(title: str, text: str) -> Iterator[str]:
    yield from (f"## {title}", "", "```text", *text.splitlines(), "```", "")


def environment_page() -> str:
    """The variables, with the option that each stands for."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT]
    return "\n".join(
        [
            "<!-- Made by docs/_generate.py from grokpack/report/topics.py: edit that. -->",
            "",
            "# Environment",
            "",
            "An option on the command line goes before its variable. `grokpack help environment`",
            "prints this list.",
            "",
            "| variable | meaning |",
            "|---|---|",
            *rows,
            "",
        ]
    )
