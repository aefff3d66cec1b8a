"""4-bit codes in pairs, as chunked stores hold 4-bit weights.

zarr's own int4 takes a byte for each. Byte `i` of a row holds codes `2 i` (low bits) and `2 i + 1`
(high bits) of the last axis, in two's complement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.errors import GrokpackError, Place
from grokpack.core.layout import Box
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.core.tensors import Shape
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.protocols import LazyArray

_LOW, _HIGH = 15, 240  # bits of a byte
_MIDDLE = 8  # codes are -8 to 7


@dataclass(frozen=True, slots=True)
class PackNibbles(Transform):
    """Codes `int8[..., columns]` packed to `u8[..., columns / 2]`."""

    operation: ClassVar[str] = "pack nibbles"
    codes: LazyArray

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Make twice as many columns and pack them.

        Raises:
            GrokpackError: GP306 if a code needs more than four bits.
        """
        start, shape = (*box.start[:-1], 2 * box.start[-1]), (*box.shape[:-1], 2 * box.shape[-1])
        made = self.codes.make(Box(start, shape), reader)
        codes = np.ascontiguousarray(made).view(np.uint8)
        if ((codes + np.uint8(_MIDDLE)) & _HIGH).any():
            what = "codes with zero points need more than the four bits that are packed"
            raise GrokpackError("GP306", what, Place(self.inputs[0]))
        packed: np.ndarray = (codes[..., ::2] & _LOW) | (codes[..., 1::2] << 4)
        return packed

    def describe(self) -> list[object]:
        """Return `["pack nibbles", array]` for a copy of an array, and likewise for others."""
        return [self.operation, *self.codes.describe()[1:]]


@dataclass(frozen=True, slots=True)
class Nibbles(Transform):
    """Codes, `int8[..., in, out]`, of an array of packed pairs."""

    operation: ClassVar[str] = "nibbles"
    packed: LazyArray

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Unpack the bytes that the box meets."""
        low, high = box.start[-1] // 2, -(-box.stop[-1] // 2)
        part = Box((*box.start[:-1], low), (*box.shape[:-1], high - low))
        octets = self.packed.make(part, reader)
        codes = np.empty((*octets.shape[:-1], 2 * octets.shape[-1]), np.uint8)
        codes[..., ::2], codes[..., 1::2] = octets << 4, octets & _HIGH
        skip = box.start[-1] - 2 * low
        signed = codes[..., skip : skip + box.shape[-1]].view(np.int8) >> 4
        return signed.view(np.uint8)

    @property
    def decodes(self) -> bool:
        """True if the packed pairs are decoded."""
        return self.packed.decodes

    def locate(self, index: Shape) -> str | None:
        """Return the file that holds a code; None if not known."""
        return self.packed.locate((*index[:-1], index[-1] // 2))
