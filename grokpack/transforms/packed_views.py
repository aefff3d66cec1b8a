"""Lazy arrays of packed weights: unsigned codes as bytes, signed codes, and products.

A code minus its zero point fits int8 for 4 bits, with or without zero points, and for 8 bits with a
zero point in the middle. Such weights are read like the release's, with more groups. Other 8-bit
weights are read as products.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.errors import Place, UnsupportedLayout
from grokpack.core.layout import Box
from grokpack.kernels.float_casts import to_f32
from grokpack.transforms.packed_words import byte_rows, split_bytes, unpack_fields, word_span
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.core.tensors import DType
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.protocols import LazyArray

_FOUR, _OCTET = 4, 8  # bits
_MIDDLES = {4: 8, 8: 128}


@dataclass(frozen=True, slots=True)
class RowOctets(Transform):
    """Codes `u8[in * bits / 8, out]` of compressed-tensors' packing, `i32[out, in * bits / 32]`."""

    operation: ClassVar[str] = "row octets"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the bytes of the words that the box meets; the result is not contiguous."""
        (first, column), (last, end) = box.start, box.stop
        low, high, skip = word_span(first, last, _OCTET)
        read = reader.read_ahead(self.array, Box((column, low), (end - column, high - low)))
        octets = np.ascontiguousarray(read).view(np.uint8)
        return octets[:, skip : skip + last - first].T


@dataclass(frozen=True, slots=True)
class RowZeros(Transform):
    """Zero points `u8[group, out]` of compressed-tensors' packing, `i32[out * bits / 32, group]`.

    Attributes:
        array: The words.
        bits: Bits of a zero point.
    """

    operation: ClassVar[str] = "row zeros"
    array: str
    bits: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Unpack the words that the box meets."""
        (group, column), (stop, end) = box.start, box.stop
        low, high, skip = word_span(column, end, self.bits)
        read = reader.read(self.array, Box((low, group), (high - low, stop - group)))
        return unpack_fields(read.T, self.bits)[:, skip : skip + end - column]


@dataclass(frozen=True, slots=True)
class ColumnOctets(Transform):
    """Codes `u8[in * bits / 8, out]` of GPTQ's packing, `i32[in * bits / 32, out]`."""

    operation: ClassVar[str] = "column octets"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the bytes of the words that the box meets."""
        (first, column), (last, end) = box.start, box.stop
        low, high, skip = word_span(first, last, _OCTET)
        read = reader.read(self.array, Box((low, column), (high - low, end - column)))
        return byte_rows(read)[skip : skip + last - first]


@dataclass(frozen=True, slots=True)
class ColumnZeros(Transform):
    """Zero points `u8[group, out]` of GPTQ's packing: each less one, `i32[group, out * bits / 32]`.

    Attributes:
        array: The words.
        bits: Bits of a zero point.
    """

    operation: ClassVar[str] = "column zeros"
    array: str
    bits: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Unpack the words that the box meets."""
        (group, column), (stop, end) = box.start, box.stop
        low, high, skip = word_span(column, end, self.bits)
        read = reader.read(self.array, Box((group, low), (stop - group, high - low)))
        zeros: np.ndarray = unpack_fields(read, self.bits)[:, skip : skip + end - column]
        return zeros + np.uint8(1)


