"""Passes over a block of two tiles, eight rows of 64 columns, for `tile_distances.measure`.

All that they touch lies in one array, in the form that `_integer.lanes` describes. A counter is
brought back to 32 bits after each addition: numba would count in 64, in half as many lanes.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._vectors.byte_copies import copy

LANES = 64
HEIGHT = 8
BLOCK = HEIGHT * LANES

_OURS, _APART, _ALLOWED = 0, 2 * BLOCK, 3 * BLOCK  # theirs come after ours
SUMS = 4 * BLOCK
"""Place of the first of five rows: the sums of `tile_distances.measure` for each lane."""
_ROUNDINGS, _LARGEST = SUMS + 2 * LANES, SUMS + 4 * LANES
STEP = SUMS + 5 * LANES
"""Place of the row of what steps of both sides' codes allow."""
_ENDS, _LINE = STEP + LANES, STEP + 5 * LANES  # least and largest of a group, for either side
SIZE = _LINE + LANES

_NIL, _INFINITE = np.float32(0), np.float32(np.inf)
_EXPONENT = np.uint32(0x7F800000)


@inner
def load(raw: np.ndarray, place: tuple[int, int, int, int], side: int, work: np.ndarray) -> None:
    """Copy a block of a tile; what lies beyond its last row or column becomes zero.

    Args:
        raw: The tile, as bytes.
        place: Offset of the first value; bytes of a row; rows, at most `HEIGHT`; bytes of a row of
            the block, at most those of `LANES` values.
        side: Whose tile it is: 0 for ours, 1 for theirs.
        work: Where the block lies.
    """
    at, pitch, height, width = place
    octets, to = work.view(np.uint8), 4 * side * BLOCK
    if (height == HEIGHT) & (width == 4 * LANES):
        for i in range(HEIGHT):
            copy(raw, at + i * pitch, octets, to + i * 4 * LANES, 4 * LANES)
        return
    for i in range(BLOCK):
        work[side * BLOCK + i] = _NIL
    for i in range(height):
        copy(raw, at + i * pitch, octets, to + i * 4 * LANES, width)


@inner
def compare(work: np.ndarray) -> int:
    """Fill absolute differences, add to the sums over them, and count unequal values."""
    count = np.uint32(0)
    for lane in range(LANES):
        squares, errors, largest = (
            work[SUMS + lane],
            work[SUMS + LANES + lane],
            work[_LARGEST + lane],
        )
        for i in range(HEIGHT):
            one, other = work[i * LANES + lane], work[BLOCK + i * LANES + lane]
            apart = np.abs(one - other)
            number = apart if apart >= _NIL else _INFINITE  # what is none compares with nothing
            equal = (one == other) | (np.isnan(one) & np.isnan(other))
            error = _NIL if equal else number
            count = np.uint32(count + np.uint32(not equal))
            squares += one * one
            errors += error * error
            largest = error if error > largest else largest  # noqa: FURB136
            work[_APART + i * LANES + lane] = error
        work[SUMS + lane], work[SUMS + LANES + lane], work[_LARGEST + lane] = (
            squares,
            errors,
            largest,
        )
    return int(count)


@inner
def allow_steps(
    steps: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    column: int,
    current: np.ndarray,
    work: np.ndarray,
) -> None:
    """Allow in a block what steps of codes do.

    Args:
        steps: Steps of either side, `f32[group, out]`.
        groups: The group of each row of the block, on either side.
        column: First column of the block.
        current: The groups whose steps `STEP` holds, which are updated.
        work: Where the block lies.
    """
    row = 0
    while row < groups.shape[1]:
        if groups[0, row] != current[0] or groups[1, row] != current[1]:
            current[0], current[1] = groups[0, row], groups[1, row]
            _add_steps(steps, current, column, work)
        if row:
            for at in range(row * LANES, BLOCK):
                work[_ALLOWED + at] = work[STEP + at % LANES]
        else:
            _allow_step(work)
        while (
            row < groups.shape[1] and groups[0, row] == current[0] and groups[1, row] == current[1]
        ):
            row += 1
    for at in range(row * LANES, BLOCK):
        work[_ALLOWED + at] = _NIL


