"""How much of the contents is read, by whom, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.contents.rounds import Share
from grokpack.engines import Crew

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read, and when it ends.

    Attributes:
        share: Which tiles.
        stopping: Asked between tiles: whether to end now.
        workers: Threads; as many as are useful by default.
        executor: Does the reading, in whatever processes; threads of this one by default.
        width: Pieces of work that an executor does at a time; as many as workers by default.
    """

    share: Share = field(default_factory=Share)
    stopping: Callable[[], bool] = bool
    workers: int | None = None
    executor: Executor | None = None
    width: int | None = None

    def crew(self, usual: int) -> Crew:
        """Who works; so many threads where nothing is said."""
        return Crew(self.width or self.workers or usual, self.executor)
