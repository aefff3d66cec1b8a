"""Lazy arrays of AutoAWQ's packing: words with four-bit fields of eight outputs each.

A word holds outputs 0, 2, 4, 6, 1, 3, 5 and 7, from its lowest bits on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.layout import Box
from grokpack.transforms.packed_words import unpack_fields, word_span
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.transforms.array_source import ArraySource

_FIELDS = (0, 4, 1, 5, 2, 6, 3, 7)  # of each output of a word
_FOUR = 4  # bits


@dataclass(frozen=True, slots=True)
class AwqOctets(Transform):
    """Codes `u8[in / 2, out]` of words `i32[in, out / 8]`; the first of two inputs is low."""

    operation: ClassVar[str] = "awq octets"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Unpack the words that the box meets, and put two inputs in a byte."""
        (first, column), (rows, columns) = box.start, box.shape
        codes = _unpacked(self.array, Box((2 * first, column), (2 * rows, columns)), reader)
        made: np.ndarray = codes[::2] | (codes[1::2] << np.uint8(4))
        return made


@dataclass(frozen=True, slots=True)
class AwqZeros(Transform):
    """Zero points `u8[group, out]` of words `i32[group, out / 8]`."""

    operation: ClassVar[str] = "awq zeros"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Unpack the words that the box meets."""
        return _unpacked(self.array, box, reader)


def _unpacked(array: str, box: Box, reader: ArraySource) -> np.ndarray:
    """Return the fields of a box as bytes."""
    (row, column), (rows, columns) = box.start, box.shape
    low, high, skip = word_span(column, column + columns, _FOUR)
    fields = unpack_fields(reader.read(array, Box((row, low), (rows, high - low))), _FOUR)
    ordered = fields.reshape(rows, high - low, -1)[..., _FIELDS].reshape(rows, -1)
    return ordered[:, skip : skip + columns]
