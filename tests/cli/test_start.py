"""The beginning of a command: what it imports, and how a line that is no command is answered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from junitparser import JUnitXml

import grokpack
from grokpack.cli.app import app, main
from grokpack.cli.command_group import COMMANDS

ROOT = Path(grokpack.__file__).parents[1]
HEAVY = ("numpy", "grokpack.storage")
WAYS = [
    (("--format", "FORM"), ""),
    (("--format=FORM",), ""),
    ((), "FORM"),
    (("--format", "text", "--format", "FORM"), "text"),
]


def test_help_imports_nothing_heavy_and_compiles_no_pattern_of_secrets() -> None:
    script = (
        "import sys; from grokpack.cli import app; from grokpack.core import redaction\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "print(loaded, redaction._pattern.cache_info().currsize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[0] == "[] 0"


def test_little_is_imported_before_signals_are_handled() -> None:
    """Until then Ctrl-C ends Python itself, with a traceback."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import grokpack.__main__\n"
        "print('typing' in sys.modules, [n for n in sys.modules if n.startswith('grokpack.')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], check=True, capture_output=True, text=True
    )
    early = ["grokpack.core", "grokpack.core.version", "grokpack.__main__"]
    assert done.stdout.strip() == f"False {early}"


@pytest.mark.parametrize(("words", "setting"), WAYS)
@pytest.mark.parametrize("form", ["json", "github", "junit"])
def test_a_usage_error_is_told_in_the_form_asked_for(
    form: str,
    words: tuple[str, ...],
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = [word.replace("FORM", form) for word in words]
    monkeypatch.setattr(sys, "argv", ["grokpack", "reshard", "--tp", "many", *asked])
    monkeypatch.setenv("GROKPACK_FORMAT", setting.replace("FORM", form))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert main() == 2
    told = capsys.readouterr()
    assert "--tp" in told.err
    if form == "json":
        assert json.loads(told.out)["errors"][0]["code"] == "GP346"
    elif form == "junit":
        assert JUnitXml.fromstring(told.out).errors == 1
        assert "GP346" in told.out
    else:
        assert told.out.startswith("::error title=grokpack GP346::")


@pytest.mark.parametrize("words", [(), ("--format", "text"), ("--format", "xml")])
def test_a_usage_error_is_told_on_stderr_alone_where_no_machine_reads(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["grokpack", "reshard", "--tp", "many", *words])
    assert main() == 2
    assert capsys.readouterr().out == ""


def test_help_imports_no_command_and_each_line_is_the_first_of_its_own_help() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from grokpack.cli.app import app\n"
        "from grokpack.cli.command_group import COMMANDS\n"
        "shown = CliRunner().invoke(app, ['--help'], terminal_width=200).stdout\n"
        "loaded = [name for name in COMMANDS if f'grokpack.cli.{name}' in sys.modules]\n"
        "print(loaded, [line for line in COMMANDS.values() if line not in shown])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[0] == "[] []"
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    assert {name: each.get_short_help_str(200) for name, each in commands.items()} == COMMANDS
