"""Per-thread I/O context: the stop callback and the scratch folder.

A remote read can wait for a server without limit, and some remote bytes are cached on disk.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


S = TypeVar("S")
T = TypeVar("T")


def _never() -> bool:
    return False


def _ignored(_done: int, _total: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class IoContext:
    """I/O context of a thread.

    Attributes:
        stopping: Called while the thread waits; true to end the wait with GP403.
        counted: Called with how many of how many files have been looked at.
        scratch: Folder for cached bytes; None for the system's.
    """

    stopping: Callable[[], bool] = _never
    counted: Callable[[int, int], None] = _ignored
    scratch: str | None = None

    @property
    def scratch_folder(self) -> str:
        """Folder for cached bytes."""
        return self.scratch or tempfile.gettempdir()


_thread = threading.local()


def current() -> IoContext:
    """Return the context of this thread."""
    found: IoContext = getattr(_thread, "context", IoContext())
    return found


def stopping() -> bool:
    """Return whether this thread is to end its waits."""
    return current().stopping()


@contextlib.contextmanager
def interruptible(
    stopping: Callable[[], bool],
    scratch: str | None = None,
    counted: Callable[[int, int], None] | None = None,
) -> Iterator[None]:
    """Run a block whose waits end with GP403 once `stopping()` is true.

    Args:
        stopping: Called while the thread waits.
        scratch: Folder for cached bytes; None for the system's.
        counted: Called with how many of how many files have been looked at; None as before.
    """
    own = current()
    count = counted or own.counted
    with use_context(replace(own, stopping=stopping, scratch=scratch, counted=count)):
        yield


def with_context(work: Callable[[S], T]) -> Callable[[S], T]:
    """Bind a function to this thread's context, for use in other threads."""
    own = current()

    def in_context(item: S) -> T:
        with use_context(own):
            return work(item)

    return in_context


@contextlib.contextmanager
def use_context(context: IoContext) -> Iterator[None]:
    """Run a block of this thread in a context."""
    before = current()
    _thread.context = context
    try:
        yield
    finally:
        _thread.context = before
