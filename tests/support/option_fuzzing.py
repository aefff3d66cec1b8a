"""Options combined at random, with odd values and odd files: every command must refuse in order.

`python -m tests.support.option_fuzzing COUNT [SEED]` runs many cases;
test_option_fuzzing.py runs a few.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import typer
from safetensors.numpy import load_file, save_file

from grokpack.cli.app import app
from grokpack.formats.calibration_file import FORMAT, VERSION
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert
from tests.support.fuzzing import ALLOWED, SECONDS, TINY, ring, status_of
from tests.support.mutations import POLICY, mutate_bytes

ODD = [
    "", " ", "0", "-1", "1", "2", "3", "1.5", "1e400", "-0", "nan", "inf", "9" * 30, "9" * 5000,
    "1_0", "x", "x" * 5000, "é", "\u202e", "\x1b[31m", "\n", "{}", "{0}", "%s", "*", "[", "../..",
    "a,b", "1,2", "1/2", "2/2", "0/0", "3/2", "1/99999999999", "5%", "101%", "0.1%", "20GB", "1B",
    "-5MB", "0s",
    "1ms", "30m", "4w", "99999999w", "true", "None", "all", "serial", "tensor", ".", "/dev/null",
    "/nonexistent/x", "file.npy/x", "hf:", "s3://",
    "http://", "http://[", "-", "--",
]  # fmt: skip
FEWER = {"--workers": ["0", "-1", "1", "2", "serial", "x", "", "1.5", "dask://", "nan"]}
"""Options by whose values a case could take a machine."""
FILES = {"--tokens", "--text", "--tokenizer", "--importance", "--policy", "--against", "--source"}
WRITTEN = {"-o", "--report", "--logits", "--calibrate", "--extract"}
NOT = {"-v", "--preset"}
USUAL = {"--format": ["text", "json", "github", "junit"], "--to": ["hf", "gguf", "ckpt-0", "zarr"]}


class Option(NamedTuple):
    """An option of a command, or an argument."""

    name: str
    takes: str | None
    """What its help says that it takes; None for a flag."""


@cache
def commands() -> dict[str, list[Option]]:
    """Every command with its options, as the command line itself has them."""
    group: Any = typer.main.get_command(app)
    return {
        name: [
            Option(
                each.opts[-1] if each.param_type_name == "option" else "",
                None if getattr(each, "is_flag", False) else each.metavar or "N",
            )
            for each in command.params
        ]
        for name, command in group.commands.items()
    }


def arrays(folder: Path, dice: random.Random) -> Path:
    """An array of tokens that may be none."""
    path = folder / "tokens.npy"
    kinds: list[Any] = [
        np.arange(5), np.array(3), np.zeros((0,), int), np.zeros((2, 0), int),
        np.ones((2, 3, 4), int), np.array([True]), np.array([1.5, np.nan]), np.array([-1]),
        np.array([10**9]),
        np.array(["a"]), np.array([2**63], np.uint64), np.zeros(3, "V4"), np.zeros(3, "M8[s]"),
        np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(4, dtype=">i4"), np.array([1j]), np.zeros(2, [("a", "i4")]),
    ]  # fmt: skip
    np.save(path, dice.choice(kinds))
    return path


def calibrations(folder: Path, dice: random.Random) -> Path:
    """A calibration whose numbers make no sense."""
    path = folder / "odd.safetensors"
    found = load_file(folder / "flow.safetensors")
    odd: list[Any] = [np.nan, np.inf, -1, 0, 1e38, 1e-45]
    for name in dice.sample(sorted(found), min(len(found), dice.choice([1, 3, 99]))):
        kind = dice.randrange(4)
        array = np.array(found[name])
        if kind == 0:
            array = array.astype(np.float32)
            array.reshape(-1)[:: dice.choice([1, 7])] = dice.choice(odd)
        elif kind == 1:
            array = array.astype(dice.choice([np.float64, np.int8, np.float16]))
        elif kind == 2:
            array = array[..., :1] if array.ndim else array
        else:
            found.pop(name)
            continue
        found[name] = array
    save_file(found, path, {"format": FORMAT, "version": VERSION})
    data = (folder / "flow.safetensors").read_bytes()
    head = 8 + int.from_bytes(data[:8], "little")
    own = path.read_bytes()
    end = 8 + int.from_bytes(own[:8], "little")
    if dice.random() < 0.3:
        path.write_bytes(mutate_bytes(own, dice, end))
    elif dice.random() < 0.3:
        path.write_bytes(mutate_bytes(data, dice, head))
    return path


def odd_file(folder: Path, dice: random.Random) -> str:
    """A file that is something else, or broken."""
    kind = dice.randrange(5)
    if kind == 0:
        return str(arrays(folder, dice))
    if kind == 1:
        return str(calibrations(folder, dice))
    path = folder / "odd"
    seeds = [
        POLICY.encode(), (folder / "flow.safetensors").read_bytes(),
        arrays(folder, dice).read_bytes(), b"", b"\x00" * 100, b"{" * 100_000, b"[" * 100_000,
        b"d4:infod5:filesl",
        b"0" * 64 + b"  x\n", b'{"files": {"a": ' + b"9" * 5000 + b"}}", b"\xff\xfe",
        b"\x80\x04cposix\nsystem\n)R.",
    ]  # fmt: skip
    path.write_bytes(mutate_bytes(dice.choice(seeds), dice, 400))
    return str(path if dice.random() < 0.9 else folder)


def value(option: Option, folder: Path, dice: random.Random) -> str:
    """What is given to an option."""
    choices = USUAL.get(option.name) or [
        word for word in (option.takes or "").split("|") if word.islower() or word.isdigit()
    ]
    if option.name in FEWER:
        return dice.choice(FEWER[option.name])
    if option.name in WRITTEN:
        end = dice.choice(["json", "html", "npy", "safetensors", "gguf", "x"])
        return str(folder / "out" / dice.choice([f"a.{end}", "", "a/b", "x" * 300, "\n", "\x1b"]))
    if option.name in FILES and dice.random() < 0.8:
        return odd_file(folder, dice)
    if choices and dice.random() < 0.6:
        return dice.choice(choices)
    return dice.choice(ODD)


def words(name: str, folder: Path, dice: random.Random) -> list[str]:
    """A command line."""
    said: list[str] = [name]
    sources = [str(folder / "ckpt-0"), str(folder / "hf")]
    offered = [option for option in commands()[name] if option.name not in NOT]
    for option in offered:
        if not option.name:
            likely = option.takes in ("SRC", "A", "B") and dice.random() < 0.9
            said.append(dice.choice(sources) if likely else dice.choice(ODD[:-2]))
    named = [option for option in offered if option.name]
    for option in dice.sample(named, min(len(named), dice.choice([0, 1, 2, 3, 5]))):
        said.append(option.name)
        if option.takes is not None:
            said.append(value(option, folder, dice))
    if name == "synth" or (name in ("reshard", "quantize", "convert") and dice.random() < 0.5):
        said.append("--dry-run")
    if name in ("reshard", "quantize", "convert") and "-o" not in said:
        said += ["-o", str(folder / "out" / "copy")]
    return said


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """Run in a folder of its own: what a relative path names lands there."""
    with contextlib.chdir(folder):
        (folder / "out").mkdir(exist_ok=True)
        yield


def prepare(folder: Path) -> None:
    """Make the checkpoints and the calibration that the cases use."""
    synthesize(folder / "ckpt-0", TINY)
    convert(folder / "ckpt-0", folder / "hf", "hf")
    np.save(folder / "good.npy", np.arange(8))
    made = ["--tokens", str(folder / "good.npy"), "--calibrate", str(folder / "flow.safetensors")]
    status, said = status_of(["evaluate", str(folder / "ckpt-0"), *made])
    assert status == 0, said


def cases(count: int, seed: int, first: int = 0) -> Iterator[tuple[str, int, str]]:
    """Run many: the command line, its exit status and what it said."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        signal.signal(signal.SIGALRM, ring)
        for number in range(first, first + count):
            dice = random.Random(f"{seed}/{number}")
            with within(folder):
                said = words(dice.choice(sorted(commands())), folder, dice)
                signal.alarm(SECONDS)
                try:
                    status, text = status_of(said)
                finally:
                    signal.alarm(0)
            yield f"case {number} of seed {seed}: {said}", status, text


def wrong(count: int, seed: int) -> list[tuple[str, int, str]]:
    """Run many and keep those that did not end in order."""
    return [
        (what, status, said)
        for what, status, said in cases(count, seed)
        if status not in {*ALLOWED, 75} or "Traceback" in said
    ]


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] + [1000, 0][len(sys.argv) - 1 :]
    found = wrong(*numbers[:2])
    for what, status, said in found:
        sys.stdout.write(f"{what[:600]}: {status}\n{said[-1500:]}\n\n")
    sys.stdout.write(f"{numbers[0]} cases, {len(found)} wrong\n")
    sys.exit(bool(found))
