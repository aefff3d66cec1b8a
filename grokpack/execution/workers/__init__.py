"""Workers of a run: threads of this process, or any `concurrent.futures.Executor`."""

from grokpack.execution.workers.jobs import Job
from grokpack.execution.workers.worker_pool import WorkerPool, map_unordered

__all__ = [
    "Job",
    "WorkerPool",
    "map_unordered",
]
