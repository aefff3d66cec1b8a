"""Help of a command: its options in groups, then examples.

The options of every command's output are described once, by `grokpack help common`.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from grokpack.cli.options import FORM, GROUPS

_Record = tuple[str, str]  # of an option: its names with what it takes, and what it does

_OWN = "Options"
_COMMON = "grokpack help common"


class CommandHelp(TyperCommand):
    """Command whose `--help` shows options in groups and ends with the examples of its epilog."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # Typer's own
        """Write the sections of arguments and options, those of the form by name only."""
        sections = self.sections(ctx)
        form = sections.pop(FORM, {})
        _write(formatter, sections)
        if form:
            with formatter.section(FORM):
                formatter.write_dl([(_COMMON, f"describes {', '.join(form)}")])

    def format_shared(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # Typer's own
        """Write the sections of options that commands share."""
        sections = self.sections(ctx)
        _write(formatter, {title: sections[title] for title in GROUPS if title in sections})

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # Typer's own
        """Write the examples."""
        del ctx
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")

    def sections(self, ctx: Any) -> dict[str, dict[str, _Record]]:  # noqa: ANN401  # Typer's own
        """Return what help says of each parameter, by section and long name."""
        sections: dict[str, dict[str, _Record]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name = max(parameter.opts, key=len)
                sections.setdefault(_section(parameter), {})[name] = record
        return dict(sorted(sections.items(), key=lambda item: _place(item[0])))


def _write(formatter: Any, sections: dict[str, dict[str, _Record]]) -> None:  # noqa: ANN401  # Typer's own
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl(list(records.values()))


def _section(parameter: Any) -> str:  # noqa: ANN401  # Typer's own
    if parameter.param_type_name == "argument":
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or _OWN


def _place(title: str) -> tuple[int, str]:
    """Return where a section stands: what the command does, then where to, then how."""
    order = ("Arguments", _OWN, *GROUPS)
    return (order.index(title), "") if title in order else (order.index(_OWN), title)
