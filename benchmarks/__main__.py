"""Measure what the project promises, in turns with `cp` and others on the same machine.

Checkpoints and outputs lie in memory (/dev/shm) where there is room, so that figures are steady.
Memory is the peak resident set of a command's processes.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from benchmarks.archiving import bench_archive
from benchmarks.bench import Bench
from benchmarks.checking import bench_checksums, bench_verify
from benchmarks.evaluating import bench_evaluate
from benchmarks.fetching import bench_fetching
from benchmarks.figures import Table
from benchmarks.folder_peers import bench_folder_peers
from benchmarks.ggml_peer import bench_ggml_peer
from benchmarks.kernels import bench_blocks, bench_kernels, bench_numpy_kernels
from benchmarks.layer_memory import bench_grok2_memory, bench_memory
from benchmarks.peer import bench_peer
from benchmarks.publishing import bench_publishing
from benchmarks.routes import (
    bench_convert,
    bench_grok2,
    bench_linearity,
    bench_quantize,
    bench_reshard,
)
from benchmarks.scaling import bench_cluster, bench_marginal, bench_prediction
from benchmarks.starting import bench_headers, bench_starting
from benchmarks.viewing import bench_view, bench_view_reading

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHES: dict[str, Callable[[Bench], None]] = {
    "starting": bench_starting,
    "headers": bench_headers,
    "kernels": bench_kernels,
    "blocks": bench_blocks,
    "reshard": bench_reshard,
    "convert": bench_convert,
    "quantize": bench_quantize,
    "grok-2": bench_grok2,
    "verify": bench_verify,
    "checksums": bench_checksums,
    "publishing": bench_publishing,
    "archive": bench_archive,
    "fetching": bench_fetching,
    "view": bench_view,
    "view-reading": bench_view_reading,
    "evaluate": bench_evaluate,
    "linearity": bench_linearity,
    "marginal": bench_marginal,
    "memory": bench_memory,
    "grok-2-memory": bench_grok2_memory,
    "peer": bench_peer,
    "ggml-peer": bench_ggml_peer,
    "folder-peers": bench_folder_peers,
    "cluster": bench_cluster,
    "prediction": bench_prediction,
    "numpy-kernels": bench_numpy_kernels,
}
_QUICK = ("starting", "headers", "kernels", "reshard", "convert", "quantize", "grok-2", "verify")
_TURNS = 3


def main() -> None:
    """Run benchmarks, each in a folder of its own, which is removed."""
    arguments = _arguments()
    parts = arguments.part or (_QUICK if arguments.quick else tuple(BENCHES))
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    table, began = Table(), time.monotonic()
    with tempfile.TemporaryDirectory(dir=place, prefix="grokpack-bench-") as shared:
        for part in parts:
            _run(part, Path(shared), table, arguments)
    table.close(time.monotonic() - began)
    if arguments.json:
        table.write(arguments.json, _about(arguments))
        print(f"written: {arguments.json}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", metavar="PART", help=f"of {', '.join(BENCHES)}; all")
    parser.add_argument("--quick", action="store_true", help="the main figures, in three minutes")
    parser.add_argument("--turns", type=int, default=_TURNS, help="of each thing; default: 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    arguments = parser.parse_args()
    unknown = set(arguments.part) - set(BENCHES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(BENCHES)}")
    return arguments


def _run(part: str, shared: Path, table: Table, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        bench = Bench(part, Path(folder), shared, table, arguments.turns, arguments.quick)
        try:
            BENCHES[part](bench)
        except ModuleNotFoundError as missing:
            table.leave_out(part, f"`make bench` installs {missing.name}")


def _about(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what figures depend on besides the program."""
    import grokpack

    return {
        "version": grokpack.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "turns": arguments.turns,
        "quick": arguments.quick,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _stop(number: int, _frame: object) -> NoReturn:
    """End as an exception does, so that folders in memory are removed."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
