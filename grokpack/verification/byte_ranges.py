"""Descriptions of byte ranges in words: which tensor, which expert, which rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grokpack.core.layout import ArraySlice
from grokpack.core.tensors import SCALES_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.layout import FileLayout

_MOST_SLICES = 3  # described, of a range that covers many small tensors


def tensors(file: FileLayout, start: int, stop: int) -> list[str]:
    """List the tensors of which a range holds bytes, values or scales, in order."""
    found = (held.array.removesuffix(SCALES_SUFFIX) for held, _, _ in _slices(file, start, stop))
    return list(dict.fromkeys(found))


def describe_range(file: FileLayout, start: int, stop: int) -> str:
    """Describe a range: `expert 4, rows 0 to 511`; empty if it holds framing only."""
    slices = list(_slices(file, start, stop))
    several = len({held.array.removesuffix(SCALES_SUFFIX) for held, _, _ in slices}) > 1
    words = []
    for held, first, last in slices[:_MOST_SLICES]:
        tensor = held.array.removesuffix(SCALES_SUFFIX)
        of_scales = tensor != held.array
        name = (f"{tensor}: " if several else "") + ("scales: " if of_scales else "")
        words.append(name + _rows(held, first, last, "group" if of_scales else "row"))
    more = len(slices) - len(words)
    return "; ".join(words) + (f"; and {more} more" if more else "")


def _slices(file: FileLayout, start: int, stop: int) -> Iterator[tuple[ArraySlice, int, int]]:
    for index, first, last in file.covering(start, stop):
        segment = file.segments[index]
        if isinstance(segment, ArraySlice):
            yield segment, first, last


def _rows(held: ArraySlice, first: int, last: int, word: str) -> str:
    """Describe bytes `first` to `last` of a slice as rows of the whole array."""
    shape = held.box.shape
    if len(shape) < 2:  # noqa: PLR2004  # no rows: elements
        at, width = held.box.start[0] if shape else 0, held.dtype.itemsize
        return _range("element", at + first // width, at + (last - 1) // width)
    row_bytes = shape[-1] * held.dtype.itemsize
    low, high = (_index(held, byte // row_bytes) for byte in (first, last - 1))
    if low[:-1] != high[:-1]:
        ends = (f"{_lead(i)}{word} {i[-1]:,}" for i in (low, high))
        return " to ".join(ends)
    return _lead(low) + _range(word, low[-1], high[-1])


def _index(held: ArraySlice, row: int) -> tuple[int, ...]:
    """Return a row's index in the whole array, from its number in the slice."""
    shape = held.box.shape[:-1]
    return tuple(
        row // math.prod(shape[axis + 1 :]) % size + held.box.start[axis]
        for axis, size in enumerate(shape)
    )


def _lead(index: tuple[int, ...]) -> str:
    return "".join(f"expert {at:,}, " for at in index[:-1])


def _range(word: str, low: int, high: int) -> str:
    return f"{word} {low:,}" if low == high else f"{word}s {low:,} to {high:,}"
