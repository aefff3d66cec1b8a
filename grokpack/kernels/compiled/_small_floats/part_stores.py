"""Stores of the bytes that a part of a matrix became, 128 columns side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._small_floats.magnitudes import LANES
from grokpack.kernels.compiled._vectors.byte_copies import LINE, copy, copy_line
from grokpack.kernels.compiled._vectors.byte_transposition import SIDE, transpose_square

if TYPE_CHECKING:
    import numpy as np

PART = 128
"""Most rows of bytes of a part."""


@inner
def put(octets: np.ndarray, out: np.ndarray, goal: tuple[int, int, int, int]) -> None:
    """Copy a part, `u8[PART * LANES]`, to the output: offset, pitch, rows and columns are given."""
    to, pitch, rows, columns = goal
    for i in range(rows):
        if columns == LANES:
            for n in range(0, LANES, LINE):
                copy_line(octets, i * LANES + n, out, to + i * pitch + n)
        else:
            copy(octets, i * LANES, out, to + i * pitch, columns)


@inner
def put_turned(
    octets: np.ndarray,
    tile: np.ndarray,
    out: np.ndarray,
    goal: tuple[int, int, int, int],
    runs: tuple[int, int],
) -> None:
    """Copy the columns of a part to rows of the output.

    Args:
        octets: The part, `u8[PART * LANES]`.
        tile: Scratch, `u8[SIDE * PART]`.
        out: The output, as bytes.
        goal: Offset and pitch in it; rows and columns of the part.
        runs: Bytes of a column that lie side by side in the output, and their pitch.
    """
    to, pitch, rows, columns = goal
    run, step = runs
    for c in range(0, columns, SIDE):
        for r in range(0, rows, SIDE):
            transpose_square(octets, r * LANES + c, LANES, tile, r, PART)
        for k in range(min(SIDE, columns - c)):
            at = to + (c + k) * pitch
            if run == PART:
                for n in range(0, PART, LINE):
                    copy_line(tile, k * PART + n, out, at + n)
            else:
                for n in range(0, rows, run):
                    copy(tile, k * PART + n, out, at + n // run * step, run)
