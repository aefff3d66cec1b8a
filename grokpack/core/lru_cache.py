"""Small results that several arrays of an output need, kept for as long as there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np

LRU_CACHE_BYTES = 32 << 20
"""Scales of an expert of Grok-1 in groups of 128 take 3 MB; of 32, with zero points, 18."""


class LRUCache:
    """Arrays by key; the oldest go when there are too many bytes. For many threads.

    What is missing can always be made again: it saves work and never decides a result.
    """

    def __init__(self, limit_bytes: int = LRU_CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[Hashable, tuple[np.ndarray, ...]] = OrderedDict()
        self._nbytes = 0
        self._guard = threading.Lock()

    def put(self, key: Hashable, arrays: tuple[np.ndarray, ...]) -> None:
        """Keep arrays, in place of older ones."""
        with self._guard:
            self._drop(self._kept.pop(key, ()))
            self._kept[key] = arrays
            self._nbytes += sum(array.nbytes for array in arrays)
            while self._nbytes > self._limit:
                self._drop(self._kept.popitem(last=False)[1])

    def take(self, key: Hashable) -> tuple[np.ndarray, ...] | None:
        """The arrays of a key; None where they are gone or never were."""
        with self._guard:
            return self._kept.get(key)

    def _drop(self, arrays: tuple[np.ndarray, ...]) -> None:
        self._nbytes -= sum(array.nbytes for array in arrays)
