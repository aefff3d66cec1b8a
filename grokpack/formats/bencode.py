"""Bencoding, BitTorrent's encoding of numbers, strings, lists and dictionaries (BEP 3).

Parsing is as lenient as other clients': keys may stand in any order, and bytes may follow the
value. The size of the result is bounded before memory is taken. The position of each value is kept,
because a torrent is identified by the hash of its original bytes, not of a re-encoding.
"""

from __future__ import annotations

import re
from typing import Any

_MOST_VALUES = 1 << 18  # values and keys of 25,000 files; the release's torrent has 770
_MOST_DEPTH = 64
_NUMBER = re.compile(rb"i(-?\d{1,20})e")
_LENGTH = re.compile(rb"(\d{1,10}):")


class Document:
    """Bencoded dictionary at the start of some bytes.

    Args:
        data: The bytes.

    Raises:
        ValueError: They do not begin with a dictionary, or it is larger than any torrent.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _MOST_VALUES
        self._spans: dict[bytes, tuple[int, int]] = {}
        if data[:1] != b"d":
            message = "it does not begin with a dictionary"
            raise ValueError(message)
        self.values: dict[bytes, Any] = self._dictionary(1, 1, self._spans)[0]

    def encoded(self, key: bytes) -> bytes:
        """Return the bytes of a key's value as they stand in the file."""
        start, stop = self._spans[key]
        return self._data[start:stop]

    def _value(self, at: int, depth: int) -> tuple[Any, int]:
        """Return the value at a byte, and the offset of the byte after it."""
        self._left -= 1
        if self._left < 0 or depth > _MOST_DEPTH:
            message = "more values, or more of them in each other, than a torrent has"
            raise ValueError(message)
        kind = self._data[at : at + 1]
        if kind == b"d":
            return self._dictionary(at + 1, depth + 1, {})
        if kind == b"l":
            return self._list(at + 1, depth + 1)
        number = _NUMBER.match(self._data, at)
        return (int(number[1]), number.end()) if number else self._string(at)

    def _string(self, at: int) -> tuple[bytes, int]:
        length = _LENGTH.match(self._data, at)
        start = length.end() if length else len(self._data)
        stop = start + int(length[1]) if length else 0
        if not start <= stop <= len(self._data):
            message = f"no value at byte {at:,}, or one that is cut short"
            raise ValueError(message)
        return self._data[start:stop], stop

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        found = []
        while self._data[at : at + 1] != b"e":
            value, at = self._value(at, depth)
            found.append(value)
        return found, at + 1

    def _dictionary(
        self, at: int, depth: int, spans: dict[bytes, tuple[int, int]]
    ) -> tuple[dict[bytes, Any], int]:
        found: dict[bytes, Any] = {}
        while self._data[at : at + 1] != b"e":
            key, start = self._string(at)
            self._left -= 1
            if key in found:
                message = f"key {key[:40]!r} stands twice"
                raise ValueError(message)
            found[key], at = self._value(start, depth)
            spans[key] = start, at
        return found, at + 1
