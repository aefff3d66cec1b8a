"""The same work for many files at once, where each of them waits for an answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from grokpack.storage import interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

S = TypeVar("S")
T = TypeVar("T")

WIDTH = 32  # answers waited for at a time


def map_all(work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Results in the order of the items; the first error ends it."""
    with ThreadPoolExecutor(min(WIDTH, max(len(items), 1)), "grokpack-crowd") as pool:
        try:
            return list(pool.map(interruption.with_context(work), items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
