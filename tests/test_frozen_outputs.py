"""What users get stays as it is: outputs, answers, options, names, schemas, unfinished runs.

Where it is to change, `python -m tests.freeze_outputs` renews what is held here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grokpack.cli.app import app
from tests.freeze_outputs import OUTPUTS, RUNS, read
from tests.support import freezing, specializations, unfinished_runs
from tests.support.frozen_commands import chapters
from tests.support.frozen_interface import interface
from tests.support.quantized_checkpoints import FASTEST

FROZEN = read(OUTPUTS)
STOPPED = read(RUNS)


@pytest.mark.parametrize("chapter", chapters())
def test_commands_give_what_they_gave(
    chapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROKPACK_KERNELS", FASTEST)
    now = freezing.run_chapter(chapters()[chapter], tmp_path)
    found = freezing.differences(FROZEN[chapter], now)
    assert not found, "\n".join(found)
    assert not specializations.repeated()


@pytest.mark.parametrize("kind", ["options", "names", "schemas"])
def test_the_interface_is_what_it_was(kind: str) -> None:
    found = freezing.differences(FROZEN[kind], interface()[kind])
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    unfinished_runs.synthesize(folder)
    return folder


@pytest.mark.parametrize("name", STOPPED)
def test_a_run_that_an_earlier_version_left_is_continued(name: str, stopped: Path) -> None:
    state = STOPPED[name]
    continued = unfinished_runs.restore(name, state, stopped / name)
    assert continued == {"outstanding_bytes": state["outstanding_bytes"], "unlike": []}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "s"
    CliRunner().invoke(app, ["synth", str(folder), "--progress", "none"])
    return folder


@pytest.mark.parametrize(
    ("option", "default", "command"),
    [
        ("--to", "", "convert s -o out"),
        ("--to", "", "quantize s -o out"),
        ("--to", "safetensors", "reshard s -o out"),
        ("--names", "hpcai", "convert s -o out --to hf"),
        ("--dtype", "", "convert s -o out --to hf"),
        ("--type", "", "convert s -o out --to gguf --tokenizer none"),
        ("--type", "", "quantize s -o out --to gguf"),
        ("--group", "128", "quantize s -o out"),
        ("--method", "", "quantize s -o out"),
        ("--scale-dtype", "bf16", "quantize s -o out"),
        ("--for", "", "quantize s -o out"),
    ],
)
def test_every_choice_of_an_option_is_frozen(
    option: str, default: str, command: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    choices = _choices([*command.split(), option, "nonsense"])
    assert len(choices) > 1
    verb = command.split(maxsplit=1)[0]
    frozen = " ".join(run for name in chapters() for run in FROZEN[name] if run.startswith(verb))
    used = set(re.findall(rf"{option} (\S+)", frozen))
    assert not choices - used - {default}, (
        f"`{verb} {option}` takes what no frozen command is given"
    )


def _choices(command: list[str]) -> set[str]:
    """What an option takes, as its refusal lists it."""
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2, done.stderr
    labels = re.findall(r"^ {6}(\S+) ", done.stderr, re.MULTILINE)
    listed: Any = re.search(
        r"(?:takes|writes|one of|hint: --type|nearest) (.*?)(?: for \d|, not|$)",
        done.stderr,
        re.MULTILINE,
    )
    words = re.sub(r"\([^)]*\)", "", listed[1] if listed else "")
    return {*labels, *re.findall(r"[a-z0-9][\w.-]*", words)} - {
        "or",
        "not",
        "none",
        "option",
        "takes",
    }
