"""Measure what the project promises, against `cp` in the same run; medians of several runs.

Memory is the peak resident set of the child process, from `resource.getrusage` of its own; the
checkpoints lie in memory (/dev/shm) where there is room, so that the figures are steady.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.archiving import bench_archive
from benchmarks.checking import bench_checksums, bench_verify
from benchmarks.converting import bench_convert, bench_convert_memory
from benchmarks.evaluating import bench_evaluate
from benchmarks.fetching import bench_fetching
from benchmarks.measuring import clear, copy_once, grokpack, median, medians, row, seconds_and_peak
from benchmarks.merging import bench_grok2, bench_grok2_memory
from benchmarks.peer import bench_peer
from benchmarks.scaling import bench_cluster, bench_prediction
from benchmarks.shrinking import bench_quantize, bench_quantize_memory
from benchmarks.viewing import bench_view, bench_view_reading

TURNS = 7
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
    source, out = work / "m" / "ckpt-0", work / "out"

    def reshard() -> float:
        clear(out)
        return reshard_once(source, out)

    reshard()  # kernels compiled
    copy, cut = medians(lambda: copy_once(source, out), reshard)
    row("reshard --tp 8 of 3 GB against cp -r", f"{cut / copy:.2f} x", "1.5 x")
    _, peak = grokpack("reshard", source, "--tp", "8", "-o", out, "-q", "--restart")
    row("  peak resident memory, 8 layers", f"{peak:.0f} MiB", "512 MiB")
    shutil.rmtree(work / "m")
    shutil.rmtree(out)


def bench_marginal(work: Path) -> None:
    """Cost of six more layers against proportional cost, wide layers without much else.

    A machine that others use as well is slow for seconds at a time: the runs take turns.
    """
    wide = ("--preset", "medium", "--vocab", "1024")
    shapes = {
        "start": (),
        "few": (*wide, "--layers", "2"),
        "many": (*wide, "--layers", "8"),
    }
    for name, options in shapes.items():
        grokpack("synth", work / name, *options, "-q")
    turns = [[reshard_once(work / name, work / "out") for name in shapes] for _ in range(TURNS + 1)]
    start, few, many = map(statistics.median, zip(*turns[1:], strict=True))  # the first warms up
    size = {n: sum(p.stat().st_size for p in (work / n / "ckpt-0").iterdir()) for n in shapes}
    marginal = (many - few) / (size["many"] - size["few"])
    proportional = (few - start) / (size["few"] - size["start"])
    row(
        "cost per GB of 6 more layers against that of the first 2",
        f"{marginal / proportional:.2f} x",
        "0.9 to 1.1 x",
    )
    for name in (*shapes, "out"):
        shutil.rmtree(work / name)


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
    """Counting and quantizing int8 codes on one thread against copying them, and on two."""
    for module, implementation in itertools.product(("counting", "quantizing"), ("numpy", "numba")):
        command = [sys.executable, "-m", f"benchmarks.{module}", implementation]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            figure, value, reach = line.split("\t")
            row(f"{implementation}: {figure}", value, reach)


def bench_blocks(_work: Path) -> None:
    """Quantizing to GGUF's blocks."""
    command = [sys.executable, "-m", "benchmarks.blocks"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        row(*line.split("\t"))


BENCHES = {
    "starting": bench_starting,
    "kernels": bench_kernels,
    "blocks": bench_blocks,
    "speed": bench_speed,
    "convert": bench_convert,
    "archive": bench_archive,
    "fetching": bench_fetching,
    "cluster": bench_cluster,
    "prediction": bench_prediction,
    "quantize": bench_quantize,
    "peer": bench_peer,
    "verify": bench_verify,
    "checksums": bench_checksums,
    "view": bench_view,
    "evaluate": bench_evaluate,
    "view-reading": bench_view_reading,
    "marginal": bench_marginal,
    "memory": bench_memory,
    "grok-2": bench_grok2,
    "grok-2-memory": bench_grok2_memory,
}


def main() -> None:
    """Run benchmarks, each in a folder of its own, which is removed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", metavar="PART", help=f"of {', '.join(BENCHES)}; all")
    parts = parser.parse_args().part
    unknown = set(parts) - set(BENCHES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(BENCHES)}")
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    print(f"{'figure':<58} {'measured':>22}   to reach", flush=True)
    for part in parts or BENCHES:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            try:
                BENCHES[part](Path(folder))
            except ModuleNotFoundError as missing:
                row(f"{part}: not measured, `make bench` installs", f"{missing.name}", "")


if __name__ == "__main__":
    main()
