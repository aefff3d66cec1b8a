"""Distances between two tiles of weights, and the part that their formats allow.

Both tiles are `f32[row, column]`, dense, in the same orientation; rows may be outputs or inputs.
"""

from __future__ import annotations

import numpy as np

OFF_STEP = np.float32(0.02)
"""Fraction of a step from a whole multiple beyond which a distance is no multiple."""
_EXPONENT = np.uint32(0x7F800000)


def measure(
    one: np.ndarray,
    other: np.ndarray,
    steps: np.ndarray,
    factors: np.ndarray,
    least: np.ndarray,
    sums: np.ndarray,
) -> tuple[int, int]:
    """Fill sums for each column, and return counts.

    Args:
        one: A tile.
        other: Its counterpart.
        steps: Distances that steps of codes allow, `f32[row, column]`; `f32[0, 0]` without codes.
        factors: Error that rounding either side allows, relative to the power of two below a value,
            `f32[2]`; zero if it was not rounded.
        least: The least such error, `f32[2]`.
        sums: Filled for each column, `f32[5, column]`: sums of squares of the first tile, of
            differences, of the first's and of the other's rounding errors, and the largest
            difference; NaN is never the largest.

    Returns:
        The number of unequal values, and of those further apart than allowed; NaN is both.
    """
    errors = np.abs(one - other)
    allowed = steps.copy() if steps.size else np.zeros_like(one)
    sums[...] = 0
    for at, side in enumerate((one, other)):
        if factors[at]:
            powers = (side.view(np.uint32) & _EXPONENT).view(np.float32)
            rounding = np.maximum(powers * factors[at], least[at])
            allowed += rounding
            np.add.reduce(rounding * rounding, axis=0, out=sums[2 + at])
    for at, values in enumerate((one, errors)):
        np.add.reduce(values * values, axis=0, out=sums[at])
    np.fmax.reduce(errors, axis=0, initial=0, out=sums[4])
    within = int(np.count_nonzero(errors <= allowed))
    return int(np.count_nonzero(one != other)), one.size - within


def least_distances(lines: np.ndarray, block: int, out: np.ndarray) -> None:
    """Fill the least distance of two unequal values of each block.

    Values of codes are whole steps apart. The least distance from any one value is therefore the
    least of all, if every other distance from that value is a multiple of it; otherwise all are
    compared.

    Args:
        lines: Values, `f32[line, n]`, dense; blocks follow each other along a line.
        block: Values of a block; `n` is a multiple.
        out: Filled with the distances, `f32[line, n / block]`; infinite where all values are equal.
    """
    blocks = lines.reshape(len(lines), -1, block)
    nearest_zero = np.abs(blocks).argmin(axis=2)[..., None]
    distances = np.abs(blocks - np.take_along_axis(blocks, nearest_zero, axis=2))
    out[...] = np.where(distances > 0, distances, np.float32(np.inf)).min(axis=2)
    ratios = distances / out[..., None]
    doubtful = ~(np.abs(ratios - np.rint(ratios)) < OFF_STEP).all(axis=2)
    apart = np.diff(np.sort(blocks[doubtful], axis=1), axis=1)
    out[doubtful] = np.where(apart > 0, apart, np.float32(np.inf)).min(axis=1, initial=np.inf)
