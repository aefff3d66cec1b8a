"""`~`, which a shell leaves as it is behind `--out=` and in a variable, is the home folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer

from grokpack.cli.app import app
from grokpack.cli.command_group import COMMANDS
from tests.support.checkpoints import GOLDEN
from tests.support.forked import run

GROUP: Any = typer.main.get_command(app)
PATHS = {
    "--out", "--report", "--against", "--source", "--extract", "--importance", "--policy",
    "--save-policy", "--tokenizer", "--text", "--tokens", "--logits", "--calibrate", "--messages",
}  # fmt: skip
OTHERS = {"--values", "--data"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "home" / "model")
    return tmp_path / "home"


def test_it_is_expanded_in_arguments_options_and_variables(home: Path) -> None:
    there: Any = {"HOME": str(home)}
    assert run("inspect", "~/model", "-q", **there).returncode == 0
    done = run("reshard", "--tp", "2", "--out=~/out", GROKPACK_CHECKPOINT="~/model", **there)
    assert done.returncode == 0, done.stderr
    assert (home / "out" / "grokpack.json").exists()
    assert run("diff", "~/model", "~/out", "--report=~/answer.json", **there).returncode == 0
    assert (home / "answer.json").exists()


def test_every_option_that_names_a_file_is_known_by_its_metavar() -> None:
    """A path whose metavar says something else would keep its `~`."""
    from grokpack.cli.command import _PATH

    found = {
        max(parameter.opts, key=len)
        for name in COMMANDS
        for parameter in GROUP.commands[name].params
        if parameter.param_type_name == "option" and _PATH.match(parameter.metavar or "")
    }
    assert found == PATHS
