"""Transposed bfloat16, compiled: the twin of `grokpack.kernels.widening`.

Rows of the output lie on pages of their own, of which a processor finds some dozens at once. A
band of `_BAND` inputs is therefore made for all columns before the next one.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._vectors.byte_copies import LINE, prefetch
from grokpack.kernels.compiled._vectors.float_transposition import SIDE, widen_square

_BAND = 64  # inputs: two cache lines of each column
_COLUMNS = 16  # one cache line of each row of the output
_BYTES = 2
_HALF = np.uint32(16)


def widen_transposed(bits: np.ndarray, out: np.ndarray) -> None:
    """Call the compiled twin of `widening.widen_transposed`."""
    _widen_transposed(bits, out, out.view(np.uint32))


@compiled
def _widen_transposed(bits: np.ndarray, out: np.ndarray, words: np.ndarray) -> None:
    columns, inputs = bits.shape
    squares = columns - columns % SIDE
    for top in range(0, inputs, _BAND):
        bottom = min(top + _BAND, inputs)
        rows = bottom - (bottom - top) % SIDE
        _turn_squares(bits, (top, rows, squares), out)
        for r in range(top, bottom):
            for c in range(squares if r < rows else 0, columns):
                words[r, c] = np.uint32(np.uint32(bits[c, r]) << _HALF)


@inner
def _turn_squares(bits: np.ndarray, place: tuple[int, int, int], out: np.ndarray) -> None:
    """Make whole squares: first input, input past the last, columns."""
    top, bottom, columns = place
    inputs, pitch = bits.shape[1], len(bits)
    for left in range(0, columns, _COLUMNS):
        right = min(left + _COLUMNS, columns)
        for c in range(left + _COLUMNS, right + _COLUMNS):  # which are next
            for n in range(0, _BAND * _BYTES, LINE):
                prefetch(bits, (c * inputs + top) * _BYTES + n)
        for r in range(top, bottom, SIDE):
            for c in range(left, right, SIDE):
                widen_square(bits, c * inputs + r, inputs, out, r * pitch + c, pitch)
