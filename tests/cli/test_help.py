"""Help of each command: groups of options, examples that can be run, and what commands share."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from grokpack.cli.app import app
from grokpack.cli.command_group import COMMANDS
from grokpack.cli.options import FORM, GROUPS
from grokpack.report.text.line_wrapping import wrapped

GROUP: Any = typer.main.get_command(app)


def shown(*words: str) -> str:
    """Return what the program prints."""
    done = CliRunner().invoke(app, list(words), terminal_width=80)
    assert done.exit_code == 0, done.output
    return done.output


def sections(text: str) -> list[str]:
    """Return the headings of a help."""
    return re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_with_three_examples_that_it_understands(command: str) -> None:
    text = shown(command, "--help")
    examples = text.partition("Examples:\n")[2].strip().splitlines()
    assert len(examples) == 3
    for line in examples:
        program, name, *words = shlex.split(line)
        assert program == "grokpack"
        with GROUP.commands[name].make_context(name, words):
            pass  # Typer has taken every word


def test_options_stand_in_groups_what_a_command_does_first() -> None:
    assert sections(shown("reshard", "--help")) == ["Arguments", "Options", *GROUPS, "Examples"]
    assert sections(shown("explain", "--help")) == ["Arguments", "Options", "Examples"]
    evaluate = sections(shown("evaluate", "--help"))
    assert evaluate[:4] == ["Arguments", "Options", "Input", "Network"]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_every_command_shares_is_described_once(command: str) -> None:
    common = shown("help", "common")
    assert sections(common) == list(GROUPS)
    for parameter in GROUP.commands[command].params:
        if getattr(parameter, "rich_help_panel", None) == FORM:
            name = max(parameter.opts, key=len)
            assert re.search(rf"^  .*{name}\b", common, re.MULTILINE)
            listed = shown(command, "--help").partition("Examples:")[0]
            assert listed.count(name) == 1


def in_columns(width: int, *words: str) -> str:
    """Return what the program prints for a terminal of some width."""
    env = {"COLUMNS": str(width)}
    return CliRunner().invoke(app, list(words), env=env, terminal_width=width).output


@pytest.mark.parametrize("words", [("--help",), ("explain", "GP103"), ("quantize", "--help")])
def test_help_fits_sixty_columns_and_says_all(words: tuple[str, ...]) -> None:
    narrow, wide = in_columns(60, *words), in_columns(200, *words)
    assert all(len(line) <= 60 or line.startswith("  grokpack") for line in narrow.splitlines())
    assert "".join(narrow.split()) == "".join(wide.split())


def test_the_overview_has_its_examples_below_each_other_in_a_narrow_terminal() -> None:
    narrow, wide = in_columns(60), in_columns(200)
    assert sorted(narrow.split()) == sorted(wide.split())
    assert max(map(len, wrapped(narrow, 60).splitlines())) <= 60
