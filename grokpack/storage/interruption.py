"""On whose behalf a thread reads: who may end its waits, and where it may put bytes aside.

Reading from far away takes as long as the other side likes, and some of it has to be kept on disk.
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


@dataclass(frozen=True, slots=True)
class IoContext:
    """What a thread is told with its work.

    Attributes:
        stopping: Asked while the thread waits: whether it shall end, with GP403.
        scratch: Folder for bytes that are put aside; None for the system's.
    """

    stopping: Callable[[], bool] = _never
    scratch: str | None = None

    @property
    def scratch_folder(self) -> str:
        """The folder for bytes that are put aside."""
        return self.scratch or tempfile.gettempdir()


_thread = threading.local()


def current() -> IoContext:
    """The errand of this thread."""
    found: IoContext = getattr(_thread, "errand", IoContext())
    return found


def stopping() -> bool:
    """Whether this thread shall end its waits."""
    return current().stopping()


@contextlib.contextmanager
def interruptible(stopping: Callable[[], bool], scratch: str | None = None) -> Iterator[None]:
    """A block of this thread whose waits end, with GP403, once `stopping()` is true."""
    with use_context(replace(current(), stopping=stopping, scratch=scratch)):
        yield


def with_context(work: Callable[[S], T]) -> Callable[[S], T]:
    """The same work for other threads, on this thread's errand."""
    own = current()

    def on_errand(item: S) -> T:
        with use_context(own):
            return work(item)

    return on_errand


@contextlib.contextmanager
def use_context(errand: IoContext) -> Iterator[None]:
    """A block of this thread that works on an errand."""
    before = current()
    _thread.errand = errand
    try:
        yield
    finally:
        _thread.errand = before
