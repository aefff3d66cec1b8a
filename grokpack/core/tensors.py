"""Tensors: dtypes, array shapes, and weights with their scales, independent of any file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]


class DType(Enum):
    """Element type, by its name in safetensors."""

    U8 = "U8"  # bytes of GGUF's quantized blocks
    I8 = "I8"
    I32 = "I32"  # words of packed codes
    I64 = "I64"  # shapes, beside packed codes
    F8_E4M3 = "F8_E4M3"  # codes and scales; no infinities, NaN in 0x7F and 0xFF
    F8_E5M2 = "F8_E5M2"
    F8_E8M0 = "F8_E8M0"  # scales: powers of two
    BF16 = "BF16"
    F16 = "F16"
    F32 = "F32"

    @cached_property
    def itemsize(self) -> int:
        """Bytes per element."""
        return _ITEMSIZES.get(self.value, 1)

    @property
    def label(self) -> str:
        """Name for people: int8, bf16, f16, f32, fp8."""
        return _LABELS.get(self.value, self.value.lower())

    def numpy(self) -> np.dtype[Any]:
        """Return the little-endian numpy dtype; those that numpy lacks come from ml_dtypes."""
        import numpy as np

        if self.value in _PLAIN:
            plain: np.dtype[Any] = np.dtype(_PLAIN[self.value])
            return plain
        import ml_dtypes

        other: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _OTHERS[self.value]))
        return other


_ITEMSIZES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "I64": 8}  # all others are bytes
_LABELS = {
    "U8": "blocks",
    "I8": "int8",
    "I32": "packed",
    "I64": "int64",
    "F8_E4M3": "fp8",
    "F8_E5M2": "fp8 (e5m2)",
}
_PLAIN = {"U8": "u1", "I8": "i1", "I32": "<i4", "I64": "<i8", "F16": "<f2", "F32": "<f4"}
_OTHERS = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Shape and dtype of one array."""

    shape: Shape
    dtype: DType

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array, densely packed."""
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One parameter of the model: a plain array, or a weight with scales.

    Attributes:
        name: xAI's own parameter name, `transformer/decoder_layer_4/moe/linear_v/w`.
        values: The weight or the plain array, for example `int8[expert, in, out]`.
        scales: For a quantized weight `bf16[expert, group, out]`: group `g` of `G` holds for
            input rows `g*in/G` to `(g+1)*in/G`. None for a plain array.
    """

    name: str
    values: ArraySpec
    scales: ArraySpec | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, ArraySpec]:
        """Return the arrays that store this tensor, by name; scales are `<name>/scales`."""
        stored = {self.name: self.values}
        if self.scales is not None:
            stored[scales_name(self.name)] = self.scales
        return stored


@dataclass(frozen=True, slots=True)
class Packing:
    """A weight stored as unsigned codes, packed into bytes.

    A weight is `(code - zero) * scale`.

    Attributes:
        name: xAI's own parameter name.
        bits: Bits of a code, 4 or 8.
        codes: `u8[..., in * bits / 8, out]`; of two inputs in a byte the first has the low half.
        scales: `[..., group, out]`.
        zeros: Zero points, `u8[..., group, out]`; None where all are 2^(bits - 1), the middle.
        symmetric: True if the stored zero points are declared to be all in the middle.
    """

    name: str
    bits: int
    codes: ArraySpec
    scales: ArraySpec
    zeros: ArraySpec | None = None
    symmetric: bool = field(default=False, compare=False)

    @property
    def shape(self) -> Shape:
        """Shape of the weight, `[..., in, out]`."""
        *lead, rows, outputs = self.codes.shape
        return (*lead, rows * 8 // self.bits, outputs)

    @property
    def per_group(self) -> int:
        """Number of inputs that share a scale."""
        return self.shape[-2] // self.scales.shape[-2]

    @property
    def centred(self) -> bool:
        """True if codes minus zero points fit int8; 8-bit codes do only with zero point 128."""
        return self.bits < DType.I8.itemsize * 8 or self.zeros is None

    @property
    def tensor(self) -> TensorSpec:
        """The tensor that it decodes to: int8 codes with scales, or float32 beyond int8."""
        if self.centred:
            return TensorSpec(self.name, ArraySpec(self.shape, DType.I8), self.scales)
        return TensorSpec(self.name, ArraySpec(self.shape, DType.F32))

    def arrays(self) -> dict[str, ArraySpec]:
        """Return the arrays that store it, by name."""
        stored = {codes_name(self.name): self.codes, scales_name(self.name): self.scales}
        if self.zeros is not None:
            stored[zeros_name(self.name)] = self.zeros
        return stored


@dataclass(frozen=True, slots=True)
class FloatPacking:
    """A weight stored as codes that are floats themselves, with a scale for each block of them.

    It is read as float32: a code's value times its scale.

    Attributes:
        name: xAI's own parameter name.
        codes: `[..., in, out]`.
        scales: `[..., in, out]`, one for each block.
        block: Inputs and outputs of a block; those at the edges may have fewer.
    """

    name: str
    codes: ArraySpec
    scales: ArraySpec
    block: tuple[int, int]

    @property
    def tensor(self) -> TensorSpec:
        """The tensor that it decodes to."""
        return TensorSpec(self.name, ArraySpec(self.codes.shape, DType.F32))


SCALES_SUFFIX = "/scales"


def scales_name(tensor: str) -> str:
    """Return the name of the array that holds the scales of `tensor`."""
    return tensor + SCALES_SUFFIX


def codes_name(tensor: str) -> str:
    """Return the name of the array that holds the unsigned codes of `tensor`."""
    return f"{tensor}/codes"


def zeros_name(tensor: str) -> str:
    """Return the name of the array that holds the zero points of `tensor`."""
    return f"{tensor}/zeros"
