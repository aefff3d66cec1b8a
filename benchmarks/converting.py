"""Converting: GB of input per second, and peak memory on tensors of real width."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measuring import clear, copy_once, grokpack, medians, remove, row

_GB = 1e9
_PEER_GB_PER_S = 0.028  # convert_grok.py of llama.cpp PR 7058, to Q8_0, on a machine like this one
TARGETS = {  # figure to reach in GB/s, and the command's options
    "gguf --type q8_0": (0.7, ("gguf", "--type", "q8_0", "--tokenizer", "none")),
    "hf --dtype bf16": (0.35, ("hf",)),
    "zarr": (0.0, ("zarr",)),
    "orbax": (0.0, ("orbax",)),
}
_CHUNKED = ("zarr", "orbax")
_OF_COPYING = 0.7  # what uncompressed chunks are to reach of the speed of `cp -r`


def bench_convert(work: Path) -> None:
    """3 GB of ckpt-0 to the formats that people load, and `cp -r` of the same files, by turns."""
    grokpack("synth", work / "m", "--preset", "medium", "-q")
    source, out = work / "m" / "ckpt-0", work / "out"
    gigabytes = sum(p.stat().st_size for p in source.iterdir()) / _GB

    def convert(options: tuple[str, ...]) -> float:
        clear(out)
        seconds, _ = _once(source, out, options)
        remove(out)
        return seconds

    def copy() -> float:
        seconds = copy_once(source, out)
        remove(out)
        return seconds

    every = [options for _, options in TARGETS.values()]
    for options in every:
        convert(options)  # kernels compiled
    copied, *times = medians(copy, *(partial(convert, options) for options in every))
    for (name, (reach, options)), seconds in zip(TARGETS.items(), times, strict=True):
        rate = gigabytes / seconds
        goal = f"{reach} GB/s" if reach else ""
        row(f"convert --to {name}, GB of input per s", f"{rate:.2f} GB/s", goal)
        if options[0] == "gguf":
            row("  times the other direct converter", f"{rate / _PEER_GB_PER_S:.0f} x", "20 x")
        goal = f"{1 / _OF_COPYING:.2f} x" if name in _CHUNKED else ""
        row("  against cp -r of the input", f"{seconds / copied:.2f} x", goal)
    shutil.rmtree(work / "m")


def bench_convert_memory(real: Path) -> None:
    """Peak memory of conversions of one layer at real width; outputs go to the disk."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        for name, (_, options) in TARGETS.items():
            seconds, peak = _once(real, out, options)
            remove(out)
            row(f"convert --to {name}, real-layer, to disk", f"{seconds:.1f} s", "")
            row(f"peak resident memory, real-layer, {name}", f"{peak:.0f} MiB", "512 MiB")


def _once(source: Path, out: Path, options: tuple[str, ...]) -> tuple[float, float]:
    remove(out)
    return grokpack("convert", source, "--to", *options, "-o", out, "-q")
