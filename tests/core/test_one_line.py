"""A line break in a name begins no line: what is printed has no line that input has written."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from grokpack.cli.app import app
from tests.support.checkpoints import GOLDEN

if TYPE_CHECKING:
    from pathlib import Path

BREAKS = "\n\r\x0b\x0c\x85\u2028\u2029"
SPOKEN = "".join(f"{c}ok  spoken{c}  ::error::spoken" for c in BREAKS)
NAME = f"x{SPOKEN}"


def printed(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words), "--progress", "lines"])
    assert done.exit_code != 70, done.output
    return done.output


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkpoint in a folder of such a name, with files of such names beside its own."""
    folder = tmp_path / NAME
    shutil.copytree(GOLDEN, folder)
    return folder


COMMANDS = [
    ("verify", "IN"),
    ("verify", "IN", "--data"),
    ("verify", "IN", "--values"),
    ("verify", "IN", "--against", "NEW.json"),
    ("inspect", "IN"),
    ("inspect", "IN", "--tree"),
    ("inspect", "IN", "moe/linear", "--offsets", "--stats"),
    ("inspect", "IN", NAME),
    ("inspect", "IN", "embedding", "--extract", "NEW.safetensors"),
    ("manifest", "IN", "-o", "NEW.json"),
    ("reshard", "IN", "--tp", "2", "-o", "NEW"),
    ("reshard", "IN", "--tp", "2", "-o", "IN"),
    ("quantize", "IN", "--bits", "4", "-o", "NEW", "-n"),
    ("convert", "IN", "--to", "hf", "-o", "NEW"),
    ("convert", "IN", "--to", "view", "-o", "NEW.view"),
    ("convert", "IN", "--to", "gguf", "--type", "f32", "-o", "NEW.gguf"),
    ("diff", "IN", "IN"),
    ("diff", "IN", "NEW"),
    (
        "evaluate",
        "IN",
        "--tokens",
        "NEW.npy",
        "--logits",
        "NEW-l.npy",
        "--calibrate",
        "NEW.safetensors",
    ),
    ("evaluate", "IN", "--against", "IN", "--tokens", "NEW.npy"),
    ("generate", "IN", "--tokens", "NEW.npy", "--max-new-tokens", "1"),
    ("synth", "NEW"),
    ("help", NAME),
    ("explain", NAME),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:40].split("\n")[0])
def test_no_command_prints_a_line_that_a_name_begins(words: tuple[str, ...], place: Path) -> None:
    new = str(place.with_name(f"new{SPOKEN}"))
    np.save(f"{new}.npy", np.array([[1, 2, 3]]))
    given = [word.replace("IN", str(place)).replace("NEW", new) for word in words]
    assert not _lines_of_names(printed(*given))


def _lines_of_names(text: str) -> list[str]:
    """Lines that only a name can have begun: our own never say `spoken` so early."""
    lines = re.split(rf"[{BREAKS}]", text)
    return [line for line in lines if re.match(r"\s*(ok  |::error::|\\x3a:error::)spoken", line)]


@pytest.mark.parametrize("damage", ["cut", "gone", "stranger"])
def test_no_finding_prints_a_line_that_a_name_begins(damage: str, place: Path) -> None:
    file = next(path for path in sorted(place.rglob("tensor*")) if path.is_file())
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "gone":
        file.unlink()
    file.with_name(f"tensor9{SPOKEN}").write_bytes(b"x")
    for words in (("verify",), ("inspect",), ("inspect", "--tree")):
        assert not _lines_of_names(printed(words[0], place, *words[1:]))
