"""Verifying contents, against reading the same files with `cat`, and one thread of hashlib."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.measuring import grokpack, median, row

if TYPE_CHECKING:
    from pathlib import Path


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


def bench_verify(work: Path) -> None:
    """3 GB of ckpt-0 against its own manifest, and against a list of sha256 sums."""
    grokpack("synth", work / "m", "--preset", "medium", "-q")
    folder = work / "m" / "ckpt-0"
    starting = median(lambda: grokpack("verify", work / "m", "-q")[0])
    peaks = []

    def verify(*options: str | Path) -> float:
        seconds, peak = grokpack("verify", work / "m", *options, "-q")
        peaks.append(peak)
        return seconds

    verify("--data")  # pages touched
    cat, data = median(lambda: _cat(folder)), median(lambda: verify("--data"))
    row("verify --data of 3 GB, speed of cat", f"{cat / (data - starting):.2f} x", "0.8 x")
    row("  with the start and the headers", f"{cat / data:.2f} x", "")
    sums = work / "sums"
    with sums.open("w", encoding="utf-8") as handle:
        subprocess.run(["sha256sum", *sorted(folder.iterdir())], check=True, stdout=handle)
    alone, against = median(lambda: _hash(folder)), median(lambda: verify("--against", sums))
    row(
        "verify --against sha256, speed of one thread",
        f"{alone / (against - starting):.2f} x",
        "1.8 x",
    )
    row("  peak resident memory of both", f"{max(peaks):.0f} MiB", "256 MiB")
    shutil.rmtree(work / "m")


def bench_checksums(work: Path) -> None:
    """What the manifest's checksums cost a run: the same one with sums that sum nothing.

    The best of several: first touches of memory vary by more than what is measured.
    """
    grokpack("synth", work / "m", "--preset", "medium", "-q")
    for words in (["reshard", "--tp", "8"], ["convert", "--to", "hf"]):
        pairs = [[_run(work, words, code) for code in (_PLAIN, _WITHOUT)] for _ in range(_PAIRS)]
        summed, free = (min(times) for times in zip(*pairs, strict=True))
        what = f"checksums of tiles, of `{words[0]}`, best of {_PAIRS}"
        row(what, f"{summed / free - 1:+.1%}", "10 %")
    shutil.rmtree(work / "m")


_PAIRS = 5
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


def _run(work: Path, words: list[str], code: str) -> float:
    """Seconds of one run into a fresh folder; processes take turns, so that both see the same."""
    shutil.rmtree(work / "out", ignore_errors=True)
    command = [sys.executable, "-c", code, words[0], str(work / "m"), *words[1:]]
    began = time.monotonic()
    subprocess.run([*command, "-o", str(work / "out"), "-q"], check=True, capture_output=True)
    return time.monotonic() - began
