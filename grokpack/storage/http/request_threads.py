"""Requests whose callers can stop at once, and see a stall: on threads of their own, or watched."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from grokpack.core.errors import Interrupted
from grokpack.storage import io_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_POLL_S = 0.1  # seconds between a waiting thread's checks whether to stop
_GRACE_S = 0.5  # grace period of a cancelled request, which may be connecting: nothing ends that
_MOST_IN_FLIGHT = 64  # of the process; servers refuse more from one address

_slots = threading.BoundedSemaphore(_MOST_IN_FLIGHT)


class _RequestThread:
    """Thread that runs one request after another, since a new thread costs more than that."""

    def __init__(self) -> None:
        self._given: SimpleQueue[Request[Any]] = SimpleQueue()
        threading.Thread(target=self._serve, name="grokpack-request", daemon=True).start()

    def run(self, request: Request[Any]) -> None:
        """Start a request."""
        self._given.put(request)

    def _serve(self) -> None:
        while True:
            self._given.get().carry_out()
            _idle.append(self)


_idle: deque[_RequestThread] = deque()
os.register_at_fork(after_in_child=_idle.clear)  # a fork has no other threads


def _request_thread() -> _RequestThread:
    """Return the thread that was idle shortest, or a new one."""
    try:
        return _idle.pop()
    except IndexError:
        return _RequestThread()


class Cancelled(Exception):  # not an error: what ends the thread of a request
    """Raised in a request's own thread once nobody waits for it."""


class Abortable(Protocol):
    """Connection as a request sees it."""

    def abort(self) -> None:
        """Abort a read, from another thread."""


class Request(Generic[T]):
    """Request in progress.

    Attributes:
        line: The connection in use, for the waiting thread to close.
        deadline: Monotonic time at which the current attempt has taken too long.
        in_place: Whether it runs on its caller's thread, which must not connect: nothing ends that.
    """

    def __init__(self, work: Callable[[Request[Any]], T], *, in_place: bool = False) -> None:
        self.line: Abortable | None = None
        self.deadline = math.inf
        self.in_place = in_place
        self._work = work
        self._done = threading.Event()
        self._cancelled = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        if not in_place:
            _request_thread().run(self)

    def carry_out(self) -> None:
        """Run the request on the calling thread.

        Before anybody is told that it is done, nothing here refers to the memory that its bytes
        went to: `core.reused_memory` lends only what nobody refers to, and a thread remembers its
        last request.

        A request in place takes no slot: it would hold one and wait for another to connect. There
        are no more of them than readers.
        """
        try:
            with contextlib.nullcontext() if self.in_place else _slots:
                self._value = self._work(self)
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            self._error = error
        finally:
            del self._work
            self._done.set()

    def pause(self, seconds: float) -> None:
        """Wait between two attempts; raise `Cancelled` early if nobody waits any more."""
        self.deadline = math.inf
        if self._cancelled.wait(seconds):
            raise Cancelled

    def check(self) -> None:
        """Raise `Cancelled` if nobody waits for this any more."""
        if self.is_cancelled():
            raise Cancelled

    def is_cancelled(self) -> bool:
        """Return whether nobody waits for this any more."""
        return self._cancelled.is_set()

    def is_done(self) -> bool:
        """Return whether there is a result, or an error."""
        return self._done.is_set()

    def cancel(self) -> None:
        """Cancel the request; its thread may still run for a moment."""
        self._cancelled.set()
        self._abort()

    def abort_if_late(self) -> None:
        """Abort an attempt that takes too long; repeatedly, since it may be connecting just now."""
        if time.monotonic() > self.deadline:
            self._abort()

    def _abort(self) -> None:
        line = self.line
        if line is not None:
            line.abort()

    def wait(self, meanwhile: Callable[[], None] = lambda: None) -> T:
        """Wait for the result and return it.

        Args:
            meanwhile: Called again and again until then.

        Raises:
            GrokpackError: GP403 once this thread is to stop, and any error of the request.
        """
        stopping = io_context.current().stopping
        while not self._done.wait(_POLL_S):
            if stopping():
                raise _interrupted()
            meanwhile()
            self.abort_if_late()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set where there is no error

    def join(self) -> None:
        """Wait a moment for a cancelled request to end."""
        self._done.wait(_GRACE_S)


def _interrupted() -> Interrupted:
    what = "stopped while waiting for the server"
    return Interrupted(what, hint="the same command begins anew")


class _Watch:
    """Thread that does for requests in place what a waiting caller does for others."""

    def __init__(self) -> None:
        self._watched: dict[Request[Any], Callable[[], bool]] = {}
        self._changed = threading.Condition()
        self._started = False

    @contextlib.contextmanager
    def over(self, request: Request[Any]) -> Iterator[None]:
        """Watch a request for the length of a `with` block."""
        with self._changed:
            self._watched[request] = io_context.current().stopping
            self._changed.notify()
            if not self._started:
                threading.Thread(target=self._look, name="grokpack-watch", daemon=True).start()
                self._started = True
        try:
            yield
        finally:
            with self._changed:
                del self._watched[request]

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._watched)
                watched = list(self._watched.items())
            for request, stopping in watched:
                if _is_to_stop(stopping):
                    request.cancel()  # repeatedly, for the same reason as below
                request.abort_if_late()
            del watched, request, stopping  # nothing here refers to memory between two looks
            time.sleep(_POLL_S)


def _is_to_stop(stopping: Callable[[], bool]) -> bool:
    """Ask a caller's callback; one that fails is asked again on the caller's thread."""
    try:
        return stopping()
    except Exception:  # noqa: BLE001  # the caller's own
        return True


_watch = _Watch()


def _watch_anew() -> None:
    global _watch  # noqa: PLW0603  # its thread does not follow a fork
    _watch = _Watch()


os.register_at_fork(after_in_child=_watch_anew)


def _run_in_place(work: Callable[[Request[Any]], T]) -> T:
    """Run one request on the calling thread, while another watches it."""
    request = Request(work, in_place=True)
    with _watch.over(request):
        request.carry_out()
    if request.is_cancelled():
        io_context.stopping()  # which may raise an error of its own
        raise _interrupted()
    return request.wait()


def run_request(work: Callable[[Request[Any]], T], *, in_place: bool = False) -> T:
    """Run one request and wait for it; `in_place` as in `run_requests`."""
    return _run_in_place(work) if in_place else run_requests([work])[0]


def run_requests(
    works: Sequence[Callable[[Request[Any]], T]], *, in_place: bool = False
) -> list[T]:
    """Run requests in parallel; the first that fails cancels the others.

    Args:
        works: The requests.
        in_place: True to run them on the calling thread, one after the other. That saves two
            changes of threads for each, which take as long as the answer of a server nearby.

    Raises:
        GrokpackError: GP403 once this thread is to stop, and any error of a request.
    """
    if in_place:
        return [_run_in_place(work) for work in works]
    requests = [Request(work) for work in works]
    try:
        return [request.wait() for request in requests]
    except BaseException:
        for request in requests:
            request.cancel()
        for request in requests:
            request.join()
        raise
