"""Options of a run that change no byte of its output: memory, workers, time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.checkpoint.reading_memory import DEFAULT_MEMORY_BYTES

if TYPE_CHECKING:
    from grokpack.planning.memory_budget import Budget


@dataclass(slots=True)
class RunOptions:
    """Options of a run; none of them changes what is written.

    Attributes:
        memory_bytes: Resident memory of the process.
        workers: Threads that share the memory, in each process of an executor; by default as many
            as are useful and have room.
        deadline_s: Seconds after which the run stops cleanly; None for no limit.
        restart: Discard what an earlier run left.
        stop: Set it to stop the run between two tiles.
        width: Tasks that an executor does at a time; as many as workers by default.
        keep_local: Keep the files of an output to the hub in the local folder as well.
        private: Create the hub's repository so that only its owner sees it.
    """

    memory_bytes: int = DEFAULT_MEMORY_BYTES
    workers: int | None = None
    deadline_s: float | None = None
    restart: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    width: int | None = None
    keep_local: bool = False
    private: bool = False

    def at_once(self, allowed: Budget) -> int:
        """Return the number of tasks at a time that the memory allows."""
        return self.width or allowed.workers
