"""The end of a run with many files: its share, as `python -m benchmarks.publishing SOURCE OUT`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import tell
from benchmarks.measuring import grokpack

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_SHAPE = {"layers": 64, "d-model": 256, "ffn": 512, "heads": 4, "kv-heads": 2, "head-dim": 64}


def bench_publishing(bench: Bench) -> None:
    """Converting many small matrices to zarr: ten thousand files, one for each chunk."""
    source, out = bench.work / "m", bench.work / "out"
    options = [word for name, value in _SHAPE.items() for word in (f"--{name}", str(value))]
    grokpack("synth", source, "--vocab", "1024", "--experts", "8", *options)
    bench.child(sys.executable, "-m", "benchmarks.publishing", str(source), str(out))


def main(source: str, out: str) -> None:
    """Convert once, and tell how long it took from the last written byte to the end."""
    import grokpack
    from grokpack.core.events import Advanced

    last = began = time.monotonic()

    def listen(event: object) -> None:
        nonlocal last
        if isinstance(event, Advanced):
            last = time.monotonic()

    plan = grokpack.plan_convert(grokpack.open_checkpoint(source), "zarr")
    grokpack.execute(plan, out, listen=listen)
    ended = time.monotonic()
    files = sum(1 for path in Path(out).rglob("*") if path.is_file())
    name = f"convert --to zarr, {files:,} files: the end's share of the run"
    tell(name, 100 * (ended - last) / (ended - began), "%", at_most=10)
    tell("  the whole run", ended - began, "s")


if __name__ == "__main__":
    main(*sys.argv[1:])
