"""Measure what the project promises, against `cp` in the same run; medians of several runs.

Memory is the peak resident set of the child process, from `resource.getrusage` of its own; the
checkpoints lie in memory (/dev/shm) where there is room, so that the figures are steady.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.converting import bench_convert, bench_convert_memory
from benchmarks.fetching import bench_fetching
from benchmarks.measuring import copy_once, grokpack, median, row, seconds_and_peak
from benchmarks.shrinking import bench_quantize, bench_quantize_memory

REAL_LAYER_BYTES = 20 << 30  # source and output of the real-layer preset, with room to spare


def reshard_once(source: Path, out: Path, *options: str) -> float:
    """Seconds of one reshard into a fresh folder."""
    shutil.rmtree(out, ignore_errors=True)
    seconds, _ = grokpack("reshard", source, "--tp", "8", "-o", out, "-q", *options)
    return seconds


def bench_starting(work: Path) -> None:
    """Start-up, and headers of the full geometry."""
    helping = median(lambda: grokpack("--help")[0])
    bare = median(lambda: seconds_and_peak([sys.executable, "-c", "pass"])[0])
    row(
        "--help, less an empty interpreter under the same watch", f"{helping - bare:.2f} s", "0.2 s"
    )
    grokpack("synth", work / "full", "--preset", "grok-1", "--sparse", "-q")
    inspect = median(lambda: grokpack("inspect", work / "full", "-q")[0])
    row("inspect of 770 sparse files, less --help", f"{inspect - helping:.2f} s", "1 s")
    shutil.rmtree(work / "full")


def bench_speed(work: Path) -> None:
    """Resharding 3 GB against copying the same files."""
    grokpack("synth", work / "m", "--preset", "medium", "-q")
    source = work / "m" / "ckpt-0"
    reshard_once(source, work / "out")  # warm memory: first touch of pages costs the first run
    copy = median(lambda: copy_once(source, work / "copy"))
    shutil.rmtree(work / "copy")
    cut = median(lambda: reshard_once(source, work / "out"))
    row("reshard --tp 8 of 3 GB against cp -r", f"{cut / copy:.2f} x", "1.5 x")
    _, peak = grokpack("reshard", source, "--tp", "8", "-o", work / "out", "-q", "--restart")
    row("  peak resident memory, 8 layers", f"{peak:.0f} MiB", "512 MiB")
    shutil.rmtree(work / "m")
    shutil.rmtree(work / "out")


def bench_marginal(work: Path) -> None:
    """Cost of six more layers against proportional cost, wide layers without much else."""
    rates = {}
    for layers in (2, 8):
        source = work / f"l{layers}"
        grokpack(
            "synth", source, "--preset", "medium", "--layers", str(layers), "--vocab", "1024", "-q"
        )
        nbytes = sum(p.stat().st_size for p in (source / "ckpt-0").iterdir())
        reshard_once(source, work / "out")
        rates[layers] = (median(lambda s=source: reshard_once(s, work / "out")), nbytes)  # type: ignore[misc]
        shutil.rmtree(source)
    (few, few_bytes), (many, many_bytes) = rates[2], rates[8]
    marginal = (many - few) / (many_bytes - few_bytes)
    grokpack("synth", work / "tiny", "-q")
    start = median(lambda: reshard_once(work / "tiny", work / "out"))
    proportional = (few - start) / few_bytes
    row(
        "cost per GB of 6 more layers against that of the first 2",
        f"{marginal / proportional:.2f} x",
        "0.9 to 1.1 x",
    )


def bench_memory(work: Path) -> None:
    """Peak memory on tensors of real width."""
    if shutil.disk_usage(work).free < REAL_LAYER_BYTES:
        row("real-layer preset: not measured", "too little room", "512 MiB")
        return
    real = work / "real"
    peaks = {"synth": grokpack("synth", real, "--preset", "real-layer", "-q")[1]}
    peaks["verify --values"] = grokpack("verify", real, "--values", "-q")[1]
    peaks["inspect --stats"] = grokpack("inspect", real, "--stats", "-q")[1]
    for tp, to in ((8, "safetensors"), (4, "ckpt-0")):
        name = f"reshard --tp {tp} --to {to}"
        seconds, peaks[name] = grokpack(
            "reshard", real, "--tp", str(tp), "--to", to, "-o", work / "out", "-q"
        )
        row(f"{name}, real-layer", f"{seconds:.1f} s", "")
        shutil.rmtree(work / "out")
    for name, peak in peaks.items():
        row(f"peak resident memory, real-layer, {name}", f"{peak:.0f} MiB", "512 MiB")
    bench_convert_memory(real)
    bench_quantize_memory(real)


def bench_kernels(_work: Path) -> None:
    """Counting and quantising int8 codes on one thread against copying them, and on two."""
    for module, engine in itertools.product(("counting", "quantising"), ("numpy", "numba")):
        command = [sys.executable, "-m", f"benchmarks.{module}", engine]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            figure, value, reach = line.split("\t")
            row(f"{engine}: {figure}", value, reach)


def bench_blocks(_work: Path) -> None:
    """Quantising to GGUF's blocks."""
    command = [sys.executable, "-m", "benchmarks.blocks"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        row(*line.split("\t"))


BENCHES = (
    bench_starting,
    bench_kernels,
    bench_blocks,
    bench_speed,
    bench_convert,
    bench_fetching,
    bench_quantize,
    bench_marginal,
    bench_memory,
)


def main() -> None:
    """Run every benchmark in a folder of its own, and remove it."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    print(f"{'figure':<58} {'measured':>22}   to reach", flush=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for bench in BENCHES:
            bench(Path(folder))


if __name__ == "__main__":
    main()
