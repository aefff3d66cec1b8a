"""Weights as the quantizers of blocks take them, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.kernels.float_casts import widen_bf16

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class BlockSource:
    """Codes or values and their scales, as `kernels.ggml` describes them."""

    values: np.ndarray
    scales: np.ndarray
    column: int
    per_group: int

    def blocks(self, height: int, columns: int) -> Iterator[np.ndarray]:
        """Yield weights in blocks of so many rows, `f32[height, column]`."""
        part = slice(self.column, self.column + columns)
        for row in range(0, len(self.values), height):
            groups = np.arange(row, row + height) // self.per_group
            x = as_f32(self.values[row : row + height, part])
            yield x * self.scales[groups][:, part]


def as_f32(values: np.ndarray) -> np.ndarray:
    """Convert codes, float32 or bits of bfloat16 to float32."""
    if values.dtype == np.uint16:
        return widen_bf16(values)
    return values.astype(np.float32, copy=False)
