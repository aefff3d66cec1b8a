# min and max treat NaN differently from these comparisons
"""Strips of 64 columns for the compiled searches of IQ4.

A strip of a sub-block is copied before it is searched, row after row in one dimension: rows are
then at a constant distance, and LLVM makes vectors of the columns of several rows at once. What a
lane has once lies in one flat array, as in `_ggml.blocks_of_32`.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import allocate, inner
from grokpack.kernels.compiled._ggml.blocks_of_32 import ZERO, pick

WIDTH = 64
ROWS = 4  # rows of an unrolled loop; sub-blocks have multiples of them
FOUR = ROWS * WIDTH  # their values
_HIGHEST = 32  # rows of a sub-block

# Lanes of a search: values of its weights, the multiplier that is tried, what is kept, and sums.
FAR, TRY, KEPT, SCALE, BEST, SUM, SUM_2 = 0, 64, 128, 192, 256, 320, 384
NEXT, NEXT_2, NEXT_3 = 448, 512, 576
"""Lanes for what is chosen between a trial and what is kept. Stored over what is kept, it would
become a masked store, which takes ten times as long on some processors."""
_LANES = 640
_PAGE = 1024  # values


def scratch() -> tuple[np.ndarray, ...]:
    """Allocate weights of a sub-block, what their errors count, products, codes, and lanes."""
    return apart(5, max(_HIGHEST * WIDTH, _LANES))


def apart(count: int, size: int) -> tuple[np.ndarray, ...]:
    """Allocate arrays of float32 that are walked side by side.

    Each begins a quarter of a page before the last one's place in its page. A load that runs ahead
    of a store to the same place in another page waits for it: processors compare those bits first.
    """
    pitch = -(-size // _PAGE) * _PAGE + 3 * _PAGE // 4
    return tuple(row[:size] for row in allocate((count, pitch), np.float32))


@inner
def load(source: np.ndarray, left: int, to: np.ndarray) -> int:
    """Copy a strip of a sub-block; return its width."""
    width: int = min(WIDTH, source.shape[1] - left)
    for r in range(len(source)):
        line = to[r * WIDTH : r * WIDTH + WIDTH]
        for c in range(width):
            line[c] = source[r, left + c]
    return width


@inner
def find_farthest(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the first value of largest magnitude in each column; skip NaN."""
    for c in range(WIDTH):
        lanes[FAR + c] = ZERO
    for at in range(0, len(x), FOUR):
        rows = x[at : at + FOUR]
        for c in range(WIDTH):
            far = lanes[FAR + c]
            for i in range(ROWS):
                v = rows[i * WIDTH + c]
                far = pick(abs(v) > abs(far), v, far)
            lanes[FAR + c] = far
