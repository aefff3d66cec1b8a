"""Work that a process keeps ready: what all items of a job share is made once in each.

An item goes over the wire with the job's token, a hundred bytes. A process that has not heard of
the job says so, and is sent the item again with all that the job needs. So an executor has to know
nothing but `submit`, and a worker may come and go at any time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.core.progress import Watch
from grokpack.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


S = TypeVar("S")
T = TypeVar("T")

STOP = "stop"  # what such a file's name begins with
_MOST_KEPT = 8  # jobs of others that a process keeps ready, the latest used
_LOOK_S = 0.5  # how often a process looks whether the run was stopped elsewhere


@dataclass(frozen=True, slots=True)
class Job(Generic[S, T]):
    """What all items of a job share.

    Attributes:
        make: Makes, of a watch and the arguments, what does an item; a function of a module.
        arguments: What else it is made of; they can be pickled, and their paths are absolute.
        see: Sees, of the arguments, that a process elsewhere has what the job needs.
        leave: Puts away, given the arguments, what the job has left in a process elsewhere.
        stop_folder: Where a file can ask processes elsewhere to end early.
        token: Tells the job from others.
    """

    make: Callable[..., Callable[[S], T]]
    arguments: tuple[Any, ...] = ()
    see: Callable[..., None] | None = None
    leave: Callable[..., None] | None = None
    stop_folder: str | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def stop_path(self) -> str | None:
        """That file, the job's own; None where there is none."""
        return self.stop_folder and os.path.join(self.stop_folder, f"{STOP}-{self.token}")


@dataclass(frozen=True, slots=True)
class TaskResult(Generic[T]):
    """What came of an item.

    Attributes:
        value: The result; None where there is none.
        error: What was wrong instead.
        nbytes: Bytes that nobody was told of yet.
        known: Whether that process knew the job; if not, it did nothing.
    """

    value: T | None = None
    error: GrokpackError | None = None
    nbytes: int = 0
    known: bool = True


class _LocalJob(Generic[S, T]):
    """A job in the process that gave it: errors are raised, the watch is the giver's own."""

    def __init__(self, job: Job[S, T], watch: Watch) -> None:
        self._work = storage.with_context(job.make(watch, *job.arguments))

    def do(self, item: S) -> TaskResult[T]:
        return TaskResult(self._work(item))


class _RemoteJob(Generic[S, T]):
    """A job in another process than the one that gave it."""

    def __init__(self, job: Job[S, T]) -> None:
        self._job, self._stop_path = job, job.stop_path
        self._looked, self._stopped = 0.0, False
        self._told = threading.local()
        if job.see is not None:
            job.see(*job.arguments)
        self._work = job.make(Watch(self._advance, self._stopping), *job.arguments)

    def _advance(self, nbytes: int) -> None:
        self._told.nbytes += nbytes

    def _stopping(self) -> bool:
        now = time.monotonic()
        if self._stop_path and not self._stopped and now - self._looked > _LOOK_S:
            self._looked, self._stopped = now, storage.exists(self._stop_path)
        return self._stopped

    def leave(self) -> None:
        if self._job.leave is not None:
            self._job.leave(*self._job.arguments)

    def do(self, item: S) -> TaskResult[T]:
        self._told.nbytes = 0
        try:
            with storage.interruptible(self._stopping):
                value = self._work(item)
        except GrokpackError as error:
            return TaskResult(error=error)
        return TaskResult(value, nbytes=self._told.nbytes)


_desks: dict[
    tuple[int, str], _LocalJob[Any, Any]
] = {}  # by process: a fork has its parent's as well
_abroad: OrderedDict[tuple[int, str], _RemoteJob[Any, Any]] = OrderedDict()
_making = threading.Lock()


def here() -> str:
    """Host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextlib.contextmanager
def registered(job: Job[S, T], watch: Watch) -> Iterator[None]:
    """Keep a job ready in this process while the block runs."""
    key = (os.getpid(), job.token)
    _desks[key] = _LocalJob(job, watch)
    try:
        yield
    finally:
        del _desks[key]


def perform(token: str, item: S, job: Job[S, T] | None = None) -> TaskResult[T]:
    """Do an item of a job, in whatever process this is called.

    Args:
        token: The job's.
        item: What to do.
        job: The job, for a process that does not know it.
    """
    key = (os.getpid(), token)
    own = _desks.get(key)
    if own is not None:
        return own.do(item)
    try:
        desk = _remote_job(key, job)
    except GrokpackError as error:
        return TaskResult(error=error)
    return TaskResult(known=False) if desk is None else desk.do(item)


def register(job: Job[Any, Any]) -> GrokpackError | None:
    """Make a job known to this process; tells what speaks against it."""
    try:
        _remote_job((os.getpid(), job.token), job)
    except GrokpackError as error:
        return error
    return None


def forget(token: str) -> None:
    """End a job in this process, if it knows it."""
    with _making:
        desk = _abroad.pop((os.getpid(), token), None)
    if desk is not None:
        desk.leave()


def version() -> str:
    """The version of grokpack in this process."""
    return __version__


def _remote_job(key: tuple[int, str], job: Job[Any, Any] | None) -> _RemoteJob[Any, Any] | None:
    """The desk of a job that another process gave, made where the job is known."""
    with _making:
        if key not in _abroad:
            if job is None:
                return None
            _abroad[key] = _RemoteJob(job)
            while len(_abroad) > _MOST_KEPT:
                _abroad.popitem(last=False)[1].leave()
        _abroad.move_to_end(key)
        return _abroad[key]
