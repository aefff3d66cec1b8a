"""Workers that an option names: `4`, `serial`, or `dask://host:8786`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack.cli import parsing
from grokpack.core.byte_size import byte_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from grokpack.cli.session import Session
    from grokpack.verification.read_options import ReadOptions

_SHARE = 90  # percent of a container's memory that a run may take


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Workers of a command: threads or an executor.

    Attributes:
        threads: Threads of a process; None for as many as are useful.
        executor: A cluster; None for threads of this process.
        width: Tasks that a cluster does at a time.
        memory_bytes: Memory that each of its processes may take; None for no limit.
        workers: Number of processes of a cluster; None without one.
    """

    threads: int | None = None
    executor: Executor | None = None
    width: int | None = None
    memory_bytes: int | None = None
    workers: int | None = None

    def process_memory(self, asked_bytes: int) -> int:
        """Return the memory that a process keeps to: as asked for, or the cluster's if less."""
        return min(asked_bytes, self.memory_bytes or asked_bytes)


def with_workers(workers: WorkerOptions, limits: ReadOptions | None = None) -> ReadOptions:
    """Return the options of reading with these workers."""
    from grokpack.verification.read_options import ReadOptions

    given = limits or ReadOptions()
    return replace(given, workers=workers.threads, executor=workers.executor, width=workers.width)


def own_memory(asked_bytes: int, session: Session) -> int:
    """Return the memory that this process keeps to: as asked for, or its container's if less."""
    from grokpack import storage

    limit = storage.memory_limit()
    if limit is None or asked_bytes <= (left := limit * _SHARE // 100):
        return asked_bytes
    session.say(
        f"note: this container may take {byte_size(limit)}: --memory counts as {byte_size(left)}"
    )
    return left


@contextmanager
def open_workers(workers: str | None) -> Iterator[WorkerOptions]:
    """Open the workers that an option names, while the block runs.

    Raises:
        GrokpackError: GP346 for what is no number of threads; see `dask_cluster.cluster`.
    """
    from grokpack.execution.workers.dask_cluster import SCHEME, cluster

    if workers is None or not workers.startswith(SCHEME):
        yield WorkerOptions(parsing.parse_workers(workers))
        return
    with cluster(workers) as found:
        yield WorkerOptions(
            found.threads, found, found.width, found.memory_bytes, workers=len(found.workers)
        )
