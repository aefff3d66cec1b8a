"""Parallel work on many files, each of which waits for a response."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from grokpack.storage import io_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

S = TypeVar("S")
T = TypeVar("T")

WIDTH = 32
"""Requests in flight at a time."""
_NEAR_WIDTH = 4
"""Those to a server that responds at once: more threads take longer to start than they save."""
_AT_ONCE_S = 0.05  # after which a near server is one that takes its time


def map_all(work: Callable[[S], T], items: Sequence[S], *, near: bool = False) -> list[T]:
    """Apply a function to all items in parallel; return the results in order.

    The first error cancels the rest. A single item needs no other thread.

    Args:
        work: The function.
        items: Its arguments.
        near: True if the server responded at once so far: few threads begin, and others follow if
            they are not done soon.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    calls: list[Future[T]] = [Future() for _ in items]
    waiting = deque(zip(calls, items, strict=True))
    bound, width = io_context.with_context(work), min(WIDTH, len(items))
    with ThreadPoolExecutor(width, "grokpack-requests") as pool:
        first = min(_NEAR_WIDTH, width) if near else width
        serving = [pool.submit(_serve, waiting, bound) for _ in range(first)]
        if first < width and wait(serving, _AT_ONCE_S).not_done:
            for _ in range(first, width):
                pool.submit(_serve, waiting, bound)
        try:
            return [call.result() for call in calls]  # an error's earlier calls are all under way
        finally:
            waiting.clear()


def _serve(waiting: deque[tuple[Future[T], S]], work: Callable[[S], T]) -> None:
    """Do one call after another until none is left, or one has failed."""
    while waiting:
        try:
            call, item = waiting.popleft()
        except IndexError:  # another thread took the last one
            return
        try:
            call.set_result(work(item))
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            waiting.clear()
            call.set_exception(error)
