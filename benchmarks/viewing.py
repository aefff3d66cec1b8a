"""Views: how fast they are made and opened, how small, and what reading through one costs."""

from __future__ import annotations

import collections
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import GB, by_turns, grokpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

_PIECE_BYTES = 8 << 20  # what a reader asks for at a time: eight chunks, read at once
_FLYING = 2  # pieces that are asked for at the same time; a third takes memory and gains nothing
_GATE = "transformer/decoder_layer_{}/moe/linear/w"


def bench_view(bench: Bench) -> None:
    """The full geometry, sparse: made, opened, and the size of the index."""
    full = bench.sparse()
    view = full / "ckpt-0.view"
    start = bench.starting()
    made = [_make(full) - start for _ in range(bench.turns)]
    bench.figure("view of 770 sparse files made, less --help", made, "s", at_most=1.0)
    nbytes = sum((view / name).stat().st_size for name in ("index.ocdbt", "manifest.ocdbt"))
    bench.figure("  size of its index", nbytes / 1e6, "MB", at_most=2.0)
    for what in ("TensorStore", "grokpack.open"):
        found = [_child("open", what, str(view))["seconds"] * 1e3 for _ in range(bench.turns)]
        bench.figure(f"  opened by {what}, libraries loaded", found, "ms", at_most=50)
    shutil.rmtree(view)


def bench_view_reading(bench: Bench) -> None:
    """The experts, warm, through a view and by `preadv` of the same bytes, in turn."""
    source = bench.medium()
    _make(source)
    view = source / "ckpt-0.view"
    bare, through = by_turns(
        bench.turns,
        lambda: _child("read", "preadv", str(view)),
        lambda: _child("read", "view", str(view)),
    )
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(bare, through, strict=True)]
    bench.figure("reading through a view, speed of preadv", ratios, "x", at_least=0.5)
    for name, runs in (("through the view", through), ("preadv", bare)):
        bench.figure(f"  {name}", [run["bytes"] / run["seconds"] / GB for run in runs], "GB/s")
    peak = max(run["peak"] for run in through) / 2**20
    bench.figure("  peak resident memory", peak, "MiB", at_most=150)
    shutil.rmtree(view)


def _make(source: Path) -> float:
    return grokpack("convert", source, "--to", "view", "--restart").seconds


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.viewing", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _spec(view: str, name: str) -> dict[str, Any]:
    """As `inspect` prints it."""
    folder = Path(view)
    kvstore = {
        "driver": "ocdbt",
        "base": f"file://{folder.parent}/",
        "manifest": f"file://{view}/",
        "path": f"{name}/",
    }
    return {"driver": "zarr3", "kvstore": kvstore}


def _open(how: str, view: str) -> float:
    """Seconds from nothing to an array that can be read; libraries are loaded before."""
    import tensorstore as ts

    from grokpack.checkpoint import open_tensorstore

    name = _GATE.format(4)
    began = time.perf_counter()
    if how == "TensorStore":
        array = ts.open(_spec(view, name), read=True).result()
    else:
        array = open_tensorstore.open(view)[name]
    seconds = time.perf_counter() - began
    assert array.shape == (8, 6144, 32768)  # noqa: S101  # what was opened is what was asked for
    return seconds


def _read_preadv(view: str) -> tuple[float, int]:
    """Seconds and bytes of reading every gate's payload into one buffer."""
    from grokpack.checkpoint.open_checkpoint import open_checkpoint

    checkpoint = open_checkpoint(view)
    pieces = checkpoint.layout.pieces()
    buffer = bytearray(_PIECE_BYTES)
    nbytes, began = 0, time.perf_counter()
    for array, (piece, *_) in pieces.items():
        if "/moe/" not in array or array.endswith("scales"):
            continue
        handle = os.open(checkpoint.path(piece.extent.path), os.O_RDONLY)
        for at in range(0, piece.extent.nbytes, _PIECE_BYTES):
            count = min(_PIECE_BYTES, piece.extent.nbytes - at)
            nbytes += os.preadv(handle, [memoryview(buffer)[:count]], piece.extent.offset + at)
        os.close(handle)
    return time.perf_counter() - began, nbytes


def _read_view(view: str) -> tuple[float, int]:
    """The same through TensorStore, a few pieces at a time."""
    import tensorstore as ts

    from grokpack.checkpoint.open_checkpoint import open_checkpoint

    layers = open_checkpoint(view).geometry.layers
    names = [f"linear{end}" for end in ("", "_1", "_v")]
    nbytes, began = 0, time.perf_counter()
    for layer in range(layers):
        for name in names:
            path = f"transformer/decoder_layer_{layer}/moe/{name}/w"
            array = ts.open(_spec(view, path), read=True).result()
            pieces = _pieces(array)
            flying = collections.deque(p.read() for p in itertools.islice(pieces, _FLYING))
            while flying:
                nbytes += flying.popleft().result().nbytes
                flying.extend(p.read() for p in itertools.islice(pieces, 1))
    return time.perf_counter() - began, nbytes


def _pieces(array: Any) -> Iterator[Any]:  # noqa: ANN401  # a TensorStore
    """Bands of rows of each expert."""
    experts, rows, columns = array.shape
    step = _PIECE_BYTES // columns
    for expert in range(experts):
        for first in range(0, rows, step):
            yield array[expert, first : min(first + step, rows)]


def main() -> None:
    """Measure one thing and print it as JSON: the memory is this process's own."""
    what, how, view = sys.argv[1:]
    nbytes = 0
    if what == "open":
        seconds = _open(how, view)
    else:
        seconds, nbytes = {"preadv": _read_preadv, "view": _read_view}[how](view)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "bytes": nbytes, "peak": peak}))


if __name__ == "__main__":
    main()
