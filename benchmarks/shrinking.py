"""Quantizing files: GB of int8 input per second, and peak memory on tensors of real width."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.measuring import copy_once, grokpack, median, remove, row

_GB = 1e9
_GGUF = ("--to", "gguf", "--tokenizer", "none", "--type")
TARGETS = {  # figure to reach in GB/s, and the command's options
    "--bits 4 --method rtn": (0.8, ("--bits", "4", "--method", "rtn")),
    "--bits 4": (0.3, ("--bits", "4")),
    "--bits 4 --method lsq": (0.0, ("--bits", "4", "--method", "lsq")),
    "--bits 8": (0.8, ("--bits", "8")),
    "--to gguf --type q4_0 --method rtn": (0.62, (*_GGUF, "q4_0", "--method", "rtn")),
    "--to gguf --type q4_0": (0.0, (*_GGUF, "q4_0")),
    "--to gguf --type q8_0": (0.0, (*_GGUF, "q8_0", "--bits", "8")),
}
"""Of GGUF, 20 times llama-quantize, which did 0.031 GB/s on a machine like this one."""


def bench_quantize(work: Path) -> None:
    """3 GB of ckpt-0 to smaller weights, against `cp -r` of the same files."""
    grokpack("synth", work / "m", "--preset", "medium", "-q")
    source, out = work / "m" / "ckpt-0", work / "out"
    gigabytes = sum(p.stat().st_size for p in source.iterdir()) / _GB
    copy = median(lambda: copy_once(source, work / "copy"))
    remove(work / "copy")
    for name, (reach, options) in TARGETS.items():
        _once(source, out, options)  # warm memory, and kernels compiled
        seconds = median(lambda o=options: _once(source, out, o)[0])  # type: ignore[misc]
        remove(out)
        goal = f"{reach} GB/s" if reach else ""
        row(f"quantize {name}, GB of input per s", f"{gigabytes / seconds:.2f} GB/s", goal)
        row("  against cp -r of the input", f"{seconds / copy:.1f} x", "")
    shutil.rmtree(work / "m")


def bench_quantize_memory(real: Path) -> None:
    """Peak memory of quantizing one layer at real width; outputs go to the disk."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        for name, (_, options) in TARGETS.items():
            seconds, peak = _once(real, out, options)
            remove(out)
            row(f"quantize {name}, real-layer, to disk", f"{seconds:.1f} s", "")
            row(f"peak resident memory, real-layer, {name}", f"{peak:.0f} MiB", "512 MiB")


def _once(source: Path, out: Path, options: tuple[str, ...]) -> tuple[float, float]:
    remove(out)
    return grokpack("quantize", source, *options, "-o", out, "-q")
