"""Options of reading contents: how much, by which workers, until when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.execution.workers import WorkerPool
from grokpack.verification.sampling import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of reading contents: how much, by which workers, until when.

    Attributes:
        share: Tiles to read.
        stopping: Callback that tells, between tiles, whether to stop.
        workers: Threads; as many as are useful by default.
        executor: Executor that reads, in any processes; threads of this process by default.
        width: Items that an executor does at a time; as many as workers by default.
    """

    share: Sample = field(default_factory=Sample)
    stopping: Callable[[], bool] = bool
    workers: int | None = None
    executor: Executor | None = None
    width: int | None = None

    def pool(self, usual: int) -> WorkerPool:
        """Return the workers; so many threads unless they were given."""
        return WorkerPool(self.width or self.workers or usual, self.executor)
