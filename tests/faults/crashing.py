"""Commands that write, stopped at one of the operations by which they change files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.planning.plan import Plan
from tests.support.checkpoints import files
from tests.support.fuzzing import TINY

ALIKE = 3
"""Operations on files of a kind before which a command is crashed; `make faults` has all."""

each_or_some = pytest.mark.parametrize(
    "most", [ALIKE, pytest.param(None, marks=pytest.mark.faults)], ids=["some", "each"]
)
"""Runs a test at places of each kind, and with the mark at each operation."""


class Crash(BaseException):
    """Stands for the end of the process."""


@contextmanager
def counted() -> Iterator[list[tuple[str, str]]]:
    """The operations that change files and their paths, as they happen."""
    seen: list[tuple[str, str]] = []
    storage.faults.hook = lambda operation, path: seen.append((operation, path))
    try:
        yield seen
    finally:
        storage.faults.hook = None


def places(operations: Sequence[tuple[str, str]], most: int | None = ALIKE) -> list[int]:
    """Operations before which to crash: of those alike so many, among them the first and the last.

    Alike are those of one kind on folders, or on files whose names differ in numbers only.

    Args:
        operations: What `counted` saw.
        most: Of operations that are alike; all without.
    """
    alike: dict[tuple[str, str], list[int]] = {}
    for number, (operation, path) in enumerate(operations):
        name = re.sub(r"[0-9a-f]{8,}|[0-9]+", "#", Path(path).name)
        kind = (operation, "" if operation.endswith("_folder") else name)
        alike.setdefault(kind, []).append(number)
    chosen: set[int] = set()
    for numbers in alike.values():
        count = min(len(numbers), most or len(numbers))
        last = len(numbers) - 1
        chosen.update(numbers[round(last * i / max(1, count - 1))] for i in range(count))
    return sorted(chosen)


def crash_after(count: int) -> None:
    """From now on: the process ends at the operation after so many."""
    left = [count]

    def hook(_operation: str, _path: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash

    storage.faults.hook = hook


@contextmanager
def crashing(after: int) -> Iterator[None]:
    """The same within a block."""
    crash_after(after)
    try:
        yield
    finally:
        storage.faults.hook = None


Planner = Callable[[Path, Path], Plan]
"""Plans what is written from a source to an output."""


def _convert(to: str, **options: Any) -> Planner:
    return lambda source, _: plan_convert(
        open_checkpoint(str(source)), to, ConvertOptions(**options)
    )


def _quantize(**options: Any) -> Planner:
    return lambda source, _: plan_quantize(open_checkpoint(str(source)), QuantizeOptions(**options))


def _reshard(tp: int, to: str = "safetensors") -> Planner:
    return lambda source, _: plan_reshard(open_checkpoint(str(source)), tp, to)


def _view(source: Path, out: Path) -> Plan:
    return plan_convert(open_checkpoint(str(source)), "view", ConvertOptions(out=str(out)))


PLANNERS: dict[str, Planner] = {
    "synth": lambda *_: plan_synth(TINY, 7),
    "reshard": _reshard(2),
    "reshard to ckpt-0": _reshard(4, "ckpt-0"),
    "hf": _convert("hf", shard_bytes=100_000),
    "sglang": _convert("sglang", tp=2),
    "gguf": _convert("gguf", type="q8_0", tokenizer="none"),
    "gguf in parts": _convert("gguf", type="bf16", tokenizer="none", shard_bytes=100_000),
    "zarr": _convert("zarr"),
    "zarr, compressed": _convert("zarr", compress="zstd"),
    "orbax": _convert("orbax"),
    "archive": _convert("archive"),
    "files": _convert("files"),
    "view": _view,
    "int4": _quantize(group="32"),
    "gptq": _quantize(bits=8, group="32"),
    "fp8 for ranks": _quantize(to="fp8", group="channel", tp=2),
    "nvfp4": _quantize(to="nvfp4"),
    "q4_0": _quantize(to="gguf", type="q4_0", tokenizer="none"),
}
"""Every command that writes, and every form that it can write."""


def write_plan(plan: Plan, out: Path) -> None:
    """Write a plan, or continue what is there of it, by one thread: operations keep their order."""
    execute(plan, str(out), RunOptions(workers=1))


def _planned_and_written(planner: Planner) -> Callable[[Path, Path], None]:
    return lambda source, out: write_plan(planner(source, out), out)


WRITERS = {name: _planned_and_written(planner) for name, planner in PLANNERS.items()}
"""What a process of the command does: plan, then write or continue."""


def name_of(command: str, folder: Path) -> Path:
    """Where a command writes: some write one file."""
    single = command in ("gguf", "q4_0")
    return folder / ("out.gguf" if single else "out")


def contents(out: Path) -> dict[str, bytes]:
    """Every file of an output but for the journal; of a single file the manifest beside it too."""
    found = sorted(files(out.parent))
    return {
        name: data
        for name, data in found
        if not any(part.endswith(".grokpack") for part in name.split("/"))
    }
