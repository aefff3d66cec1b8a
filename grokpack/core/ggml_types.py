"""Types of tensors in GGUF: the one table that reader, writer, quantizer and `--type` go by.

Numbers and sizes are ggml's (ggml.h, ggml-common.h), numbers of files llama.cpp's (llama.h). The
kernels of a type of blocks are in `kernels.block_kernels`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from grokpack.core.tensors import DType


class GGMLType(IntEnum):
    """A type of tensors that grokpack handles; its value is ggml's number.

    Attributes:
        file_type: Number of a file that has this type throughout; for Q4_K that is Q4_K_S.
        weights: Weights of a block; 1 where each stands alone.
        nbytes: Bytes of a block.
        bits: Bits of a code; None in floating point.
    """

    file_type: int
    weights: int
    nbytes: int
    bits: int | None

    F32 = (0, 0, 1, 4, None)
    F16 = (1, 1, 1, 2, None)
    BF16 = (30, 32, 1, 2, None)
    Q4_0 = (2, 2, 32, 18, 4)
    Q4_1 = (3, 3, 32, 20, 4)
    Q4_K = (12, 14, 256, 144, 4)
    Q8_0 = (8, 7, 32, 34, 8)

    def __new__(
        cls, number: int, file_type: int, weights: int, nbytes: int, bits: int | None
    ) -> Self:
        """Make a member of its row of the table."""
        own = int.__new__(cls, number)
        own._value_ = number
        own.file_type, own.weights, own.nbytes, own.bits = file_type, weights, nbytes, bits
        return own

    @classmethod
    def numbered(cls, number: int) -> GGMLType | None:
        """The type that has ggml's number; None for one that grokpack does not handle."""
        return next((kind for kind in cls if kind == number), None)

    @property
    def word(self) -> str:
        """Name as `--type` takes it: `q4_0`."""
        return self.name.lower()

    @property
    def stored(self) -> DType:
        """Dtype of a stored array; rows of blocks are bytes."""
        return DType[self.name] if self.bits is None else DType.U8


KEEPING = {kind.word: kind for kind in (GGMLType.Q8_0, GGMLType.BF16, GGMLType.F16, GGMLType.F32)}
"""Types that `convert` writes: nothing is quantized anew, int8 codes go into Q8_0 as they are."""

QUANTIZING = {kind.word: kind for kind in GGMLType if kind.bits is not None}
"""Types that `quantize` writes; the first of so many bits is the usual one."""


def default_type(bits: int) -> GGMLType:
    """The type of blocks of so many bits where none is named."""
    return next(kind for kind in QUANTIZING.values() if kind.bits == bits)
