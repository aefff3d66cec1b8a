"""Views of packed weights: int8 codes `[..., in, out]`, whose scales are those of their groups.

A code less its zero point fits int8 for 4 bits with or without zero points, and for 8 bits whose
zero point is in the middle; so such weights are read as the release's are, with more groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.layout import Box

if TYPE_CHECKING:
    from grokpack.ops.views import View
    from grokpack.reading import ArrayReader

_WORD_BITS = 32


@dataclass(frozen=True, slots=True)
class RowCodes:
    """Codes of compressed-tensors' packing, `i32[out, in * bits / 32]`.

    Attributes:
        packed: The words.
        zeros: Zero points, `i32[out * bits / 32, group]`; None where they are in the middle.
        bits: Of a code.
        per_group: Inputs in a group.
    """

    packed: str
    zeros: str | None
    bits: int
    per_group: int

    @property
    def stored(self) -> tuple[str, ...]:
        """Words and zero points."""
        return (self.packed,) if self.zeros is None else (self.packed, self.zeros)

    def make(self, box: Box, reader: ArrayReader) -> np.ndarray:
        """Unpack the words that the box meets; the result is not contiguous."""
        (first, column), (last, end) = box.start, box.stop
        low, high, skip = words(first, last, self.bits)
        read = reader.read(self.packed, Box((column, low), (end - column, high - low)))
        codes = unpacked(read, self.bits)[:, skip : skip + last - first]
        codes -= self._zeros(box, reader)
        return codes.view(np.uint8).T

    def _zeros(self, box: Box, reader: ArrayReader) -> np.ndarray:
        """What to take from each code of a box, `i8[out, in]` or one for all."""
        if self.zeros is None:
            return np.array(_middle(self.bits), np.int8)
        (first, column), (last, end) = box.start, box.stop
        low, high, skip = words(column, end, self.bits)
        groups = first // self.per_group, -(-last // self.per_group)
        part = Box((low, groups[0]), (high - low, groups[1] - groups[0]))
        zeros = unpacked(reader.read(self.zeros, part).T, self.bits)[:, skip : skip + end - column]
        index = np.arange(first, last) // self.per_group - groups[0]
        return np.ascontiguousarray(zeros.T)[:, index]

    def describe(self) -> list[object]:
        """`["row codes", words, zero points, bits, inputs in a group]`."""
        return ["row codes", self.packed, self.zeros, self.bits, self.per_group]


@dataclass(frozen=True, slots=True)
class ColumnCodes:
    """Codes of GPTQ's packing, `i32[in * bits / 32, out]`.

    Attributes:
        packed: The words.
        zeros: Zero points less one, `i32[group, out * bits / 32]`.
        bits: Of a code.
        per_group: Inputs in a group.
    """

    packed: str
    zeros: str
    bits: int
    per_group: int

    @property
    def stored(self) -> tuple[str, ...]:
        """Words and zero points."""
        return (self.packed, self.zeros)

    def make(self, box: Box, reader: ArrayReader) -> np.ndarray:
        """Unpack the words that the box meets."""
        (first, column), (last, end) = box.start, box.stop
        low, high, skip = words(first, last, self.bits)
        read = reader.read(self.packed, Box((low, column), (high - low, end - column)))
        codes = unpacked(read.T, self.bits)[:, skip : skip + last - first]
        groups = first // self.per_group, -(-last // self.per_group)
        start, stop, before = words(column, end, self.bits)
        part = Box((groups[0], start), (groups[1] - groups[0], stop - start))
        zeros = unpacked(reader.read(self.zeros, part), self.bits)[
            :, before : before + end - column
        ]
        index = np.arange(first, last) // self.per_group - groups[0]
        codes -= zeros.T[:, index] + np.int8(1)
        return codes.view(np.uint8).T

    def describe(self) -> list[object]:
        """`["column codes", words, zero points, bits, inputs in a group]`."""
        return ["column codes", self.packed, self.zeros, self.bits, self.per_group]


@dataclass(frozen=True, slots=True)
class Stack:
    """`[expert, ...]` from a view of each expert's matrix."""

    views: tuple[View, ...]

    @property
    def stored(self) -> tuple[str, ...]:
        """Arrays of all experts."""
        return tuple(name for view in self.views for name in view.stored)

    def make(self, box: Box, reader: ArrayReader) -> np.ndarray:
        """Make each expert's part of the box."""
        one = Box(box.start[1:], box.shape[1:])
        made = [self.views[e].make(one, reader) for e in range(box.start[0], box.stop[0])]
        return made[0][None] if len(made) == 1 else np.stack(made)

    def describe(self) -> list[object]:
        """`["stack", views...]`."""
        return ["stack", *(view.describe() for view in self.views)]


def words(first: int, last: int, bits: int) -> tuple[int, int, int]:
    """The words that codes `first` to `last` lie in, and how many codes come before the first."""
    per_word = _WORD_BITS // bits
    low = first // per_word
    return low, -(-last // per_word), first - low * per_word


def unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned codes of words along the last axis, as the same bits of int8; arithmetic wraps."""
    octets = np.ascontiguousarray(packed).view(np.uint8)
    if bits == 8:  # noqa: PLR2004  # bits
        return octets.astype(np.int8)
    codes = np.empty((*octets.shape[:-1], 2 * octets.shape[-1]), np.uint8)
    codes[..., ::2] = octets & 15
    codes[..., 1::2] = octets >> 4
    return codes.view(np.int8)


def _middle(bits: int) -> int:
    """The zero point in the middle, as int8: 128 and -128 are the same bits."""
    return 8 if bits == 4 else -128  # noqa: PLR2004  # bits
