"""Requests on threads of their own, so that whoever waits can stop, and see a stall, at once."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from grokpack.core.errors import Interrupted
from grokpack.storage import interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_POLL_S = 0.1  # how often a waiting thread looks whether it shall stop
_LANDING_S = 1.0  # what a flight that is called off gets to end, before it is left to itself
_MOST_IN_FLIGHT = 64  # of the process; servers refuse more from one address

_slots = threading.BoundedSemaphore(_MOST_IN_FLIGHT)


class _RequestThread:
    """A thread that flies one flight after another: one for each costs more than its bytes."""

    def __init__(self) -> None:
        self._given: SimpleQueue[Request[Any]] = SimpleQueue()
        threading.Thread(target=self._serve, name="grokpack-flight", daemon=True).start()

    def fly(self, flight: Request[Any]) -> None:
        """Begin a flight."""
        self._given.put(flight)

    def _serve(self) -> None:
        while True:
            self._given.get().carry_out()
            _idle.append(self)


_idle: deque[_RequestThread] = deque()
os.register_at_fork(after_in_child=_idle.clear)  # a fork has no threads but its own


def _request_thread() -> _RequestThread:
    """The one that has rested shortest, or a new one."""
    try:
        return _idle.pop()
    except IndexError:
        return _RequestThread()


class Cancelled(Exception):  # not an error: what ends the thread of a flight
    """Raised in a flight's own thread once nobody waits for it."""


class Line(Protocol):
    """A connection as a flight sees it.

    Attributes:
        encrypted: Whether its bytes come in TLS.
    """

    encrypted: bool

    def hang_up(self) -> None:
        """End what is read from it, from another thread."""


class Request(Generic[T]):
    """A request under way.

    Attributes:
        line: The connection in use, for the waiting thread to cut.
        deadline: When, on the monotonic clock, the present attempt has taken too long.
    """

    def __init__(self, work: Callable[[Request[Any]], T]) -> None:
        self.line: Line | None = None
        self.deadline = math.inf
        self._work = work
        self._landed = threading.Event()
        self._off = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        _request_thread().fly(self)

    def carry_out(self) -> None:
        """Do the work, on the thread that calls this."""
        try:
            with _slots:
                self._value = self._work(self)
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            self._error = error
        finally:
            self._landed.set()

    def pause(self, seconds: float) -> None:
        """Wait between two attempts; ends early, with `Cancelled`, if nobody waits any more."""
        self.deadline = math.inf
        if self._off.wait(seconds):
            raise Cancelled

    def check(self) -> None:
        """Raise `Cancelled` if nobody waits for this any more."""
        if self._off.is_set():
            raise Cancelled

    def call_off(self) -> None:
        """End it soon; its thread may still be about for a moment."""
        self._off.set()
        self._hang_up()

    def _hang_up(self) -> None:
        line = self.line
        if line is not None:
            line.hang_up()

    def wait(self) -> T:
        """Its result.

        Raises:
            GrokpackError: GP403 once this thread shall stop, and what the work raised.
        """
        stopping = interruption.current().stopping
        while not self._landed.wait(_POLL_S):
            if stopping():
                what = "stopped while waiting for the server"
                raise Interrupted(what, hint="the same command begins anew")
            if time.monotonic() > self.deadline:  # again and again: it may just be connecting
                self._hang_up()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set where there is no error

    def land(self) -> None:
        """Wait a moment for the end of a flight that was called off."""
        self._landed.wait(_LANDING_S)


def run_request(work: Callable[[Request[Any]], T]) -> T:
    """Do one request and wait for it."""
    return run_requests([work])[0]


def run_requests(works: Sequence[Callable[[Request[Any]], T]]) -> list[T]:
    """Do requests at the same time; the first that fails ends the others."""
    flights = [Request(work) for work in works]
    try:
        return [flight.wait() for flight in flights]
    except BaseException:
        for flight in flights:
            flight.call_off()
        for flight in flights:
            flight.land()
        raise
