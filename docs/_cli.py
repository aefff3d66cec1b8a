"""Pages made from the command line: every command with its options, and the variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

from grokpack.cli.app import app
from grokpack.cli.options import FORM
from grokpack.report.text.topics import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.cli.command_help import CommandHelp

_OPTIONS = """\
<!-- Made by docs/_generate.py from grokpack/cli: edit that. -->

# Options

Every option, and the commands that take it, each a link to what it does there.

| option | of |
|---|---|"""
_WIDTH = 78  # of help on a terminal of 80 columns; the same wherever this page is made


def cli_page() -> str:
    """Every command with its synopsis, its options, each with an anchor, and its examples."""
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
        lines += ["## grokpack", "", *_text(group.get_help(top))]
        for name in group.list_commands(top):
            lines += _command(group.get_command(top, name), name, top)
        lines += _form(group.get_command(top, "reshard"), top)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: CommandHelp, name: str, top: object) -> Iterator[str]:
    """Yield the section of a command."""
    with _context(command, name, top) as below:
        yield from (f"## grokpack {name}", "", *_text(_synopsis(command, below)))
        yield from (*_paragraphs(command.help), "", "```{program} grokpack " + name, "```", "")
        sections = command.sections(below)
    form = sections.pop(FORM, None)
    for title, records in sections.items():
        shown = [record for key, record in records.items() if key != "--help"]
        if shown:
            yield from (f"**{title}**", "")
        for names, meaning in shown:
            yield from _entry(names, meaning)
    if form:
        yield from ("And the options of [every answer](#form-of-the-answer).", "")
    if command.epilog:
        yield from ("**Examples**", "", *_text(command.epilog))


def _form(command: CommandHelp, top: object) -> Iterator[str]:
    """Yield the options of every answer, as one of the commands that have them says."""
    with _context(command, str(command.name), top) as below:
        records = command.sections(below)[FORM]
    yield from (f"## {FORM}", "", "Every command that answers takes these.", "")
    yield from ("```{program} grokpack", "```", "")
    for names, meaning in records.values():
        yield from _entry(names, meaning)


def _synopsis(command: CommandHelp, context: object) -> str:
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    return formatter.getvalue().removeprefix("Usage: ").strip()


def _paragraphs(text: str) -> Iterator[str]:
    yield from _escaped(text.strip()).splitlines()


def _entry(names: str, meaning: str) -> Iterator[str]:
    """Yield an option, or an argument, which has no anchor."""
    if names.startswith("-"):
        yield from ("```{option} " + names, _escaped(meaning), "```", "")
    else:
        yield from (f"`{names}`", f": {_escaped(meaning)}", "")


def _escaped(text: str) -> str:
    """Return text whose brackets and stars Markdown leaves as they are."""
    return re.sub(r"([*_<\[\]])", r"\\\1", text)


def _context(command: object, name: str, parent: object) -> object:
    kind, settings = command.context_class, command.context_settings
    return kind(command, info_name=name, parent=parent, terminal_width=_WIDTH, **settings)


def _text(text: str) -> list[str]:
    return ["```text", *text.splitlines(), "```", ""]


def options_page() -> str:
    """Every option by name, with the commands that take it, each a link to what it does there."""
    group = typer.main.get_command(app)
    takers: dict[str, list[str]] = {}
    with _context(group, "grokpack", None) as top:
        for name in group.list_commands(top):
            for option, shared in _options(group.get_command(top, name), name, top):
                takers.setdefault(option, []).append("" if shared else name)
    rows = [
        f"| `{option}` | {', '.join(_link(option, name) for name in dict.fromkeys(names))} |"
        for option, names in sorted(takers.items(), key=lambda row: row[0].lstrip("-").lower())
    ]
    return "\n".join([_OPTIONS, *rows, ""])


def _options(command: CommandHelp, name: str, top: object) -> Iterator[tuple[str, bool]]:
    """Yield each name of an option, and whether every answer takes it."""
    with _context(command, name, top) as below:
        sections = command.sections(below)
    for title, records in sections.items():
        for key, (names, _) in records.items():
            if key.startswith("--") and key != "--help":
                yield from ((n, title == FORM) for n in re.findall(r"(?<!\S)--?[\w-]+", names))


def _link(option: str, command: str) -> str:
    program = f"grokpack {command}".strip()
    return f"{{option}}`{command or 'every answer'} <{program} {option}>`"


def environment_page() -> str:
    """The variables, with the option that each stands for."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT]
    return "\n".join(
        [
            "<!-- Made by docs/_generate.py from grokpack/report/text/topics.py: edit that. -->",
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
