"""Byte-pair encoding: neighbouring parts merged, those of the lowest id first."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Merging:
    """Merging of one piece of text, from single bytes up.

    Of equal ids the leftmost goes first. A heap keeps the next pair at hand, so that a piece of a
    megabyte takes seconds and not days.

    Args:
        ids: Ids of tokens by their bytes; all single bytes are among them.
        piece: The bytes to merge, at least one.
    """

    def __init__(self, ids: Mapping[bytes, int], piece: bytes) -> None:
        self._ids, self._piece = ids, piece
        self._ends = list(range(1, len(piece) + 1))  # of the part that begins here; 0 if none does
        self._before = list(range(-1, len(piece) - 1))  # beginning of the part in front
        self._heap: list[tuple[int, int, int]] = []
        for start in range(len(piece) - 1):
            self._offer(start, start + 2)
        heapify(self._heap)
        self.last = 0
        """Where the two parts of the last merge met."""
        self._run()

    def meeting(self) -> int | None:
        """Return where the last two parts of the piece met; None if they did not become one."""
        return self.last if self._ends[0] == len(self._piece) else None

    def parts(self) -> Iterator[bytes]:
        """Yield the parts that are left."""
        start = 0
        while start < len(self._piece):
            end = self._ends[start]
            yield self._piece[start:end]
            start = end

    def _offer(self, start: int, end: int) -> None:
        number = self._ids.get(self._piece[start:end])
        if number is not None:
            heappush(self._heap, (number, start, end))

    def _run(self) -> None:
        ends, before, total = self._ends, self._before, len(self._piece)
        while self._heap:
            _, start, end = heappop(self._heap)
            middle = ends[start]
            if not 0 < middle < total or ends[middle] != end:
                continue  # one of the two has been merged with another since
            ends[start], ends[middle], self.last = end, 0, middle
            if end < total:
                before[end] = start
                self._offer(start, ends[end])
            if start > 0:
                self._offer(before[start], end)


def merges(ids: Mapping[bytes, int]) -> Iterator[tuple[bytes, int]]:
    """Yield each token that is merged, and where its last two parts meet, in the order of the ids.

    In any text a token is made by the steps that make it alone, for until it is whole no merge
    crosses its ends; so the two parts of the last step are the only ones it is ever merged from.
    Tokens that no merges lead to, which only a piece that equals them becomes, are left out.
    """
    found = _LastMerges(ids)
    for token in sorted(ids, key=ids.__getitem__):
        if len(token) > 1:
            middle = found.meeting(token)
            if middle is not None:
                yield token, middle


class _LastMerges:
    """Last merges of tokens, found in the order of the ids from those of their parts.

    Two tokens side by side become one if no merge on the way to them crosses from one to the
    other. Where the ids of parts are lower than those of what they become, merges follow each other
    by id, so that the merges at the seam can be undone one by one, the last first, and each pair
    that meets there is compared with the merge that ends it. Whatever this does not find is
    merged from single bytes.
    """

    def __init__(self, ids: Mapping[bytes, int]) -> None:
        self._ids = ids
        count = max(ids.values()) + 1
        self._lefts, self._rights = [_NONE] * count, [_NONE] * count  # ids of a token's two parts
        for token in filter(_is_byte, ids):
            self._lefts[ids[token]] = self._rights[ids[token]] = _BYTE
        self._merged: dict[tuple[int, int], int] = {}

    def meeting(self, token: bytes) -> int | None:
        """Return where the last two parts of a token meet; None if none become it."""
        ids, number, lefts = self._ids, self._ids[token], self._lefts
        for middle in range(len(token) - 1, 0, -1):
            left = ids.get(token[:middle], number)
            if left < number and lefts[left] != _NONE:
                right = ids.get(token[middle:], number)
                if right < number and lefts[right] != _NONE and self._meet(left, right):
                    lefts[number], self._rights[number] = left, right
                    self._merged[left, right] = number
                    return middle
        merged = Merging(ids, token).meeting()
        if merged is not None:
            self._merged[ids[token[:merged]], ids[token[merged:]]] = number
        return merged

    def _meet(self, left: int, right: int) -> bool:
        """Return whether no merge crosses the seam before both sides are whole."""
        lefts, rights, merged = self._lefts, self._rights, self._merged
        while True:
            inner, other = rights[left], lefts[right]
            if inner != _BYTE and (left > right or other == _BYTE):
                ended, left = left, inner
            elif other != _BYTE:  # of equal ids the left one was merged first
                ended, right = right + 1, other
            else:
                return True
            if merged.get((left, right), ended) < ended:
                return False


_NONE, _BYTE = -2, -1  # in place of a part: the merges of the token are not known, or it has none


def _is_byte(token: bytes) -> bool:
    return len(token) == 1
