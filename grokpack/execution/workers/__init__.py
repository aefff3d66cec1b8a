"""Workers of a run: threads of this process, or any `concurrent.futures.Executor`.

jobs       jobs that a process keeps ready, made when it first hears of them
pool       keep an executor busy, hand on results
dask       a Dask cluster as an executor
"""

from grokpack.execution.workers.jobs import Job
from grokpack.execution.workers.pool import WorkerPool, map_unordered

__all__ = [
    "Job",
    "WorkerPool",
    "map_unordered",
]
