"""Every flipped bit is found by `verify --data`, wherever it is, and ends no command badly."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.damage import judged
from tests.support.checkpoints import reshard, synthesize
from tests.support.content_checks import flip
from tests.support.conversions import convert
from tests.support.fuzzing import ALLOWED, TINY, status_of

FORMS = ("ckpt-0", "safetensors", "hf", "gguf", "zarr", "archive")
HEADER_FLIPS, PAYLOAD_FLIPS = 30, 20  # of each form, here; `make faults` has all of the headers
COMMANDS = (
    ["inspect"],
    ["inspect", "--offsets", "router/w"],
    ["verify"],
    ["verify", "--data"],
    ["verify", "--values"],
    ["reshard", "--tp", "2", "--dry-run"],
    ["convert", "--to", "hf", "--dry-run"],
    ["quantize", "--group", "32", "--dry-run"],
)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forms")
    found = {"ckpt-0": synthesize(folder / "ckpt-0", TINY, seed=3)}
    found["safetensors"] = folder / "ranks"
    reshard(found["ckpt-0"], found["safetensors"], 2)
    for form, options in {"hf": {}, "zarr": {"tp": 1}, "archive": {}}.items():
        found[form] = folder / form
        convert(found["ckpt-0"], found[form], form, **options)
    found["gguf"] = folder / "one" / "m.gguf"
    found["gguf"].parent.mkdir()
    convert(found["ckpt-0"], found["gguf"], "gguf", type="q8_0")
    return found


def files(folder: Path) -> list[Path]:
    """The files that hold weights, chunks, headers: all that a manifest has sums of."""
    if folder.is_file():
        return [folder]
    own = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size]
    return [p for p in own if p.name != "grokpack.json" and ".grokpack" not in p.parts]


def header_bytes(path: Path) -> int:
    """How much of a file is no weight: all of a pickle's opcodes, a JSON header, GGUF's table."""
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        return 8 + int.from_bytes(data[:8], "little")
    return min(len(data), 3000 if path.suffix == ".gguf" else 200)


def check_flip(folder: Path, path: Path, byte: int, bit: int) -> None:
    flip(path, byte, bit)
    found = judged(folder)
    flip(path, byte, bit)
    assert found != "whole", f"bit {bit} of byte {byte} of {path.name}"
    assert found == "damaged" or found.startswith("GP"), found


@pytest.mark.parametrize("form", FORMS)
def test_a_flip_anywhere_is_found(forms: dict[str, Path], form: str) -> None:
    chance = random.Random(form)
    folder = forms[form]
    assert judged(folder) == "whole"
    own = files(folder)
    for number in range(HEADER_FLIPS + PAYLOAD_FLIPS):
        path = chance.choice(own)
        size = path.stat().st_size
        most = header_bytes(path) if number < HEADER_FLIPS else size
        check_flip(folder, path, chance.randrange(min(most, size)), chance.randrange(8))
    assert judged(folder) == "whole"


@pytest.mark.parametrize("form", FORMS)
def test_no_flip_ends_a_command_badly(
    forms: dict[str, Path], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean answer or a clean refusal, with a status that is promised."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chance = random.Random(form)
    folder = forms[form]
    own = files(folder)
    for number in range(24):
        path = chance.choice(own)
        most = header_bytes(path) if number % 4 else path.stat().st_size
        byte, bit = chance.randrange(most), chance.randrange(8)
        flip(path, byte, bit)
        command = COMMANDS[number % len(COMMANDS)]
        out = ["-o", str(tmp_path / "out")] if "--dry-run" in command else []
        status, said = status_of([command[0], str(folder), *command[1:], *out])
        flip(path, byte, bit)
        assert status in ALLOWED, (command, path.name, byte, bit, said)
        assert "Traceback" not in said


@pytest.mark.faults
@pytest.mark.parametrize("form", FORMS)
def test_each_flip_of_a_header_is_found(forms: dict[str, Path], form: str, tmp_path: Path) -> None:
    """Of the file with the smallest header of its form, every bit."""
    place = tmp_path / forms[form].name
    if forms[form].is_dir():
        shutil.copytree(forms[form], place)
    else:
        shutil.copy(forms[form], place)
        shutil.copy(f"{forms[form]}.grokpack.json", f"{place}.grokpack.json")
    path = min(files(place), key=header_bytes)
    for byte in range(min(header_bytes(path), 1500)):
        for bit in range(8):
            check_flip(place, path, byte, bit)
