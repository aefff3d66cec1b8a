"""Work done in a process of its own, item after item, each within a limit of memory and of time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
R = TypeVar("R")

MEMORY_BYTES = 512 << 20
_POLL_S = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SPAWN = multiprocessing.get_context("spawn")  # a fork would have the threads of libraries cut off


class Done(NamedTuple, Generic[R]):
    """How an item went.

    Attributes:
        result: What came of it; None where it passed a limit and was ended, or the process died.
        peak_bytes: Resident memory of the process at its highest meanwhile.
        seconds: Elapsed time.
    """

    result: R | None
    peak_bytes: int
    seconds: float


class Watched(Generic[T, R]):
    """A process that does items, and is ended and replaced where one passes a limit.

    Args:
        work: What is done with an item; a function at the top of a module.
        memory_bytes: Resident memory at which the process is ended.
        seconds: Elapsed time after which it is ended.
    """

    def __init__(
        self, work: Callable[[T], R], memory_bytes: int = MEMORY_BYTES, seconds: float = 60.0
    ) -> None:
        self._work, self._memory_bytes, self._seconds = work, memory_bytes, seconds
        self._begin()

    def _begin(self) -> None:
        self._line, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, self._work), daemon=True)
        self._process.start()
        theirs.close()
        self._line.recv()  # ready: imports are no part of any item

    def do(self, item: T) -> Done[R]:
        """What comes of an item."""
        began, peak = time.monotonic(), 0
        self._line.send(item)
        try:
            while not self._line.poll(_POLL_S):
                peak = max(peak, _resident(self._process.pid))
                if peak > self._memory_bytes or time.monotonic() - began > self._seconds:
                    raise EOFError
            result, own_peak = self._line.recv()
        except EOFError:
            self.close()
            self._begin()
            return Done(None, peak, time.monotonic() - began)
        return Done(result, max(peak, own_peak), time.monotonic() - began)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._line.close()


def _resident(process: int | None) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    return 0


def _serve(line: Connection, work: Callable[[Any], Any]) -> None:
    line.send(None)
    with contextlib.suppress(EOFError):
        while True:
            item = line.recv()
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
            result = work(item)
            line.send((result, _highest()))


def _highest() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10
