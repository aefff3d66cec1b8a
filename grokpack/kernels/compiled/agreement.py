"""Distances between two tiles of weights, compiled: the twin of `grokpack.kernels.agreement`.

Each loop over a row touches few arrays and does one thing, so that it becomes vector instructions;
the rows stay in the first-level cache from one loop to the next. Conditional expressions stand for
min() and max(), which are not compiled well.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.agreement import OFF_STEP
from grokpack.kernels.compiled import compiled, uncounted

_EXPONENT = np.uint32(0x7F800000)
_INFINITE = np.float32(np.inf)
_HEIGHT, _WIDTH = 8, 16
"""Rows and columns that are turned at a time; the width is a cache line's."""


@compiled
def measure(
    one: np.ndarray,
    other: np.ndarray,
    steps: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    factors: np.ndarray,
    least: np.ndarray,
    sums: np.ndarray,
) -> tuple[int, int, int]:
    """Compiled twin of `agreement.measure`."""
    rows, columns = one.shape
    sums[...] = 0
    scratch = np.empty((6, columns), np.float32)
    errors, allowed, ends, ranged = scratch[0], scratch[1], scratch[2:], np.full((2, 1), -1)
    differing, within, first = 0, 0, -1
    for row in range(rows):
        differing += _distance(one[row], other[row], errors)
        _allow_steps(steps, groups[:, row], allowed)
        _allow_rounding(one[row].view(np.uint32), factors[0], least[0], allowed, sums[2])
        _allow_rounding(other[row].view(np.uint32), factors[1], least[1], allowed, sums[3])
        _add_squares(one[row], sums[0])
        _add_errors(errors, sums[1], sums[4])
        inside = _within(errors, allowed)
        if inside < columns:
            if len(steps[0]):
                _allow_clipped(one, other[row], row, groups[0], ranged[0], ends[:2], allowed)
            if len(steps[1]):
                _allow_clipped(other, one[row], row, groups[1], ranged[1], ends[2:], allowed)
            inside = _within(errors, allowed)
            if inside < columns and first < 0:
                first = row * columns + _first_beyond(errors, allowed)
        within += inside
    return differing, one.size - within, first


@uncounted
def _distance(one: np.ndarray, other: np.ndarray, out: np.ndarray) -> int:
    """Fill absolute differences, and return how many values are unequal."""
    count = np.uint32(0)
    for i in range(len(out)):
        apart = np.abs(one[i] - other[i])
        number = apart if apart >= 0 else _INFINITE  # what is none compares with nothing
        equal = (one[i] == other[i]) | (np.isnan(one[i]) & np.isnan(other[i]))
        out[i] = np.float32(0) if equal else number
        count += np.uint32(not equal)
    return int(count)


@uncounted
def _allow_steps(
    steps: tuple[np.ndarray, np.ndarray], groups: np.ndarray, allowed: np.ndarray
) -> None:
    """Allow in a row what the codes of both sides do."""
    allowed[:] = 0
    for at in range(2):
        if len(steps[at]):
            own = steps[at][groups[at]]
            for i in range(len(allowed)):
                allowed[i] += own[i]


@uncounted
def _allow_rounding(
    bits: np.ndarray, factor: np.float32, least: np.float32, allowed: np.ndarray, sums: np.ndarray
) -> None:
    """Allow what one rounding of a row may do, and add its squares, where there was one."""
    if not factor:
        return
    for i in range(len(allowed)):
        power = np.uint32(bits[i] & _EXPONENT).view(np.float32) * factor
        rounding = power if power > least else least  # noqa: FURB136  # max() is not compiled well
        allowed[i] += rounding
        sums[i] += rounding * rounding


@uncounted
def _allow_clipped(
    values: np.ndarray,
    wanted: np.ndarray,
    row: int,
    group: np.ndarray,
    ranged: np.ndarray,
    ends: np.ndarray,
    allowed: np.ndarray,
) -> None:
    """Allow any distance where a value of a row is clipped.

    Args:
        values: The tile of codes.
        wanted: What the row's values stand for.
        row: The row.
        group: The group of each row.
        ranged: The group whose ends were found last; set to the row's.
        ends: The least and the largest value of that group in each column.
        allowed: What is allowed in the row.
    """
    if ranged[0] != group[row]:
        ranged[0] = group[row]
        _range(values, group, group[row], ends[0], ends[1])
    _excuse(values[row], wanted, ends[0], ends[1], allowed)


@uncounted
def _add_squares(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] += values[i] * values[i]


