"""Running commands under a watch: wall time and peak resident memory."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GROKPACK = [sys.executable, "-m", "grokpack"]
RUNS = 3
_SETTLING_S = 10  # Linux reports free pages to the host by and by, from the second second on
_WATCH = (
    "import resource, subprocess, sys\n"
    "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    "sys.exit(code)"
)


def seconds_and_peak(command: list[str]) -> tuple[float, float]:
    """Wall seconds of a command, and the peak resident memory of its processes in MiB."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - began, int(done.stdout.split()[-1]) / 1024


def grokpack(*arguments: str | Path) -> tuple[float, float]:
    """Run a grokpack command quietly."""
    return seconds_and_peak([*GROKPACK, *map(str, arguments)])


def median(measure: Callable[[], float]) -> float:
    """The median of several runs."""
    return statistics.median(measure() for _ in range(RUNS))


def medians(*measures: Callable[[], float]) -> list[float]:
    """Medians of things that are compared: by turns, so that a slow minute is all of theirs."""
    turns = [[measure() for measure in measures] for _ in range(2 * RUNS - 1)]
    return [statistics.median(times) for times in zip(*turns, strict=True)]


def row(figure: str, value: str, reach: str) -> None:
    """One line of the table."""
    print(f"{figure:<58} {value:>22}   {reach}", flush=True)


def copy_once(source: Path, out: Path) -> float:
    """Seconds of `cp -r`."""
    clear(out)
    seconds, _ = seconds_and_peak(["cp", "-r", str(source), str(out)])
    return seconds


def remove(path: Path) -> None:
    """Remove an output, a folder or a file with what lies beside it."""
    for own in (path, Path(f"{path}.grokpack.json")):
        if own.is_dir():
            shutil.rmtree(own)
        else:
            own.unlink(missing_ok=True)


def clear(path: Path) -> None:
    """Remove an output, and let a virtual machine's host have its memory back.

    What was freed a moment ago is filled again in half the time. That would favour whatever is so
    short that nothing is given back meanwhile, and it is nothing that a user's run finds.
    """
    remove(path)
    time.sleep(_SETTLING_S)
