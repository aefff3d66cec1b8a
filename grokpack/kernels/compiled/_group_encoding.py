"""Encoding of a group: packed codes, and sums of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._byte_copies import LINE, copy, copy_line
from grokpack.kernels.compiled._code_encoding import encode_bytes, encode_words
from grokpack.kernels.compiled._lanes import BLOCK

if TYPE_CHECKING:
    import numpy as np

CHOICE_ROWS = 5
"""Rows of the array that `encode` takes and fills: step; zero point as a signed code; sums of x*x,
e*e and x*e."""
BLOCKS = 16
"""Blocks that are encoded before their codes are copied."""


@inner
def encode(  # noqa: PLR0913, PLR0917
    group: np.ndarray,
    bits: int,
    choice: np.ndarray,
    tally: np.ndarray,
    codes: np.ndarray,
    out: np.ndarray,
    goal: tuple[int, int, int],
    raw: np.ndarray,
    ahead: tuple[int, int],
) -> None:
    """Write the codes of a group, and sum its errors.

    Args:
        group: `f32[row * LANES]`.
        bits: 4 or 8.
        choice: `f32[CHOICE_ROWS * LANES]`.
        tally: `i32[2 * LANES]`, filled with codes at either end, and values that became zero.
        codes: Scratch, `u8[BLOCKS * BLOCK]`.
        out: All codes, as bytes.
        goal: Offset of the group's first code; bytes of a row; bytes of these columns.
        raw: All values, as bytes.
        ahead: Offset of the next group's values; bytes of a row. They are prefetched.
    """
    to, step, width = goal
    rows, lines = (1, 4) if bits == 4 else (8, 1)  # noqa: PLR2004
    for first in range(0, len(group) // BLOCK, BLOCKS):
        count = min(BLOCKS, len(group) // BLOCK - first)
        at, next_ = first * BLOCK * 4, ahead[0] + 8 * first * ahead[1]
        if bits == 4:  # noqa: PLR2004
            encode_words(group, at, count, choice, tally, codes, raw, next_, ahead[1])
        else:
            encode_bytes(group, at, count, choice, tally, codes, raw, next_, ahead[1])
        for row in range(count * rows):
            own, at = to + (first * rows + row) * step, row * lines * LINE
            if width == lines * LINE:
                for i in range(lines):
                    copy_line(codes, at + i * LINE, out, own + i * LINE)
            else:
                copy(codes, at, out, own, width)
