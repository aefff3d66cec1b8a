"""Worker pool: keeps an executor busy with the items of a job, and hands on results."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.execution.workers import jobs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from grokpack.core.progress import Watch
    from grokpack.execution.workers.jobs import Job, TaskResult

S = TypeVar("S")
T = TypeVar("T")

AHEAD = 2
"""Items handed out for each that can be done at a time, so that no worker waits."""
_POLL_S = 0.2  # how often the caller's thread wakes, so that signals are handled at once
_QUIET_S = 60.0  # after which the pool checks whether a worker is left
_MOST_LOSSES = 5  # of one item; more have another cause than a lost worker


@runtime_checkable
class ClusterExecutor(Protocol):
    """Executor that can call all its workers before the first item and after the last."""

    def prepare(self, job: Job[Any, Any]) -> None:
        """Make a job known to all workers.

        Raises:
            GrokpackError: A worker lacks what the job needs.
        """

    def release(self, job: Job[Any, Any]) -> None:
        """Let all workers forget a job."""

    def check(self) -> None:
        """Check that there is a worker.

        Raises:
            GrokpackError: GP408 where no worker is left.
        """


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Workers of a job: threads, or an executor.

    Attributes:
        width: Items that are done at a time.
        executor: The executor that does them; threads of this process by default.
    """

    width: int
    executor: Executor | None = None

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Executor]:
        """Hold the executor while the block runs; one that was given is left open."""
        if self.executor is not None:
            yield self.executor
            return
        with ThreadPoolExecutor(self.width, "grokpack") as executor:
            yield executor


def map_unordered(
    job: Job[S, T], items: Iterable[S], pool: WorkerPool, watch: Watch
) -> Generator[T, None, None]:
    """Do a job's items, several at a time; yield results as they are ready.

    After an error no more items are begun; those under way end, and their results come first.
    Once the watch says stop, items that are not begun are left.

    Raises:
        GrokpackError: The error of an item; GP408 where the executor lost its workers.
    """
    stop_path = None if pool.executor is None else job.stop_path
    with jobs.registered(job, watch), pool.at_work() as executor:
        cluster = executor if isinstance(executor, ClusterExecutor) else None
        if cluster is not None:
            cluster.prepare(job)
        in_flight = _InFlight(job, iter(items), executor, watch, stop_path)
        try:
            yield from in_flight.results(AHEAD * pool.width)
        finally:
            in_flight.end()
            if cluster is not None:
                cluster.release(job)


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[S]):
    """Item under way, and how often it was lost."""

    item: S
    losses: int = 0


class _InFlight(Generic[S, T]):
    """Items under way in an executor."""

    def __init__(
        self,
        job: Job[S, T],
        queue: Iterator[S],
        executor: Executor,
        watch: Watch,
        stop_path: str | None,
    ) -> None:
        self._job, self._queue, self._executor, self._watch = job, queue, executor, watch
        self._stop_path = stop_path
        self._running: dict[Future[TaskResult[T]], _Attempt[S]] = {}
        self._failure: BaseException | None = None
        self._called_off = False
        self._heard = time.monotonic()

    def results(self, width: int) -> Iterator[T]:
        """Keep `width` items under way until there are no more."""
        while True:
            while len(self._running) < width and self._send_next():
                pass
            if not self._running:
                break
            done, _ = wait(self._running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in self._in_order(done | self._given_up()):
                yield from self._complete(future, self._running.pop(future))
            self._listen(heard=bool(done))
            if self._ending():
                self._cancel()
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Wait until nothing is under way any more."""
        if self._running:
            self._cancel()
            wait(self._running.keys() - self._given_up())
        if self._called_off and self._stop_path is not None:
            storage.remove(self._stop_path)

    def _given_up(self) -> set[Future[TaskResult[T]]]:
        """Return the futures that were cancelled: not every executor reports them to `wait`."""
        return {future for future in self._running if future.cancelled()}

    def _in_order(self, futures: set[Future[TaskResult[T]]]) -> list[Future[TaskResult[T]]]:
        """Return futures in the order they were sent, so that of two lost the first goes first."""
        return [future for future in self._running if future in futures]

    def _listen(self, *, heard: bool) -> None:
        """Check that a worker is left, if nothing came for long."""
        now = time.monotonic()
        if heard:
            self._heard = now
        elif now - self._heard > _QUIET_S and isinstance(self._executor, ClusterExecutor):
            self._heard = now
            try:
                self._executor.check()
            except GrokpackError as error:
                self._fail(error)

    def _ending(self) -> bool:
        return self._failure is not None or self._watch.stopping()

    def _cancel(self) -> None:
        """Cancel items that have not begun, and ask for an early end of the others."""
        if self._called_off:
            return
        self._called_off = True
        for future in self._running:
            future.cancel()
        if self._stop_path is not None:
            storage.write_whole(self._stop_path, b"")

    def _send_next(self) -> bool:
        item = None if self._ending() else next(self._queue, None)
        if item is not None:
            self._send(_Attempt(item))
        return item is not None

    def _send(self, attempt: _Attempt[S], job: Job[S, T] | None = None) -> None:
        try:
            future = self._executor.submit(jobs.perform, self._job.token, attempt.item, job)
        except Exception as error:  # noqa: BLE001  # whatever an executor says that is closed
            self._fail(_lost(error))
        else:
            self._running[future] = attempt

    def _complete(self, future: Future[TaskResult[T]], attempt: _Attempt[S]) -> Iterator[T]:
        """Yield a future's result; send an item again that was lost, or met a new worker."""
        try:
            done = future.result()
        except CancelledError as error:
            self._lose(attempt, error)
        except BaseException as error:  # noqa: BLE001  # raised when the others have landed
            self._fail(_lost(error) if _is_executors(error) else error)
        else:
            if done.error is not None:
                self._fail(done.error)
            elif not done.known:
                if not self._ending():
                    self._send(attempt, self._job)
            else:
                if done.nbytes:
                    self._watch.advanced(done.nbytes)
                yield done.value  # type: ignore[misc]  # set where there is no error

    def _lose(self, attempt: _Attempt[S], error: BaseException) -> None:
        """Send an item again that the executor gave up, unless it was cancelled here."""
        if self._ending():
            return
        if attempt.losses == _MOST_LOSSES:
            self._fail(_lost(error))
        else:
            self._send(_Attempt(attempt.item, attempt.losses + 1))

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error


def _is_executors(error: BaseException) -> bool:
    """Return whether an error says that processes died: a pool's, or that of Dask's scheduler."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def _lost(error: BaseException) -> GrokpackError:
    said = str(error).partition("\n")[0]
    facts = (("executor", f"{type(error).__name__}: {said}" if said else type(error).__name__),)
    hint = "the same command goes on where this ended"
    return GrokpackError("GP408", "the workers are gone", None, facts, hint)
