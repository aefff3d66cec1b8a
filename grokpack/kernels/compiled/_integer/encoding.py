"""Encoding of a group: packed codes, and sums of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._integer.encoding_vectors import encode_bytes, encode_words
from grokpack.kernels.compiled._integer.lanes import BLOCK
from grokpack.kernels.compiled._vectors.byte_copies import LINE, copy, copy_line

if TYPE_CHECKING:
    import numpy as np

CHOICE_ROWS = 5
"""Rows of the array that `encode` takes and fills: step; zero point as a signed code; sums of x*x,
e*e and x*e."""
BLOCKS = 16
"""Blocks that are encoded before their codes are copied."""
_ROWS = 8  # of a block


@inner
def encode(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    source: tuple[int, int, int, int],
    bits: int,
    work: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    out: np.ndarray,
    goal: tuple[int, int, int],
    raw: np.ndarray,
    ahead: tuple[int, int],
) -> None:
    """Write the codes of a group, and sum its errors.

    Args:
        values: `f32[row * LANES]`, or `i8` to be multiplied by scales.
        scales: `f32[source group, all columns]`, ones for values in float32.
        source: First input and column of the group; columns, at most `LANES`; inputs that share a
            scale, a multiple of eight as the first input is.
        bits: 4 or 8.
        work: `f32[CHOICE_ROWS * LANES]`; `i32[2 * LANES]`, filled with codes at either end and
            values that became zero; scratch, `f32[LANES]` and `u8[BLOCKS * BLOCK]`.
        out: All codes, as bytes.
        goal: Offset of the group's first code; bytes of a row; bytes of these columns.
        raw: All values, as bytes.
        ahead: Offset of the next group's values; bytes of a row. They are prefetched.
    """
    choice, tally, scale, codes = work
    to, step, width = goal
    first, blocks = 0, len(values) // BLOCK
    while first < blocks:
        count = min(BLOCKS, blocks - first, _take_scale(scales, source, first, scale))
        at, next_ = first * BLOCK * values.itemsize, ahead[0] + _ROWS * first * ahead[1]
        if bits == 4:  # noqa: PLR2004
            encode_words(values, at, count, scale, choice, tally, codes, raw, next_, ahead[1])
        else:
            encode_bytes(values, at, count, scale, choice, tally, codes, raw, next_, ahead[1])
        own = to + first * (1 if bits == 4 else _ROWS) * step  # noqa: PLR2004
        _write(codes, bits, count, out, (own, step, width))
        first += count


@inner
def _take_scale(
    scales: np.ndarray, source: tuple[int, int, int, int], block: int, scale: np.ndarray
) -> int:
    """Copy the scales of a block of a group, and return the number of blocks they hold for."""
    row, column, width, per_group = source
    row += _ROWS * block
    number = row // per_group
    own = scales[number, column : column + width]
    for lane in range(width):
        scale[lane] = own[lane]
    return ((number + 1) * per_group - row) // _ROWS


@inner
def _write(
    codes: np.ndarray, bits: int, count: int, out: np.ndarray, goal: tuple[int, int, int]
) -> None:
    """Copy the codes of some blocks to where they belong."""
    to, step, width = goal
    rows, lines = (1, 4) if bits == 4 else (_ROWS, 1)  # noqa: PLR2004
    for row in range(count * rows):
        own, at = to + row * step, row * lines * LINE
        if width == lines * LINE:
            for i in range(lines):
                copy_line(codes, at + i * LINE, out, own + i * LINE)
        else:
            copy(codes, at, out, own, width)
