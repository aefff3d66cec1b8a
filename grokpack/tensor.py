"""What a tensor is, not where it is: dtypes, arrays, and weights with their scales."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]


class DType(Enum):
    """An element type, named as safetensors names it."""

    U8 = "U8"  # bytes of blocks: GGUF's quantised types
    I8 = "I8"
    I32 = "I32"  # words of packed codes
    I64 = "I64"  # shapes, beside packed codes
    BF16 = "BF16"
    F16 = "F16"
    F32 = "F32"

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return {"U8": 1, "I8": 1, "BF16": 2, "F16": 2, "F32": 4, "I32": 4, "I64": 8}[self.value]

    @property
    def label(self) -> str:
        """The name that people use: int8, bf16, f16, f32."""
        labels = {"U8": "blocks", "I8": "int8", "I32": "packed", "I64": "int64"}
        return labels.get(self.value, self.value.lower())

    def numpy(self) -> np.dtype[Any]:
        """The little-endian numpy dtype; bfloat16 comes from ml_dtypes."""
        import numpy as np

        if self is DType.BF16:
            import ml_dtypes

            wide: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
            return wide
        plain: np.dtype[Any] = np.dtype(
            {
                "U8": "u1",
                "I8": "i1",
                "I32": "<i4",
                "I64": "<i8",
                "F16": "<f2",
                "F32": "<f4",
            }[self.value]
        )
        return plain


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
        scales: For a quantised weight `bf16[expert, group, out]`: group `g` of `G` holds for
            input rows `g*in/G` to `(g+1)*in/G`. None for a plain array.
    """

    name: str
    values: ArraySpec
    scales: ArraySpec | None = None

    def arrays(self) -> dict[str, ArraySpec]:
        """The arrays that store this tensor, by name; scales are `<name>/scales`."""
        stored = {self.name: self.values}
        if self.scales is not None:
            stored[scales_name(self.name)] = self.scales
        return stored


def scales_name(tensor: str) -> str:
    """The name of the array that holds the scales of `tensor`."""
    return f"{tensor}/scales"
