"""Passes over blocks of two tiles without steps, for `tile_distances.measure`.

A block is 16 rows of 64 columns. Its values go through registers once, straight from the tiles:
only those of a tile that lies `[out, in]` are transposed on the way, into an array in the
first-level cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._vectors.float_transposition import SIDE, transpose_square
from grokpack.kernels.compiled._vectors.float_vectors import (
    LANES,
    all_of,
    choose,
    count_of,
    fill,
    magnitude,
    power_below,
    store,
    vector,
)

if TYPE_CHECKING:
    from grokpack.kernels.compiled._vectors.float_vectors import Floats

BLOCK_ROWS = 16
BLOCK_COLUMNS = 64
BLOCK_SUMS = 2 * BLOCK_ROWS * BLOCK_COLUMNS
"""Place of five rows in the work array, behind a block of either tile: the sums of each column."""
WORK_SIZE = BLOCK_SUMS + 5 * BLOCK_COLUMNS

_SQUARES, _ERRORS, _OURS, _THEIRS, _LARGEST = (BLOCK_SUMS + i * BLOCK_COLUMNS for i in range(5))
_NIL, _INFINITE = np.float32(0), np.float32(np.inf)


@inner
def transpose_block(lines: np.ndarray, start: int, pitch: int, side: int, work: np.ndarray) -> None:
    """Transpose the block of a tile that lies `[out, in]`.

    Args:
        lines: The tile.
        start: Position of the block's first value.
        pitch: Distance of lines.
        side: 0 for the first tile, 1 for the other.
        work: Filled with the block.
    """
    to = side * BLOCK_ROWS * BLOCK_COLUMNS
    for c in range(0, BLOCK_COLUMNS, SIDE):
        for r in range(0, BLOCK_ROWS, SIDE):
            transpose_square(
                lines, start + c * pitch + r, pitch, work, to + r * BLOCK_COLUMNS + c, BLOCK_COLUMNS
            )


@inner
def compare_block(
    tiles: tuple[np.ndarray, np.ndarray],
    places: tuple[int, int, int, int],
    roundings: tuple[np.ndarray, np.ndarray],
    work: np.ndarray,
) -> int:
    """Add a block to the sums of its columns.

    Args:
        tiles: Arrays that hold the block of either tile.
        places: Position of the first's first value, distance of its rows; those of the other.
        roundings: Factors and least errors, as in `tile_distances.measure`.
        work: Whose sums are added to.

    Returns:
        The number of unequal values, or -1 if some are further apart than roundings allow.
    """
    (one, other), (start, pitch, beside, step), count = tiles, places, 0
    factors, least = roundings
    nil, infinite = fill(_NIL), fill(_INFINITE)
    factor, lowest = fill(factors[0]), fill(least[0])
    its_factor, its_lowest = fill(factors[1]), fill(least[1])
    inside = nil == nil  # noqa: PLR0124  # True in each lane
    for lane in range(0, BLOCK_COLUMNS, LANES):
        squares, errors = vector(work, _SQUARES + lane), vector(work, _ERRORS + lane)
        ours, theirs = vector(work, _OURS + lane), vector(work, _THEIRS + lane)
        largest = vector(work, _LARGEST + lane)
        for i in range(BLOCK_ROWS):
            a = vector(one, start + i * pitch + lane)
            b = vector(other, beside + i * step + lane)
            apart = magnitude(a - b)
            equal = (a == b) | ((a != a) & (b != b))  # noqa: PLR0124  # NaN
            error = choose(equal, nil, choose(apart == apart, apart, infinite))  # noqa: PLR0124
            count += LANES - count_of(equal)
            squares += a * a
            errors += error * error
            largest = choose(error > largest, error, largest)
            rounding = _rounding(a, factor, lowest)
            ours += rounding * rounding
            its = _rounding(b, its_factor, its_lowest)
            theirs += its * its
            inside &= (error <= rounding + its) & (error < infinite)
        store(squares, work, _SQUARES + lane)
        store(errors, work, _ERRORS + lane)
        store(ours, work, _OURS + lane)
        store(theirs, work, _THEIRS + lane)
        store(largest, work, _LARGEST + lane)
    return count if all_of(inside) else -1


@inner
def _rounding(values: Floats, factor: Floats, lowest: Floats) -> Floats:
    """Return the errors that a rounding allows; none where the factor is zero."""
    nil = fill(_NIL)
    error = power_below(values) * factor
    return choose(factor != nil, choose(error > lowest, error, lowest), nil)
