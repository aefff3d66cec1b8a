"""Who does the work of a run: threads of this process, or any `concurrent.futures.Executor`.

jobs       work that a process keeps ready, and makes when it first hears of it
crew       keep an executor busy, hand on what comes back
dask       a Dask cluster as an executor
"""

from grokpack.execution.workers.jobs import Job
from grokpack.execution.workers.pool import WorkerPool, map_unordered

__all__ = [
    "Job",
    "WorkerPool",
    "map_unordered",
]
