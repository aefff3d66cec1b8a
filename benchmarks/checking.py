"""Verifying contents, against reading the same files with `cat` and one thread of hashlib."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measuring import by_turns, grokpack, remove

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench


def _cat(folder: Path) -> float:
    """Seconds of reading every file of a folder once with `cat`."""
    began = time.monotonic()
    subprocess.run(f"cat '{folder}'/* > /dev/null", shell=True, check=True)  # noqa: S602
    return time.monotonic() - began


def _hash(folder: Path) -> float:
    """Seconds of one thread that sums every file with hashlib."""
    began = time.monotonic()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as handle:
            hashlib.file_digest(handle, "sha256")
    return time.monotonic() - began


def bench_verify(bench: Bench) -> None:
    """A checkpoint against its own manifest, and against a list of sha256 sums."""
    source = bench.medium()
    folder = source / "ckpt-0"
    sums = bench.work / "sums"
    with sums.open("w", encoding="utf-8") as handle:
        subprocess.run(["sha256sum", *sorted(folder.iterdir())], check=True, stdout=handle)
    runs = []

    def verify(*options: str | Path) -> float:
        run = grokpack("verify", source, *options)
        runs.append(run)
        return run.seconds

    starting, cat, data, alone, against = by_turns(
        bench.turns,
        verify,
        lambda: _cat(folder),
        lambda: verify("--data"),
        lambda: _hash(folder),
        lambda: verify("--against", sums),
    )
    pairs = zip(cat, data, starting, strict=True)
    speeds = [one / (two - start) for one, two, start in pairs]
    bench.figure("verify --data, speed of cat", speeds, "x", at_least=0.8)
    pairs = zip(alone, against, starting, strict=True)
    speeds = [one / (two - start) for one, two, start in pairs]
    bench.figure("verify --against sha256, speed of one thread", speeds, "x", at_least=1.8)
    bench.peak("  peak resident memory of both", runs, 256)


def bench_checksums(bench: Bench) -> None:
    """What the manifest's checksums cost a run: the same one with sums that sum nothing.

    The best of several: first touches of memory vary by more than what is measured.
    """
    for words in (("reshard", "--tp", "8"), ("convert", "--to", "hf")):
        once = partial(_run, bench, words)
        pairs = by_turns(bench.turns + 2, partial(once, _PLAIN), partial(once, _WITHOUT))
        summed, free = map(min, pairs)
        share = 100 * (summed / free - 1)
        bench.figure(f"checksums of tiles, {words[0]}, best of turns", share, "%", at_most=3)


_PLAIN = "from grokpack.__main__ import main; main()"
_WITHOUT = (
    """
from types import SimpleNamespace
from grokpack.storage import hashing
class Nothing:
    def __init__(self, data=b""): pass
    def update(self, data): pass
    def reset(self): pass
    def hexdigest(self): return "0" * 32
hashing.xxhash = SimpleNamespace(xxh3_128=Nothing)
"""
    + _PLAIN
)


def _run(bench: Bench, words: tuple[str, ...], code: str) -> float:
    """Seconds of one run into a fresh folder."""
    out = bench.work / "out"
    remove(out)
    command = [sys.executable, "-c", code, words[0], str(bench.medium()), *words[1:]]
    began = time.monotonic()
    subprocess.run([*command, "-o", str(out), "-q"], check=True, capture_output=True)
    return time.monotonic() - began
