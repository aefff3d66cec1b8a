"""Lazy arrays of weights in four-bit floats, as int8 codes with scales, exactly.

Levels of E2M1 are multiples of a half. A code is the level doubled, and its scale is half of the
stored one, so that the product is the weight as compressed-tensors decodes it in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.layout import Box
from grokpack.core.tensors import DType
from grokpack.kernels.fp4_blocks import DOUBLED
from grokpack.transforms.packed_words import split_bytes
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.transforms.array_source import ArraySource

_CODES = np.concatenate([DOUBLED, -DOUBLED]).view(np.uint8)
_BELOW_NORMAL, _NAN = (0x0020, 0x0040), 0x7FC0  # bits of bfloat16
_NO_NUMBER = 255  # of E8M0
_HALVES = np.array(
    [*_BELOW_NORMAL, *((byte - 1) << 7 for byte in range(2, _NO_NUMBER)), _NAN], np.uint16
)
"""Half of each power of two of E8M0, as bfloat16: `2 ** (byte - 128)`."""


@dataclass(frozen=True, slots=True)
class Fp4CodeColumns(Transform):
    """Doubled levels, `i8[in, out]`, of packed codes `u8[out, in / 2]`."""

    operation: ClassVar[str] = "fp4 levels"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Look up the codes of the bytes that the box meets."""
        (first, column), (last, end) = box.start, box.stop
        low, high = first // 2, -(-last // 2)
        octets = reader.read_ahead(self.array, Box((column, low), (end - column, high - low)))
        bits = split_bytes(octets.T)[first - 2 * low : last - 2 * low]
        codes: np.ndarray = _CODES[bits]
        return codes


@dataclass(frozen=True, slots=True)
class PowerScales(Transform):
    """Halved scales, `bf16[group, out]`, of powers of two in E8M0, `u8[out, group]`."""

    operation: ClassVar[str] = "power scales"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Look up half of each power of two of the box."""
        scales: np.ndarray = _HALVES[_transposed(self.array, box, reader)]
        return scales


@dataclass(frozen=True, slots=True)
class DividedScales(Transform):
    """Halved scales, `f32[group, out]`, of E4M3 numbers `[out, group]` and one for the matrix.

    Attributes:
        array: The E4M3 numbers.
        whole: The number of the matrix, `f32[1]` or `f32[]`.
        divides: True if scales are divided by it, False if they are multiplied.
        axes: Axes of the number: 0 or 1.
    """

    operation: ClassVar[str] = "divided scales"
    array: str
    whole: str
    divides: bool
    axes: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of both arrays."""
        return self.array, self.whole

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Divide or multiply the numbers of the box, and halve them."""
        octets = np.ascontiguousarray(_transposed(self.array, box, reader))
        numbers = octets.view(DType.F8_E4M3.numpy()).astype(np.float32)
        one = Box((0,) * self.axes, (1,) * self.axes)
        whole = np.ascontiguousarray(reader.read(self.whole, one)).view(np.float32).reshape(())
        with np.errstate(all="ignore"):  # checks of values find what is not finite
            scales = numbers / whole if self.divides else numbers * whole
            made: np.ndarray = (scales * np.float32(0.5)).view(np.uint32)
        return made


def _transposed(array: str, box: Box, reader: ArraySource) -> np.ndarray:
    (group, column), (stop, end) = box.start, box.stop
    return reader.read(array, Box((column, group), (end - column, stop - group))).T
