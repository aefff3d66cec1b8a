"""Converting from a server on loopback, against the same conversion from the local folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.measuring import grokpack, medians, remove, row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GGUF = ("--to", "gguf", "--type", "q8_0", "--tokenizer", "none", "-q")


@contextlib.contextmanager
def served(folder: Path, delay_s: float = 0.0) -> Iterator[str]:
    """The URL of a server of a folder, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.serving", str(folder), "--delay", str(delay_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101  # asked for above
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def bench_fetching(work: Path) -> None:
    """3 GB of ckpt-0 to GGUF, from a folder and from a server of it."""
    grokpack("synth", work / "m", "--preset", "medium", "-q")
    out = work / "out.gguf"
    with served(work) as url:
        near, server = f"{work}/m", f"{url}/m"
        peaks: dict[str, float] = {}

        def convert(source: str) -> float:
            remove(out)
            seconds, peak = grokpack("convert", source, *_GGUF, "-o", out)
            peaks[source] = max(peak, peaks.get(source, 0))
            return seconds

        convert(near)  # kernels compiled, pages touched
        local, far = medians(lambda: convert(near), lambda: convert(server))
        row(
            "convert --to gguf from a local server against the folder",
            f"{local / far:.2f} x",
            "0.7 x",
        )
        row("  peak resident memory, from the server", f"{peaks[server]:.0f} MiB", "512 MiB")
        seconds, _ = grokpack("inspect", server, "-q")
        row("  inspect from the server", f"{seconds:.2f} s", "")
    shutil.rmtree(work / "m")
    remove(out)
