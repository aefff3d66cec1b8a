"""Parallel work on many files, each of which waits for a response."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from grokpack.storage import io_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

S = TypeVar("S")
T = TypeVar("T")

WIDTH = 32  # requests in flight at a time


def map_all(work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Apply a function to all items in parallel; return the results in order.

    The first error cancels the rest. A single item needs no other thread.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(WIDTH, len(items)), "grokpack-requests") as pool:
        try:
            return list(pool.map(io_context.with_context(work), items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
