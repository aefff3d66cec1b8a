"""The cache keeps what was put last, and the entries of one owner apart from another's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grokpack.core.lru_cache import LRUCache


@dataclass(frozen=True)
class _Owner:
    name: str


def test_an_equal_owner_takes_what_was_put_and_no_other_does() -> None:
    cache = LRUCache()
    cache.numbered(_Owner("query")).put(3, (np.arange(4),))
    taken = cache.numbered(_Owner("query")).take(3)
    assert taken is not None
    assert taken[0].tolist() == [0, 1, 2, 3]
    assert cache.numbered(_Owner("query")).take(2) is None
    assert cache.numbered(_Owner("key")).take(3) is None


def test_the_oldest_entries_are_evicted_whoever_owns_them() -> None:
    cache, arrays = LRUCache(limit_bytes=16), (np.zeros(8, np.uint8),)
    query, key = cache.numbered("query"), cache.numbered("key")
    for entries, number in ((query, 0), (key, 0), (query, 1)):
        entries.put(number, arrays)
    assert query.take(0) is None
    assert key.take(0) is not None
    assert query.take(1) is not None


def test_consecutive_entries_are_taken_joined_unless_one_is_missing() -> None:
    entries = LRUCache().numbered("query")
    for number in (3, 4, 6):
        entries.put(number, (np.array([number]), np.array([-number, 0])))
    taken = entries.take_all(range(3, 5))
    assert taken is not None
    assert [array.tolist() for array in taken] == [[3, 4], [-3, 0, -4, 0]]
    assert entries.take_all(range(3, 7)) is None
