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


def merges(ids: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the two parts from which each token is merged, in the order of the ids.

    In any text a token is made by the steps that make it alone, for until it is whole no merge
    crosses its ends; so the two parts of the last step are the only ones it is ever merged from.
    Tokens that no merges lead to, which only a piece that equals them becomes, are left out.
    """
    for token in sorted(ids, key=ids.__getitem__):
        if len(token) > 1:
            short = len(token) <= _SHORT
            middle = _meeting(ids, token) if short else Merging(ids, token).meeting()
            if middle is not None:
                yield token[:middle], token[middle:]


_SHORT = 32  # bytes of a token for which looking at all pairs costs less than a heap
_NONE = 1 << 62  # in place of the id of a pair that is no token


def _meeting(ids: Mapping[bytes, int], token: bytes) -> int | None:
    """Return what `Merging.meeting` does for a short token; all but a few are short."""
    cuts = list(range(len(token) + 1))
    pairs = [ids.get(token[start : start + 2], _NONE) for start in cuts[:-2]]
    while len(pairs) > 1:
        lowest = min(pairs)
        if lowest == _NONE:
            return None
        at = pairs.index(lowest)
        del cuts[at + 1], pairs[at]
        if at < len(pairs):
            pairs[at] = ids.get(token[cuts[at] : cuts[at + 2]], _NONE)
        if at > 0:
            pairs[at - 1] = ids.get(token[cuts[at - 1] : cuts[at + 1]], _NONE)
    return cuts[1]
