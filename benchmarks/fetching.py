"""Converting from a server on loopback, against the same conversion from the local folder."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.measuring import Run, by_turns, grokpack, remove

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bench import Bench

_GGUF = ("--to", "gguf", "--type", "q8_0", "--tokenizer", "none")


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


def drain(url: str, folder: Path) -> Run:
    """Read every file of a folder from its server, and drop the bytes, in this process.

    Nothing is faster on the cores that server and client share: the standard library's client, one
    request for each file, into memory that is used again.
    """
    memory = memoryview(bytearray(1 << 20))
    began = time.perf_counter()
    line = http.client.HTTPConnection(urlsplit(url).netloc)
    for file in (path for path in folder.rglob("*") if path.is_file()):
        place = f"{urlsplit(url).path}/{file.relative_to(folder)}"
        line.request("GET", place, headers={"Range": f"bytes=0-{file.stat().st_size - 1}"})
        with line.getresponse() as answer:
            while answer.readinto(memory):
                pass
    line.close()
    return Run(time.perf_counter() - began, peak=0.0)


def bench_fetching(bench: Bench) -> None:
    """A checkpoint to GGUF, from a folder and from a server of it."""
    source, out = bench.medium(), bench.work / "out.gguf"
    with served(source.parent) as url:
        server = f"{url}/{source.name}"

        def convert(where: str) -> Run:
            remove(out)
            return grokpack("convert", where, *_GGUF, "-o", out)

        convert(str(source))  # kernels compiled, pages touched
        near, far, drained = by_turns(
            bench.turns,
            lambda: convert(str(source)),
            lambda: convert(server),
            lambda: drain(server, source),
        )
        ratios = [one.seconds / two.seconds for one, two in zip(near, far, strict=True)]
        name = "convert --to gguf from a local server, speed of the folder"
        bench.figure(name, ratios, "x", at_least=0.75)
        bench.figure(
            "  reading it all with http.client, dropping it", [r.seconds for r in drained], "s"
        )
        parts = [
            (one.seconds + alone.seconds) / two.seconds
            for one, two, alone in zip(near, far, drained, strict=True)
        ]
        bench.figure("  speed of that and the conversion, one after the other", parts, "x")
        bench.peak("  peak resident memory", far)
        seconds = [grokpack("inspect", server).seconds for _ in range(bench.turns)]
        bench.figure("  inspect from the server", seconds, "s")
