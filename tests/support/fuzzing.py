"""Headers, indices, configs and policies mutated at random: every command must refuse in order.

`python -m tests.support.fuzzing COUNT [SEED]` runs many cases; test_fuzzing.py runs a few.
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from grokpack.cli.app import main
from grokpack.conversion.plan_quantize import QuantizeOptions
from grokpack.models.architecture import Geometry
from tests.faults import shapes
from tests.faults.watched import MEMORY_BYTES, Watched
from tests.support.checkpoints import reshard, synthesize
from tests.support.conversions import convert
from tests.support.mutations import mutate, mutated_policy
from tests.support.quantized_checkpoints import quantize

TINY = Geometry(
    vocab=32, d_model=64, layers=1, experts=2, ffn=256, q_width=256, kv_width=64, head_dim=16
)
"""Every target holds it: 16 query and 4 key/value heads, scale groups of 32 inputs."""
ALLOWED = range(6)  # exit statuses: 70 is a bug, and nothing here stops a run
SECONDS = 20  # that a case may take
CLAIMING = 0.04  # of the cases are inputs that claim much; each takes as long as thirty others
QUANTIZED: dict[str, QuantizeOptions] = {
    "int4": QuantizeOptions(group="32"),
    "int4 with zero points": QuantizeOptions(group="64", symmetric=False),
    "int8 with zero points": QuantizeOptions(
        bits=8, to="compressed-tensors", group="64", symmetric=False
    ),
    "gptq": QuantizeOptions(to="gptq", group="64"),
    "w8a8": QuantizeOptions(bits=8, to="w8a8-int8", tp=1),
    "q4_0": QuantizeOptions(to="gguf", tokenizer="none"),
    "plain": QuantizeOptions(to="safetensors", group="64"),
}
COMMANDS = [
    ["inspect"],
    ["inspect", "--tree"],
    ["inspect", "--stats"],
    ["verify"],
    ["verify", "--values", "--json"],
    ["verify", "--data"],
    ["reshard", "--tp", "2"],
    ["reshard", "--tp", "4", "--to", "ckpt-0"],
    ["reshard", "--tp", "1", "--dry-run"],
    ["convert", "--to", "hf"],
    ["convert", "--to", "hf", "--dtype", "f16", "--names", "sglang"],
    ["convert", "--to", "sglang", "--tp", "2", "--dry-run"],
    ["convert", "--to", "gguf", "--type", "q8_0", "--tokenizer", "none"],
    ["convert", "--to", "ckpt-0"],
    ["convert", "--to", "safetensors"],
    ["quantize", "--group", "32"],
    ["quantize", "--to", "gguf", "--tokenizer", "none", "--dry-run"],
    ["quantize", "--bits", "8", "--tokenizer", "none"],
    ["quantize", "--bits", "8", "--to", "ckpt-0", "--dry-run"],
]


def sources(folder: Path) -> dict[str, Path]:
    """One checkpoint of each kind."""
    origin = synthesize(folder / "ckpt-0", TINY)
    found = {"ckpt-0": origin, "hf": folder / "hf", "sglang": folder / "sglang"}
    found |= {"gguf": folder / "gguf", "ranks": folder / "ranks", "packed": folder / "packed"}
    convert(origin, found["hf"], "hf")
    convert(origin, found["sglang"], "sglang", tp=2)
    (folder / "gguf").mkdir()
    convert(origin, found["gguf"] / "m.gguf", "gguf", type="q8_0")
    reshard(origin, found["ranks"], 2)
    for name, options in QUANTIZED.items():
        given = {key: getattr(options, key) for key in QuantizeOptions.__slots__}
        found[name] = folder / name.replace(" ", "-")
        if options.to == "gguf":
            found[name].mkdir()
        out = found[name] / "m.gguf" if options.to == "gguf" else found[name]
        quantize(origin, out, **given)
    reshard(found["int4 with zero points"], found["packed"], 2)
    return found


class TooLong(BaseException):
    """A case took too long; no `except Exception` hides it."""


def ring(_number: int, _frame: FrameType | None) -> None:
    raise TooLong


def status_of(words: list[str]) -> tuple[int, str]:
    """Exit status of a command line, and what it said."""
    said = io.StringIO()
    sys.argv = ["grokpack", *words]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            return main(), said.getvalue()
        except TooLong:
            return 124, said.getvalue() + traceback.format_exc()
        except BaseException:  # noqa: BLE001  # whatever comes out is a finding
            return 70, said.getvalue() + traceback.format_exc()


class Task(NamedTuple):
    """What a case is made of.

    Attributes:
        number: Which case.
        seed: Of the whole run.
        held: Checkpoints by name.
        folder: Where the case may write.
    """

    number: int
    seed: int
    held: dict[str, Path]
    folder: Path


def case(task: Task) -> tuple[str, int, str]:
    """Run one case: what it was, its exit status and what was said."""
    dice = random.Random(f"{task.seed}/{task.number}")
    for name in ("source", "out"):
        shutil.rmtree(task.folder / name, ignore_errors=True)
    (task.folder / "source").unlink(missing_ok=True)
    made = _claiming if dice.random() < CLAIMING else _mutated
    what, words = made(task, dice)
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        status, said = status_of([*words, "--verbose"])
    finally:
        signal.alarm(0)
    return what, status, said


def _mutated(task: Task, dice: random.Random) -> tuple[str, list[str]]:
    """A checkpoint, or a policy, in which something is changed."""
    name = dice.choice(sorted(task.held))
    source = shutil.copytree(task.held[name], task.folder / "source")
    command = dice.choice(COMMANDS)
    words = _words(command, source, task.folder)
    if command[0] == "quantize" and dice.random() < 0.4:
        (task.folder / "policy.toml").write_bytes(mutated_policy(dice))
        words += ["--policy", str(task.folder / "policy.toml")]
        what = "policy"
    else:
        what = mutate(source, dice)
    return f"{' '.join(command)} of {name}, {what}", words


def _claiming(task: Task, dice: random.Random) -> tuple[str, list[str]]:
    """A small input that claims much."""
    scale = dice.choice([0.001, 0.01, 0.1])
    name = dice.choice([*shapes.SHAPES, *shapes.LISTS, *shapes.POLICIES])
    path = task.folder / "source"
    if name in shapes.SHAPES:
        path.mkdir()
        source = shapes.SHAPES[name](task.held["ckpt-0"].parent, path, scale)
        words = _words(dice.choice(COMMANDS), source, task.folder)
    elif name in shapes.LISTS:
        path.write_bytes(shapes.LISTS[name](scale))
        words = ["verify", str(task.held["hf"]), "--data", "--against", str(path)]
    else:
        path.write_bytes(shapes.POLICIES[name](scale))
        words = _words(["quantize"], task.held["ckpt-0"], task.folder)
        words += ["--policy", str(path)]
    return f"{words[0]} with {name} at {scale}", words


def _words(command: list[str], source: Path, folder: Path) -> list[str]:
    """A command line about a source."""
    words = [command[0], str(source), *command[1:]]
    if command[0] not in ("inspect", "verify"):
        words += ["--out", str(folder / "out" / ("x.gguf" if "gguf" in command else ""))]
    return words


def cases(count: int, seed: int, first: int = 0) -> Iterator[tuple[str, int, str]]:
    """Run many, each within limits of memory and time; one that passes them has status -9."""
    with tempfile.TemporaryDirectory() as name:
        held = sources(Path(name) / "held")
        shapes.prepare(Path(name) / "held")
        watched = Watched(case, MEMORY_BYTES, 2 * SECONDS)
        try:
            for number in range(first, first + count):
                yield _judged(watched, Task(number, seed, held, Path(name)))
        finally:
            watched.close()


def _judged(watched: Watched[Task, tuple[str, int, str]], task: Task) -> tuple[str, int, str]:
    """How a case went, named so that it can be run again."""
    done = watched.do(task)
    what, status, said = done.result or ("?", -9, "")
    if done.result is None or done.peak_bytes > MEMORY_BYTES:
        status = -9
        said += f"\nit took {done.peak_bytes >> 20} MiB and {done.seconds:.0f} s"
    return f"case {task.number} of seed {task.seed}: {what}", status, said


def report(count: int, seed: int, first: int) -> int:
    """Print every case that did not end in order; their number."""
    wrong = 0
    seen: dict[int, int] = {}
    for what, status, said in cases(count, seed, first):
        seen[status] = seen.get(status, 0) + 1
        if status not in ALLOWED or "Traceback" in said:
            wrong += 1
            sys.stdout.write(f"{what}: {status}\n{said[-3000:]}\n\n")
    sys.stdout.write(
        f"{count} cases, {wrong} wrong; by exit status: {dict(sorted(seen.items()))}\n"
    )
    return wrong


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] + [1000, 0, 0][len(sys.argv) - 1 :]
    sys.exit(bool(report(*numbers[:3])))
