"""Two Dask workers against two threads, what a task costs there, and predictions against runs."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import GROKPACK, grokpack, median, remove, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from grokpack.core.progress import Watch

_FEW, _MANY = 2_000, 10_000
_PLANS = {
    "reshard --tp 8": ("reshard", "--tp", "8"),
    "quantize --bits 4": ("quantize", "--tokenizer", "none"),
    "convert --to gguf": ("convert", "--to", "gguf", "--type", "q8_0", "--tokenizer", "none"),
    "convert --to archive": ("convert", "--to", "archive"),
}


@contextmanager
def _cluster() -> Iterator[Any]:
    import distributed

    with distributed.LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as found:
        yield found


def bench_cluster(work: Path) -> None:
    """The same work, tasks of nothing, and ten thousand of them."""
    with _cluster() as found:
        grokpack("synth", work / "m", "--preset", "medium", "-q")
        url = str(found.scheduler_address).replace("tcp://", "dask://")
        for name in ("reshard --tp 8", "quantize --bits 4"):
            _warm(work, name, url)
            near = median(lambda name=name: _run_seconds(work, name, "2"))  # type: ignore[misc]
            far = median(lambda name=name: _run_seconds(work, name, url))  # type: ignore[misc]
            figure = f"{name} by 2 Dask workers against 2 threads"
            row(figure, f"{near / far:.2f} x", "0.85 x")
        _tasks(url)
    shutil.rmtree(work / "m")


def _warm(work: Path, name: str, url: str) -> None:
    """Once each way: kernels compiled, pages of source and output touched."""
    for workers in ("2", url):
        _run_seconds(work, name, workers)


def _run_seconds(work: Path, name: str, workers: str) -> float:
    """Seconds of a run after start-up, as it tells them itself."""
    return float(_answer(work, name, workers)["seconds"])


def _answer(work: Path, name: str, workers: str, *options: str) -> dict[str, Any]:
    remove(work / "out")
    command, *arguments = _PLANS[name]
    where = ("-o", str(work / "out"), "--workers", workers)
    run = subprocess.run(
        [*GROKPACK, command, str(work / "m"), *arguments, *where, "--json", "-q", *options],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    remove(work / "out")
    data: dict[str, Any] = json.loads(run.stdout)["data"]
    return data


def _nothing(_watch: Watch) -> Callable[[int], int]:
    return abs


def _tasks(url: str) -> None:
    """Items that are nothing, so that what remains is the cost of handing them out."""
    from grokpack.core.events import ignore_event
    from grokpack.core.progress import watching
    from grokpack.execution.workers import Job, WorkerPool, map_unordered
    from grokpack.execution.workers.dask_cluster import cluster

    with cluster(url) as found:

        def each(count: int) -> float:
            """Milliseconds of one item."""
            began = time.perf_counter()
            pool = WorkerPool(found.width, found)
            done = sum(
                1
                for _ in map_unordered(
                    Job(_nothing), range(1, count + 1), pool, watching(ignore_event)
                )
            )
            assert done == count  # noqa: S101
            return (time.perf_counter() - began) / count * 1e3

        few, before = each(_FEW), _resident()
        many = each(_MANY)
        row("  overhead of a task", f"{many:.1f} ms", "10 ms")
        row(f"  a task of {_MANY:,} against one of {_FEW:,}", f"{many / few:.2f} x", "flat")
        row(
            f"  client's memory grown by {_MANY:,} tasks", f"{_resident() - before:.0f} MiB", "flat"
        )


def _resident() -> float:
    """MiB that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bench_prediction(work: Path) -> None:
    """What `--dry-run` says beforehand, over what a run then takes."""
    grokpack("synth", work / "m", "--preset", "medium", "-q")
    for name in _PLANS:
        _answer(work, name, "2")
        for workers in ("1", "2", "4"):
            told = median(
                lambda name=name, workers=workers: _answer(  # type: ignore[misc]
                    work, name, workers, "--dry-run"
                )["estimate"]["seconds"]
            )
            took = median(
                lambda name=name, workers=workers: _run_seconds(  # type: ignore[misc]
                    work, name, workers
                )
            )
            row(
                f"{name}, {workers} of {os.cpu_count()} cores: predicted over measured",
                f"{told:.1f} s / {took:.1f} s = {told / took:.2f}",
                "",
            )
    shutil.rmtree(work / "m")