@inner
def _add_steps(
    steps: tuple[np.ndarray, np.ndarray], current: np.ndarray, column: int, work: np.ndarray
) -> None:
    """Add up the steps of both sides' groups."""
    for lane in range(LANES):
        work[STEP + lane] = _NIL
    for side in range(2):
        if len(steps[side]):
            own = steps[side][current[side], column : column + LANES]
            for lane in range(len(own)):
                work[STEP + lane] += own[lane]


@inner
def _allow_step(work: np.ndarray) -> None:
    """Allow the same steps in all rows of a block."""
    for lane in range(LANES):
        step = work[STEP + lane]
        for i in range(HEIGHT):
            work[_ALLOWED + i * LANES + lane] = step


@inner
def allow_roundings(factors: np.ndarray, least: np.ndarray, height: int, work: np.ndarray) -> None:
    """Allow what one rounding of values does, on the sides that were rounded.

    Each side has a call of its own, which is compiled for it: its rows are then at a constant
    distance.
    """
    if factors[0]:
        _allow_rounding(0, height, factors[0], least[0], work)
    if factors[1]:
        _allow_rounding(1, height, factors[1], least[1], work)


@inner
def _allow_rounding(
    side: int, height: int, factor: np.float32, least: np.float32, work: np.ndarray
) -> None:
    """Allow what one rounding of a side's values may do, and add its squares over its rows."""
    own, sums = side * BLOCK, _ROUNDINGS + side * LANES
    for lane in range(LANES):
        total = work[sums + lane]
        for i in range(HEIGHT):
            bits = np.float32(work[own + i * LANES + lane]).view(np.uint32)
            power = np.uint32(bits & _EXPONENT).view(np.float32) * factor
            rounding = power if power > least else least  # noqa: FURB136
            work[_ALLOWED + i * LANES + lane] += rounding
            total += rounding * rounding if i < height else _NIL
        work[sums + lane] = total


@inner
def count_beyond(work: np.ndarray) -> int:
    """Count values that are further apart than is allowed."""
    count = np.uint32(0)
    for at in range(BLOCK):
        error = work[_APART + at]
        inside = (error <= work[_ALLOWED + at]) & (error < _INFINITE)
        count = np.uint32(count + np.uint32(not inside))
    return int(count)


@inner
def first_beyond(work: np.ndarray) -> int:
    """Return the position in the block of the first value that is beyond; there is one."""
    at = 0
    while work[_APART + at] <= work[_ALLOWED + at] and work[_APART + at] < _INFINITE:
        at += 1
    return at


@inner
def find_ends(
    raw: np.ndarray, place: tuple[int, int, int, int], side: int, work: np.ndarray
) -> None:
    """Find the least and the largest value of each lane of a side in some rows.

    Args:
        raw: The tile, as bytes.
        place: Offset of the first value; bytes of a row; rows; bytes of a row of the block.
        side: Whose tile it is.
        work: Where the block lies.
    """
    at, pitch, height, width = place
    octets, ends = work.view(np.uint8), _ENDS + 2 * side * LANES
    for lane in range(LANES):
        work[ends + lane], work[ends + LANES + lane] = _INFINITE, -_INFINITE
    for i in range(height):
        copy(raw, at + i * pitch, octets, 4 * _LINE, width)
        for lane in range(LANES):
            value, low, high = work[_LINE + lane], work[ends + lane], work[ends + LANES + lane]
            work[ends + lane] = value if value < low else low  # noqa: FURB136  # NaN is neither
            work[ends + LANES + lane] = value if value > high else high  # noqa: FURB136


@inner
def excuse(first: int, end: int, side: int, work: np.ndarray) -> None:
    """Allow any distance where a value at an end of its range stands for one further out.

    Args:
        first: First row that is looked at; it may lie before the block.
        end: Last row + 1 likewise.
        side: Whose values they are.
        work: Where the block lies.
    """
    own, wanted, ends = side * BLOCK, (1 - side) * BLOCK, _ENDS + 2 * side * LANES
    for lane in range(LANES):
        low, high = work[ends + lane], work[ends + LANES + lane]
        for i in range(HEIGHT):
            value, goal = work[own + i * LANES + lane], work[wanted + i * LANES + lane]
            clipped = ((value >= high) & (goal > high)) | ((value <= low) & (goal < low))
            at = _ALLOWED + i * LANES + lane
            work[at] = _INFINITE if clipped & (i >= first) & (i < end) else work[at]
