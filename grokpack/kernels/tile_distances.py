"""Distances between two tiles of weights, and the part that their formats allow.

Tiles are `f32[in, out]`, and dense where nothing else is said.
"""

from __future__ import annotations

import numpy as np

from grokpack.core.arrays import contiguous

OFF_STEP = np.float32(0.02)
"""Fraction of a step from a whole multiple beyond which a distance is no multiple."""
_EXPONENT = np.uint32(0x7F800000)


def measure(
    one: np.ndarray,
    other: np.ndarray,
    steps: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    factors: np.ndarray,
    least: np.ndarray,
    sums: np.ndarray,
) -> tuple[int, int, int]:
    """Fill sums for each column, and return counts.

    A value at an end of its group's range stands for whatever lies further out: a search for the
    scale with the least error cuts that off. So such a value may be any distance away.

    Args:
        one: A tile, which lies row by row or column by column; its lines are dense.
        other: Its counterpart, which may lie otherwise.
        steps: Distances that steps of codes of either side allow, `f32[group, out]`; `f32[0, out]`
            of a side without codes.
        groups: The group of each input, on either side, `i64[2, in]`; they begin at zero and none
            is left out.
        factors: Error that rounding either side allows, relative to the power of two below a value,
            `f32[2]`; zero if it was not rounded.
        least: The least such error, `f32[2]`.
        sums: Filled for each column, `f32[5, out]`: sums of squares of the first tile, of
            differences, of the first's and of the other's rounding errors, and the largest
            difference. A number on one side only is an infinite difference.

    Returns:
        The number of unequal values, and of those further apart than allowed; the position of the
        first of these, counted row by row, or -1.
    """
    one, other = row_major(one), row_major(other)  # sums are in the order of rows
    errors = _distances(one, other)
    allowed = np.zeros_like(one)
    sums[...] = 0
    for own, group in zip(steps, groups, strict=True):
        if own.size:
            allowed += own[group]
    for at, side in enumerate((one, other)):
        if factors[at]:
            powers = (side.view(np.uint32) & _EXPONENT).view(np.float32)
            rounding = np.maximum(powers * factors[at], least[at])
            allowed += rounding
            np.add.reduce(rounding * rounding, axis=0, out=sums[2 + at])
    for at, values in enumerate((one, errors)):
        np.add.reduce(values * values, axis=0, out=sums[at])
    np.maximum.reduce(errors, axis=0, out=sums[4])
    for at, pair in enumerate(((one, other), (other, one))):
        if steps[at].size:
            allowed[_clipped(*pair, groups[at])] = np.inf
    beyond = np.flatnonzero(~((errors <= allowed) & (errors < np.inf)))
    first = int(beyond[0]) if beyond.size else -1
    return int(np.count_nonzero(errors)), int(beyond.size), first


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return absolute differences; zero for equal infinities, and if neither is a number."""
    errors: np.ndarray = np.abs(one - other)
    errors[np.isnan(errors)] = np.inf
    errors[(one == other) | (np.isnan(one) & np.isnan(other))] = 0
    return errors


def _clipped(values: np.ndarray, wanted: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mark values at an end of their group's range whose counterparts lie further out."""
    edges = np.flatnonzero(np.diff(group, prepend=-1))
    top, bottom = (end.reduceat(values, edges, axis=0)[group] for end in (np.fmax, np.fmin))
    found: np.ndarray = ((values >= top) & (wanted > top)) | (
        (values <= bottom) & (wanted < bottom)
    )
    return found


def least_distances(values: np.ndarray, block: int, out: np.ndarray) -> None:
    """Fill the least distance of two unequal values of each block.

    Values of codes are whole steps apart. The least distance from any one value is therefore the
    least of all, if every other distance from that value is a multiple of it; otherwise all are
    compared.

    Args:
        values: A tile; blocks follow each other down a column.
        block: Values of a block; the number of inputs is a multiple.
        out: Filled with the distances, `f32[in / block, out]`; infinite where all values are equal.
    """
    blocks = values.reshape(-1, block, values.shape[1])
    nearest_zero = np.abs(blocks).argmin(axis=1)[:, None]
    distances = np.abs(blocks - np.take_along_axis(blocks, nearest_zero, axis=1))
    out[...] = np.where(distances > 0, distances, np.float32(np.inf)).min(axis=1)
    ratios = distances * (1 / out[:, None])
    doubtful = ~(np.abs(ratios - np.rint(ratios)) < OFF_STEP).all(axis=1)
    apart = np.diff(np.sort(blocks.swapaxes(1, 2)[doubtful], axis=1), axis=1)
    out[doubtful] = np.where(apart > 0, apart, np.float32(np.inf)).min(axis=1, initial=np.inf)


def row_major(tile: np.ndarray) -> np.ndarray:
    """Return a tile dense and row by row, without a copy where it is.

    Args:
        tile: A tile, which lies row by row or column by column; its lines are dense.
    """
    return contiguous(tile)
