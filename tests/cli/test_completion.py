"""Completion in the shell: what an option with fixed choices offers, in bash as a user has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from grokpack.cli.app import app
from grokpack.cli.command_group import COMMANDS
from grokpack.conversion.writers import writer_registry

TARGETS = {
    "convert": writer_registry.LOSSLESS,
    "quantize": writer_registry.QUANTIZING,
    "reshard": writer_registry.RESHARDING,
}


def completions(*words: str) -> list[str]:
    """Return what bash is offered for the last word of a line."""
    env = {
        "_GROKPACK_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = CliRunner().invoke(app, [], env=env, prog_name="grokpack")
    assert done.exit_code == 0, done.output
    return done.output.split()


def choices(command: str) -> dict[str, list[str]]:
    """Return the options of a command whose help shows what they take, each with its choices."""
    group: Any = typer.main.get_command(app)
    shown = {option.opts[0]: str(option.metavar or "") for option in group.commands[command].params}
    return {
        name: metavar.split("|")
        for name, metavar in shown.items()
        if re.fullmatch(r"[a-z0-9_.-]+(\|[a-z0-9_.-]+)+", metavar)
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_offers_the_choices_that_its_help_shows(command: str) -> None:
    for option, words in choices(command).items():
        assert completions("grokpack", command, option, "") == words
        assert words[-1] in completions("grokpack", command, option, words[-1][:1])


def test_options_of_every_kind_are_among_them() -> None:
    assert choices("quantize").keys() >= {"--bits", "--for", "--method", "--progress"}
    assert {"--type", "--names", "--dtype"} <= choices("convert").keys()
    assert "--preset" in choices("synth")


@pytest.mark.parametrize("command", TARGETS)
def test_a_target_is_completed_from_the_table_of_writers(command: str) -> None:
    assert completions("grokpack", command, "--to", "") == list(TARGETS[command])
    starting = [name for name in TARGETS[command] if name.startswith("s")]
    assert completions("grokpack", command, "--to", "s") == starting


def test_types_of_blocks_and_mixes_are_completed() -> None:
    found = completions("grokpack", "quantize", "--type", "q4_k")
    assert found == ["q4_k", "q4_k_s", "q4_k_m"]


def test_commands_are_completed() -> None:
    assert completions("grokpack", "") == list(COMMANDS)
    assert completions("grokpack", "con") == ["convert"]


def test_codes_topics_and_schemas_are_completed() -> None:
    assert completions("grokpack", "explain", "GP10") == [f"GP10{digit}" for digit in range(1, 10)]
    assert completions("grokpack", "help", "e") == [
        *("exit-codes", "environment", "evaluate", "explain")
    ]
    assert "grokpack.json" in completions("grokpack", "explain", "--schema", "")


_SHELLS = {
    "bash": """
source <(_GROKPACK_COMPLETE=source_bash grokpack)
COMP_WORDS=($LINE)
[[ $LINE == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_grokpack_completion grokpack
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "zsh": """
autoload -Uz compinit && compinit -u -D
eval "$(_GROKPACK_COMPLETE=source_zsh grokpack)"
_arguments() { print -r -- "$@" }
words=(${(z)LINE})
CURRENT=$#words
_grokpack_completion
""",
    "fish": """
_GROKPACK_COMPLETE=source_fish grokpack | source
complete -C $LINE
""",
}
"""Scripts that complete the line of a variable as each shell does for a user."""
_OPTIONS = {"bash": ("--norc",), "zsh": ("-f",), "fish": ("--no-config",)}


@pytest.mark.parametrize("shell", _SHELLS)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("grokpack convert --to s", {"sglang", "safetensors"}),
        ("grokpack explain GP32", {"GP321", "GP322", "GP323", "GP324", "GP325", "GP326"}),
    ],
)
def test_a_shell_completes_by_the_script_that_the_program_gives(
    shell: str, line: str, expected: set[str], tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        [shell, *_OPTIONS[shell], "-c", _SHELLS[shell]],
        env=os.environ | {"PATH": path, "HOME": str(tmp_path), "LINE": line},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    offered = set(re.findall(r"[\w.-]+", done.stdout))
    assert offered >= expected
    assert all(word.startswith(line.rsplit(maxsplit=1)[-1]) for word in offered)
