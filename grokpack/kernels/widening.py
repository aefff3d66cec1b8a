"""Weights of bfloat16 that lie output by output, as quantizers take them: float32, by inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.kernels.float_casts import widen_bf16

if TYPE_CHECKING:
    import numpy as np

_STRIP = 64  # columns: whole cache lines of the output


def widen_transposed(bits: np.ndarray, out: np.ndarray) -> None:
    """Fill `out f32[in, column]` with the values of `bits u16[column, in]`, both contiguous."""
    for first in range(0, len(bits), _STRIP):
        part = slice(first, first + _STRIP)
        out[:, part] = widen_bf16(bits[part]).T
