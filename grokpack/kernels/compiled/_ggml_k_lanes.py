# min and max treat NaN differently from these comparisons
"""Strips of 64 columns and rounding to codes, for the compiled searches of K-quants.

A strip is copied before it is searched. What a lane has once lies in one flat array, as in
`_ggml_blocks_of_32`.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml_blocks_of_32 import MAGIC, ZERO, F, I, Scalar, pick

WIDTH = 64
_ROWS = 32  # of the largest sub-block

# Lanes of a search: values of its weights, the multiplier that is tried, and what is kept.
FAR, LOW, HIGH, TRY, KEPT, BASE = 0, 64, 128, 192, 256, 320
SCALE, LEAST, BEST, FOUND, KEPT_SCALE = 384, 448, 512, 576, 640
SUM, SUM_2, SUM_3, SUM_W, SUM_X = 704, 768, 832, 896, 960
_LANES = 1024


def scratch() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Allocate weights of a sub-block, what their errors count, their codes, and lanes."""
    x, w, k = (np.zeros((_ROWS, WIDTH), np.float32) for _ in range(3))
    return x, w, k, np.zeros(_LANES, np.float32)


@inner
def nearest(y: Scalar) -> Scalar:
    """Round like ggml's `nearest_int`; NaN becomes 0."""
    bits = F(y + MAGIC).view(np.int32)
    whole = I(I(bits & I(0x7FFFFF)) - I(0x400000))
    return whole if y == y else I(0)  # noqa: PLR0124  # false for NaN alone


@inner
def code(y: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Round to a code within bounds, as float32."""
    whole = max(low, nearest(y))
    return F(min(high, whole))


@inner
def load(source: np.ndarray, left: int, to: np.ndarray) -> int:
    """Copy a strip of a sub-block; return its width."""
    width: int = min(WIDTH, source.shape[1] - left)
    for r in range(len(source)):
        for c in range(width):
            to[r, c] = source[r, left + c]
    return width


@inner
def find_farthest(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the first value of largest magnitude in each column; skip NaN."""
    for c in range(WIDTH):
        lanes[FAR + c] = ZERO
    for r in range(len(x)):
        line = x[r]
        for c in range(WIDTH):
            far, v = lanes[FAR + c], line[c]
            lanes[FAR + c] = pick(abs(v) > abs(far), v, far)
