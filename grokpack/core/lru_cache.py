"""Cache of small arrays that several outputs need, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable

LRU_CACHE_BYTES = 32 << 20
"""Scales of one expert of Grok-1 take 3 MB in groups of 128; 18 MB in groups of 32 with zero
points."""


class LRUCache:
    """Thread-safe cache of arrays by key, which evicts the oldest when it is full.

    Everything in it can be computed again: the cache saves work and never changes a result.
    """

    def __init__(self, limit_bytes: int = LRU_CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[Hashable, tuple[np.ndarray, ...]] = OrderedDict()
        self._nbytes = 0
        self._numbers: dict[Hashable, int] = {}
        self._guard = threading.Lock()

    def numbered(self, owner: Hashable) -> NumberedEntries:
        """Return the entries of one owner, which are put and taken by number.

        An owner may be a deep description, which takes longer to hash than an array of some
        kilobytes to copy: here that is done once.
        """
        with self._guard:
            return NumberedEntries(self, self._numbers.setdefault(owner, len(self._numbers)))

    def put(self, key: Hashable, arrays: tuple[np.ndarray, ...]) -> None:
        """Store arrays, evicting the oldest where there is no room."""
        with self._guard:
            self._drop(self._kept.pop(key, ()))
            self._kept[key] = arrays
            self._nbytes += sum(array.nbytes for array in arrays)
            while self._nbytes > self._limit:
                self._drop(self._kept.popitem(last=False)[1])

    def take(self, key: Hashable) -> tuple[np.ndarray, ...] | None:
        """Return the arrays of a key; None where they were evicted or never stored."""
        with self._guard:
            return self._kept.get(key)

    def _drop(self, arrays: tuple[np.ndarray, ...]) -> None:
        self._nbytes -= sum(array.nbytes for array in arrays)


@dataclass(frozen=True, slots=True)
class NumberedEntries:
    """Entries of one owner in a cache.

    Attributes:
        cache: The cache.
        owner: Number that stands for the owner.
    """

    cache: LRUCache
    owner: int

    def put(self, number: int, arrays: tuple[np.ndarray, ...]) -> None:
        """Store the arrays of a number."""
        self.cache.put((self.owner, number), arrays)

    def take(self, number: int) -> tuple[np.ndarray, ...] | None:
        """Return the arrays of a number; None where they were evicted or never stored."""
        return self.cache.take((self.owner, number))

    def take_all(self, numbers: range) -> tuple[np.ndarray, ...] | None:
        """Return the arrays of consecutive numbers joined; None if those of one are missing."""
        found = [arrays for number in numbers if (arrays := self.take(number)) is not None]
        if len(found) < len(numbers):
            return None
        return tuple(map(np.concatenate, zip(*found, strict=True)))