@dataclass(frozen=True, slots=True)
class UnsignedCodes(Transform):
    """Unsigned codes and their zero points.

    Attributes:
        codes: Makes `u8[..., in * bits / 8, out]`.
        zeros: Makes `u8[..., group, out]`; None where all are in the middle.
        bits: Bits of a code.
        per_group: Inputs in a group.
    """

    operation: ClassVar[str] = "unsigned codes"
    codes: LazyArray
    zeros: LazyArray | None
    bits: int
    per_group: int

    def read_codes(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return a copy of the codes of a box, `u8[..., in, out]`."""
        per_byte = 8 // self.bits
        low, high = box.start[-2] // per_byte, -(-box.stop[-2] // per_byte)
        octets = self.codes.make(_rows(box, low, high), reader)
        if per_byte == 1:
            return octets.copy(order="K")
        skip = box.start[-2] - low * per_byte
        return split_bytes(octets)[..., skip : skip + box.shape[-2], :]

    def groups(self, box: Box) -> tuple[int, int]:
        """Return the first group that a box meets, and one past the last."""
        return box.start[-2] // self.per_group, -(-box.stop[-2] // self.per_group)

    def read_zeros(self, box: Box, reader: ArraySource) -> np.ndarray | None:
        """Return the zero points of a box's groups; None where all are in the middle."""
        return (
            None if self.zeros is None else self.zeros.make(_rows(box, *self.groups(box)), reader)
        )

    def by_group(self, box: Box) -> list[tuple[slice, slice]]:
        """Return the inputs of a box in each of its groups, and the group."""
        first, last = box.start[-2], box.stop[-2]
        low, high = self.groups(box)
        edges = [max(first, g * self.per_group) - first for g in range(low, high)] + [last - first]
        return [(slice(a, b), slice(g, g + 1)) for g, (a, b) in enumerate(pairwise(edges))]


@dataclass(frozen=True, slots=True)
class SignedCodes(Transform):
    """Codes minus their zero points, `i8[..., in, out]`."""

    operation: ClassVar[str] = "signed codes"
    unsigned: UnsignedCodes

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Subtract the zero points of their groups from codes.

        Raises:
            GrokpackError: GP208 for 8-bit zero points that are not in the middle.
        """
        codes, zeros = self.unsigned.read_codes(box, reader), self.unsigned.read_zeros(box, reader)
        middle = np.uint8(_MIDDLES[self.unsigned.bits])
        if zeros is not None and self.unsigned.bits != _FOUR and (zeros != middle).any():
            what = "zero points of 8 bits are not in the middle, as quantization_config has it"
            hint = "set `sym` to false there"
            raise UnsupportedLayout(what, Place(self.inputs[-1]), hint=hint)
        if zeros is None or (zeros == middle).all():
            codes -= middle  # wraps around, as int8 does
            return codes
        for inputs, group in self.unsigned.by_group(box):
            codes[..., inputs, :] -= zeros[..., group, :]
        return codes


@dataclass(frozen=True, slots=True)
class Products(Transform):
    """Codes minus zero points, times scales, `f32[..., in, out]`, rounded once.

    Attributes:
        unsigned: The codes.
        scales: Makes `[..., group, out]`.
        dtype: Dtype of the scales.
    """

    operation: ClassVar[str] = "products"
    unsigned: UnsignedCodes
    scales: LazyArray
    dtype: DType

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the products of a box."""
        values = self.unsigned.read_codes(box, reader).astype(np.float32)
        zeros = self.unsigned.read_zeros(box, reader)
        own = _rows(box, *self.unsigned.groups(box))
        scales = to_f32(np.ascontiguousarray(self.scales.make(own, reader)), self.dtype)
        for inputs, group in self.unsigned.by_group(box):
            values[..., inputs, :] -= 128 if zeros is None else zeros[..., group, :]
            with np.errstate(invalid="ignore", over="ignore"):  # later checks find these
                values[..., inputs, :] *= scales[..., group, :]
        return values.view(np.uint32)


@dataclass(frozen=True, slots=True)
class GroupOfEach(Transform):
    """Scales or zero points of each input, `[in, out]`, whose groups have inputs in any order.

    Attributes:
        groups: Makes those of the groups, `[group, out]`.
        array: The group of each input, `i32[in]` or `i64[in]`.
        count: Number of groups.
    """

    operation: ClassVar[str] = "group of each"
    groups: LazyArray
    array: str
    count: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Make all groups of the box's outputs, and take one for each input."""
        (first, column), (inputs, columns) = box.start, box.shape
        made = self.groups.make(Box((0, column), (self.count, columns)), reader)
        of_each = np.ascontiguousarray(reader.read(self.array, Box((first,), (inputs,))))
        taken: np.ndarray = made[of_each.view(np.dtype(f"i{of_each.itemsize}"))]
        return taken


def _rows(box: Box, low: int, high: int) -> Box:
    """Return the box with other rows."""
    start = (*box.start[:-2], low, box.start[-1])
    return Box(start, (*box.shape[:-2], high - low, box.shape[-1]))
