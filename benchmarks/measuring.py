"""Running commands under a watch: wall time, processor time and peak resident memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

GROKPACK = [sys.executable, "-m", "grokpack"]
GB = 1e9
PROMISED_MIB = 512
COMPILED = {"GROKPACK_KERNELS": "numba"}
"""Else small checkpoints are left to numpy."""
_WATCH = (
    "import resource, subprocess, sys, time\n"
    "began = time.perf_counter()\n"
    "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
    "seconds = time.perf_counter() - began\n"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    "print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss)\n"
    "sys.exit(code)"
)


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Attributes:
        seconds: Wall time.
        peak: Largest resident memory of a process, in MiB.
        processor: Processor time of all its processes, in seconds.
    """

    seconds: float
    peak: float
    processor: float = 0.0


def watch(
    command: Sequence[str],
    good: tuple[int, ...] = (0,),
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a command quietly; a status that is not good ends the benchmark."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, *command],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode not in good:
        sys.stderr.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, list(command))
    seconds, processor, peak = done.stdout.split()[-3:]
    return Run(float(seconds), int(peak) / 1024, float(processor))


def grokpack(
    *arguments: str | Path,
    good: tuple[int, ...] = (0,),
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a grokpack command quietly."""
    return watch([*GROKPACK, *map(str, arguments), "-q"], good, environment)


def by_turns(turns: int, *measures: Callable[[], T]) -> list[tuple[T, ...]]:
    """Results of things that are compared, in turns: a slow minute is all of theirs."""
    rounds = [[measure() for measure in measures] for _ in range(turns)]
    return list(zip(*rounds, strict=True))


def copy(source: Path, out: Path) -> Run:
    """Run `cp -r`, and remove what it made.

    On a virtual machine pages that were freed a moment ago are filled at twice the speed of others.
    So what takes turns leaves nothing behind: each finds the pages that the other has freed.
    """
    run = watch(["cp", "-r", str(source), str(out)])
    remove(out)
    return run


def remove(path: Path) -> None:
    """Remove an output, a folder or a file with what lies beside it."""
    for own in (path, Path(f"{path}.grokpack.json")):
        if own.is_dir():
            shutil.rmtree(own)
        else:
            own.unlink(missing_ok=True)


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)
