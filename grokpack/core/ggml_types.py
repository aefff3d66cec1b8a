"""Types of tensors in GGUF: the one table that reader, writer, quantizer and `--type` go by.

Numbers and sizes are ggml's (ggml.h, ggml-common.h), numbers of files llama.cpp's (llama.h). The
kernels of a type of blocks are in `kernels.block_kernels`; types without kernels there are read by
llama.cpp's own `gguf` package.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, Self

from grokpack.core.tensors import DType


class GGMLType(IntEnum):
    """A type of tensors that grokpack handles; its value is ggml's number.

    Attributes:
        file_type: Number of a file that has this type throughout; for Q4_K that is Q4_K_S.
        weights: Weights of a block; 1 where each stands alone.
        nbytes: Bytes of a block.
        bits: Bits of a code, rounded to whole ones; None in floating point.
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
    Q5_0 = (6, 8, 32, 22, 5)
    Q5_1 = (7, 9, 32, 24, 5)
    Q2_K = (10, 10, 256, 84, 2)
    Q3_K = (11, 11, 256, 110, 3)
    Q5_K = (13, 16, 256, 176, 5)
    Q6_K = (14, 18, 256, 210, 6)
    IQ4_NL = (20, 25, 32, 18, 4)
    IQ4_XS = (23, 30, 256, 136, 4)
    IQ1_S = (19, 24, 256, 50, 1)
    IQ1_M = (29, 31, 256, 56, 1)
    IQ2_XXS = (16, 19, 256, 66, 2)
    IQ2_XS = (17, 20, 256, 74, 2)
    IQ2_S = (22, 28, 256, 82, 2)
    IQ3_XXS = (18, 23, 256, 98, 3)
    IQ3_S = (21, 26, 256, 110, 3)
    TQ1_0 = (34, 36, 256, 54, 2)
    TQ2_0 = (35, 37, 256, 66, 2)
    MXFP4 = (39, 38, 32, 17, 4)
    NVFP4 = (40, 39, 64, 36, 4)

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

QUANTIZING = {
    kind.word: kind
    for kind in (
        GGMLType.Q4_0,
        GGMLType.Q4_1,
        GGMLType.Q4_K,
        GGMLType.Q8_0,
        GGMLType.Q2_K,
        GGMLType.Q3_K,
        GGMLType.IQ4_NL,
        GGMLType.IQ4_XS,
        GGMLType.Q5_K,
        GGMLType.Q5_0,
        GGMLType.Q5_1,
        GGMLType.Q6_K,
        GGMLType.MXFP4,
    )
}
"""Types that `quantize` writes; the first of so many bits is the usual one."""


def default_type(bits: int) -> GGMLType:
    """The type of blocks of so many bits where none is named."""
    return next(kind for kind in QUANTIZING.values() if kind.bits == bits)


class Mix(NamedTuple):
    """A mix of types by llama.cpp's name, which gives some tensors more bits than most.

    Attributes:
        word: Name as `--type` takes it: `q4_k_m`.
        type: Type of most tensors.
        file_type: Number of such a file.
    """

    word: str
    type: GGMLType
    file_type: int


MIXES = {
    mix.word: mix
    for mix in (
        Mix("q2_k", GGMLType.Q2_K, 10),
        Mix("q3_k_s", GGMLType.Q3_K, 11),
        Mix("q3_k_m", GGMLType.Q3_K, 12),
        Mix("q3_k_l", GGMLType.Q3_K, 13),
        Mix("q4_k_s", GGMLType.Q4_K, 14),
        Mix("q4_k_m", GGMLType.Q4_K, 15),
        Mix("q5_k_s", GGMLType.Q5_K, 16),
        Mix("q5_k_m", GGMLType.Q5_K, 17),
        Mix("q6_k", GGMLType.Q6_K, 18),
        Mix("mxfp4", GGMLType.MXFP4, 38),
    )
}
"""Mixes that `quantize` writes; llama.cpp's `q2_k` and `q6_k` have the names of types. Its
MXFP4_MOE is `mxfp4`."""


def base_type(chosen: GGMLType | Mix) -> GGMLType:
    """The type itself, or that of most tensors in a mix."""
    return chosen.type if isinstance(chosen, Mix) else chosen


def bits_of(word: str | None) -> int:
    """The bits of a type or mix; 0 for no or an unknown one."""
    known = (QUANTIZING | MIXES).get(word or "")
    return 0 if known is None else base_type(known).bits or 0
