"""Lines that say what a command waits for, where nothing has been shown for a while."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from grokpack.core.counts import counted
from grokpack.core.events import Finished, Started

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from grokpack.core.events import Event

_FIRST_S = 4.0  # of silence, after which the first line is due


class WaitNotices:
    """Thread that says how far reading has come, as long as no progress is shown."""

    def __init__(
        self, say: Callable[[str], None], again_s: float, first_s: float = _FIRST_S
    ) -> None:
        """Prepare the thread; it runs while the object is entered.

        Args:
            say: Shows a line.
            again_s: Seconds from one line to the next.
            first_s: Seconds of silence before the first.
        """
        self._say, self._again_s, self._first_s = say, again_s, first_s
        self._began = self._silent_since = time.monotonic()
        self._done, self._total, self._shown = 0, 0, 0
        self._progress = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="grokpack-waiting", daemon=True)

    def __enter__(self) -> Self:
        """Begin to wait."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def count(self, done: int, total: int) -> None:
        """Note how many of the files that are looked at have been read."""
        self._done, self._total = done, total

    def note(self, event: Event) -> None:
        """Note that progress is shown, or no longer."""
        if isinstance(event, Started | Finished):
            self._progress = isinstance(event, Started)
            self._silent_since = time.monotonic()

    def _run(self) -> None:
        while not self._ended.wait(self._left_s()):
            if not self._progress and self._left_s() <= 0:
                self._say(self._line())
                self._shown += 1
                self._silent_since = time.monotonic()

    def _left_s(self) -> float:
        """Return the seconds until a line is due, or may be once progress is shown no longer."""
        pause = self._again_s if self._shown else self._first_s
        if self._progress:
            return pause
        return max(0.0, self._silent_since + pause - time.monotonic())

    def _line(self) -> str:
        seconds = round(time.monotonic() - self._began)
        if 0 < self._done < self._total:
            of = counted(self._total, "file")
            return f"reading: {self._done:,} of {of} looked at, {seconds} s"
        return f"still at work, {seconds} s"
