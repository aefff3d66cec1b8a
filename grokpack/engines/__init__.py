"""Who does the work of a run: threads of this process, or any `concurrent.futures.Executor`.

jobs       work that a process keeps ready, and makes when it first hears of it
crew       keep an executor busy, hand on what comes back
dask       a Dask cluster as an executor
"""

from grokpack.engines.crew import Crew, spread
from grokpack.engines.jobs import Job, Watch, watching

__all__ = ["Crew", "Job", "Watch", "spread", "watching"]
