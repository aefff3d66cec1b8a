"""More layers, more workers, and more tasks; and predictions against runs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import GROKPACK, by_turns, grokpack, remove, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.bench import Bench
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


def bench_cluster(bench: Bench) -> None:
    """The same work, tasks of nothing, and ten thousand of them."""
    with _cluster() as found:
        url = str(found.scheduler_address).replace("tcp://", "dask://")
        for name in ("reshard --tp 8", "quantize --bits 4"):
            _warm(bench, name, url)
            near, far = by_turns(
                bench.turns,
                lambda name=name: _run_seconds(bench, name, "2"),  # type: ignore[misc]
                lambda name=name: _run_seconds(bench, name, url),  # type: ignore[misc]
            )
            ratios = [one / two for one, two in zip(near, far, strict=True)]
            bench.figure(f"{name}, 2 Dask workers, speed of 2 threads", ratios, "x", at_least=0.85)
        _tasks(bench, url)


def _warm(bench: Bench, name: str, url: str) -> None:
    """Once each way: kernels compiled, pages of source and output touched."""
    for workers in ("2", url):
        _run_seconds(bench, name, workers)


def _run_seconds(bench: Bench, name: str, workers: str) -> float:
    """Seconds of a run after start-up, as it tells them itself."""
    return float(_answer(bench, name, workers)["seconds"])


def _answer(bench: Bench, name: str, workers: str, *options: str) -> dict[str, Any]:
    out = bench.work / "out"
    remove(out)
    command, *arguments = _PLANS[name]
    where = ("-o", str(out), "--workers", workers)
    run = subprocess.run(
        [*GROKPACK, command, str(bench.medium()), *arguments, *where, "--json", "-q", *options],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    remove(out)
    data: dict[str, Any] = json.loads(run.stdout)["data"]
    return data


def _nothing(_watch: Watch) -> Callable[[int], int]:
    return abs


def _tasks(bench: Bench, url: str) -> None:
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
        bench.figure("  overhead of a task", many, "ms", at_most=10)
        bench.figure(f"  a task of {_MANY:,} against one of {_FEW:,}", many / few, "x")
        grown = _resident() - before
        bench.figure(f"  client's memory grown by {_MANY:,} tasks", grown, "MiB")


def _resident() -> float:
    """MiB that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bench_prediction(bench: Bench) -> None:
    """What `--dry-run` says beforehand, over what a run then takes."""
    for name in _PLANS:
        _answer(bench, name, "2")
        for workers in ("1", "2"):
            told, took = by_turns(
                1,  # of eight figures; each tells how far off it is
                lambda n=name, w=workers: _predicted_seconds(bench, n, w),  # type: ignore[misc]
                lambda n=name, w=workers: _run_seconds(bench, n, w),  # type: ignore[misc]
            )
            ratios = [one / two for one, two in zip(told, took, strict=True)]
            figure = f"{name}, {workers} of {os.cpu_count()} cores: predicted over measured"
            bench.figure(figure, ratios, "x")


def _predicted_seconds(bench: Bench, name: str, workers: str) -> float:
    return float(_answer(bench, name, workers, "--dry-run")["estimate"]["seconds"])


def bench_marginal(bench: Bench) -> None:
    """Cost of six more layers against proportional cost, wide layers without much else."""
    wide = ("--preset", "medium", "--vocab", "1024")
    shapes = {
        "start": (),
        "few": (*wide, "--layers", "2"),
        "many": (*wide, "--layers", "8"),
    }
    for name, options in shapes.items():
        grokpack("synth", bench.work / name, *options)
    reshard = [partial(_reshard_seconds, bench, bench.work / name) for name in shapes]
    by_turns(1, *reshard)  # kernels compiled, memory touched
    sizes = [size(bench.work / name / "ckpt-0") for name in shapes]
    costs = []
    for start, few, many in zip(*by_turns(bench.turns + 2, *reshard), strict=True):
        marginal = (many - few) / (sizes[2] - sizes[1])
        costs.append(marginal * (sizes[1] - sizes[0]) / (few - start))
    bench.figure("cost per GB of 6 more layers, times that of the first 2", costs, "x", at_most=1.1)


def _reshard_seconds(bench: Bench, source: Path) -> float:
    out = bench.work / "out"
    remove(out)
    return grokpack("reshard", source, "--tp", "8", "-o", out).seconds
