"""Jobs: what all items of a piece of work share, made once in each process.

An item is sent with the job's token, a hundred bytes. A process that does not know the job says so,
and is sent the item again with all that the job needs. So an executor needs nothing but `submit`,
and workers may come and go at any time.
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

STOP = "stop"  # prefix of the name of a stop file
_MOST_KEPT = 8  # jobs of others that a process keeps ready, the latest used
_LOOK_S = 0.5  # how often a process looks for the stop file


@dataclass(frozen=True, slots=True)
class Job(Generic[S, T]):
    """Function and arguments that all items of a job share.

    Attributes:
        make: Module-level factory: `make(watch, *arguments)` returns the function for one item.
        arguments: Its other arguments; they can be pickled, and their paths are absolute.
        setup: Checks, given the arguments, that a remote process has what the job needs.
        teardown: Removes, given the arguments, what the job left in a remote process.
        stop_folder: Folder in which a file asks remote processes to end early.
        token: Identity of the job.
    """

    make: Callable[..., Callable[[S], T]]
    arguments: tuple[Any, ...] = ()
    setup: Callable[..., None] | None = None
    teardown: Callable[..., None] | None = None
    stop_folder: str | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def stop_path(self) -> str | None:
        """Path of the job's stop file; None if it has none."""
        return self.stop_folder and os.path.join(self.stop_folder, f"{STOP}-{self.token}")


@dataclass(frozen=True, slots=True)
class TaskResult(Generic[T]):
    """Result of an item.

    Attributes:
        value: The result, or None.
        error: The error in place of a result, or None.
        nbytes: Bytes of progress that were not reported yet.
        known: Whether the process knew the job; if not, it did nothing.
    """

    value: T | None = None
    error: GrokpackError | None = None
    nbytes: int = 0
    known: bool = True


class _LocalJob(Generic[S, T]):
    """Job in the process that started it: errors are raised, the watch is the caller's own."""

    def __init__(self, job: Job[S, T], watch: Watch) -> None:
        self._work = storage.with_context(job.make(watch, *job.arguments))

    def do(self, item: S) -> TaskResult[T]:
        return TaskResult(self._work(item))


class _RemoteJob(Generic[S, T]):
    """Job in another process than the one that started it."""

    def __init__(self, job: Job[S, T]) -> None:
        self._job, self._stop_path = job, job.stop_path
        self._looked, self._stopped = 0.0, False
        self._told = threading.local()
        if job.setup is not None:
            job.setup(*job.arguments)
        self._work = job.make(Watch(self._advance, self._stopping), *job.arguments)

    def _advance(self, nbytes: int) -> None:
        self._told.nbytes += nbytes

    def _stopping(self) -> bool:
        now = time.monotonic()
        if self._stop_path and not self._stopped and now - self._looked > _LOOK_S:
            self._looked, self._stopped = now, storage.exists(self._stop_path)
        return self._stopped

    def end(self) -> None:
        if self._job.teardown is not None:
            self._job.teardown(*self._job.arguments)

    def do(self, item: S) -> TaskResult[T]:
        self._told.nbytes = 0
        try:
            with storage.interruptible(self._stopping):
                value = self._work(item)
        except GrokpackError as error:
            return TaskResult(error=error)
        return TaskResult(value, nbytes=self._told.nbytes)


_local_jobs: dict[
    tuple[int, str], _LocalJob[Any, Any]
] = {}  # by process: a fork inherits its parent's
_remote_jobs: OrderedDict[tuple[int, str], _RemoteJob[Any, Any]] = OrderedDict()
_making = threading.Lock()


def here() -> str:
    """Return host and process number as text."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextlib.contextmanager
def registered(job: Job[S, T], watch: Watch) -> Iterator[None]:
    """Keep a job ready in this process while the block runs."""
    key = (os.getpid(), job.token)
    _local_jobs[key] = _LocalJob(job, watch)
    try:
        yield
    finally:
        del _local_jobs[key]


def perform(token: str, item: S, job: Job[S, T] | None = None) -> TaskResult[T]:
    """Do an item of a job, in whatever process this is called.

    Args:
        token: The job's token.
        item: The item to do.
        job: The job, for a process that does not know it.
    """
    key = (os.getpid(), token)
    own = _local_jobs.get(key)
    if own is not None:
        return own.do(item)
    try:
        local_job = _remote_job(key, job)
    except GrokpackError as error:
        return TaskResult(error=error)
    return TaskResult(known=False) if local_job is None else local_job.do(item)


def register(job: Job[Any, Any]) -> GrokpackError | None:
    """Make a job known to this process; return the error that speaks against it, if any."""
    try:
        _remote_job((os.getpid(), job.token), job)
    except GrokpackError as error:
        return error
    return None


def forget(token: str) -> None:
    """End a job in this process, if it knows it."""
    with _making:
        local_job = _remote_jobs.pop((os.getpid(), token), None)
    if local_job is not None:
        local_job.end()


def version() -> str:
    """Return the version of grokpack in this process."""
    return __version__


def _remote_job(key: tuple[int, str], job: Job[Any, Any] | None) -> _RemoteJob[Any, Any] | None:
    """Return the job that another process started, as made in this process."""
    with _making:
        if key not in _remote_jobs:
            if job is None:
                return None
            _remote_jobs[key] = _RemoteJob(job)
            while len(_remote_jobs) > _MOST_KEPT:
                _remote_jobs.popitem(last=False)[1].end()
        _remote_jobs.move_to_end(key)
        return _remote_jobs[key]
