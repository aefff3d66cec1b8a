"""Converting: GB of input per second, and peak memory on tensors of real width."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measuring import clear, copy_once, grokpack, median, medians, remove, row

_GB = 1e9
_PEER_GB_PER_S = 0.028  # convert_grok.py of llama.cpp PR 7058, to Q8_0, on a machine like this one
LOADED = {  # figure to reach in GB/s, and the command's options
    "gguf --type q8_0": (0.7, ("gguf", "--type", "q8_0", "--tokenizer", "none")),
    "hf --dtype bf16": (0.35, ("hf",)),
}
CHUNKED = ("zarr", "orbax")
_OF_COPYING = 1 / 0.7  # what they are to take of the time of `cp -r`


def bench_convert(work: Path) -> None:
    """3 GB of ckpt-0 to the formats that people load; chunks and `cp -r` of the files by turns."""
    grokpack("synth", work / "m", "--preset", "medium", "-q")
    source, out = work / "m" / "ckpt-0", work / "out"
    gigabytes = sum(p.stat().st_size for p in source.iterdir()) / _GB

    def convert(options: tuple[str, ...]) -> float:
        clear(out)
        return _once(source, out, options)[0]

    for name, (reach, options) in LOADED.items():
        _once(source, out, options)  # kernels compiled
        rate = gigabytes / median(lambda o=options: _once(source, out, o)[0])  # type: ignore[misc]
        row(f"convert --to {name}, GB of input per s", f"{rate:.2f} GB/s", f"{reach} GB/s")
        if options[0] == "gguf":
            row("  times the other direct converter", f"{rate / _PEER_GB_PER_S:.0f} x", "20 x")
    copied, *times = medians(
        lambda: copy_once(source, out), *(partial(convert, (name,)) for name in CHUNKED)
    )
    for name, seconds in zip(CHUNKED, times, strict=True):
        row(f"convert --to {name}, GB of input per s", f"{gigabytes / seconds:.2f} GB/s", "")
        row("  against cp -r of the input", f"{seconds / copied:.2f} x", f"{_OF_COPYING:.2f} x")
    remove(out)
    shutil.rmtree(work / "m")


def bench_convert_memory(real: Path) -> None:
    """Peak memory of conversions of one layer at real width; outputs go to the disk."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        every = {name: options for name, (_, options) in LOADED.items()}
        for name, options in (every | {name: (name,) for name in CHUNKED}).items():
            seconds, peak = _once(real, out, options)
            remove(out)
            row(f"convert --to {name}, real-layer, to disk", f"{seconds:.1f} s", "")
            row(f"peak resident memory, real-layer, {name}", f"{peak:.0f} MiB", "512 MiB")


def _once(source: Path, out: Path, options: tuple[str, ...]) -> tuple[float, float]:
    remove(out)
    return grokpack("convert", source, "--to", *options, "-o", out, "-q")