@uncounted
def _raise(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = values[i] if values[i] > out[i] else out[i]  # noqa: FURB136  # NaN is not larger


@uncounted
def _lower(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = values[i] if values[i] < out[i] else out[i]  # noqa: FURB136  # nor smaller


@uncounted
def _add_errors(errors: np.ndarray, sums: np.ndarray, largest: np.ndarray) -> None:
    for i in range(len(errors)):
        sums[i] += errors[i] * errors[i]
        largest[i] = errors[i] if errors[i] > largest[i] else largest[i]  # noqa: FURB136


@uncounted
def _within(errors: np.ndarray, allowed: np.ndarray) -> int:
    count = np.uint32(0)
    for i in range(len(errors)):
        count += np.uint32((errors[i] <= allowed[i]) & (errors[i] < _INFINITE))
    return int(count)


@uncounted
def _first_beyond(errors: np.ndarray, allowed: np.ndarray) -> int:
    """Return the position of the first value that is not within; there is one."""
    i = 0
    while errors[i] <= allowed[i] and errors[i] < _INFINITE:
        i += 1
    return i


@uncounted
def _range(
    values: np.ndarray, group: np.ndarray, number: int, low: np.ndarray, high: np.ndarray
) -> None:
    """Fill the least and the largest value of each column in a group."""
    low[:] = _INFINITE
    high[:] = -_INFINITE
    for row in range(len(values)):
        if group[row] == number:
            _lower(values[row], low)
            _raise(values[row], high)


@uncounted
def _excuse(
    values: np.ndarray, wanted: np.ndarray, low: np.ndarray, high: np.ndarray, allowed: np.ndarray
) -> None:
    """Allow any distance where a value at an end of its range stands for one further out."""
    for i in range(len(allowed)):
        above = (values[i] >= high[i]) & (wanted[i] > high[i])
        below = (values[i] <= low[i]) & (wanted[i] < low[i])
        allowed[i] = _INFINITE if above | below else allowed[i]


@compiled
def least_distances(values: np.ndarray, block: int, out: np.ndarray) -> None:
    """Compiled twin of `agreement.least_distances`."""
    columns = values.shape[1]
    center, doubts = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for at in range(len(out)):
        rows = values[at * block : (at + 1) * block]
        center[:] = rows[0]
        for row in range(1, block):
            _nearer_zero(rows[row], center)
        out[at] = _INFINITE
        for row in range(block):
            _nearest(rows[row], center, out[at])
        doubts[:] = 0
        for row in range(block):
            _doubt(rows[row], center, out[at], doubts)
        for column in range(columns):
            if doubts[column]:
                out[at, column] = _least_step(np.sort(rows[:, column]))


@uncounted
def _nearer_zero(values: np.ndarray, out: np.ndarray) -> None:
    """Keep the first value of the least magnitude; NaN comes before all."""
    for i in range(len(out)):
        nearer = (np.abs(values[i]) < np.abs(out[i])) | np.isnan(values[i])
        out[i] = values[i] if nearer else out[i]


@uncounted
def _nearest(values: np.ndarray, center: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        distance = np.abs(values[i] - center[i])
        out[i] = distance if (distance > 0) & (distance < out[i]) else out[i]


@uncounted
def _doubt(values: np.ndarray, center: np.ndarray, least: np.ndarray, doubts: np.ndarray) -> None:
    """Mark where a distance is no multiple of the least."""
    for i in range(len(doubts)):
        ratio = np.divide(np.abs(values[i] - center[i]), least[i])
        multiple = np.abs(ratio - np.rint(ratio)) < OFF_STEP
        doubts[i] = doubts[i] if multiple else np.float32(1)


@uncounted
def _least_step(ordered: np.ndarray) -> np.float32:
    """Return the least distance of unequal neighbours."""
    least = _INFINITE
    for i in range(1, len(ordered)):
        distance = ordered[i] - ordered[i - 1]
        if distance > 0 and distance < least:
            least = distance
    return least


@compiled
def turn(lines: np.ndarray, out: np.ndarray) -> None:
    """Compiled twin of `agreement.turn`."""
    rows, columns = out.shape
    whole_rows, whole_columns = rows // _HEIGHT * _HEIGHT, columns // _WIDTH * _WIDTH
    for column in range(0, whole_columns, _WIDTH):
        for row in range(0, whole_rows, _HEIGHT):
            for c in range(_WIDTH):
                for r in range(_HEIGHT):
                    out[row + r, column + c] = lines[column + c, row + r]
    for r in range(rows):
        for c in range(whole_columns if r < whole_rows else 0, columns):
            out[r, c] = lines[c, r]
