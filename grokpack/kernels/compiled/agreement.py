"""Distances between two tiles of weights, compiled: the twin of `grokpack.kernels.agreement`.

Each loop over a row touches few arrays and does one thing, so that it becomes vector instructions;
the rows stay in the first-level cache from one loop to the next.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.agreement import OFF_STEP
from grokpack.kernels.compiled import compiled, uncounted

_EXPONENT = np.uint32(0x7F800000)


@compiled
def measure(
    one: np.ndarray,
    other: np.ndarray,
    steps: np.ndarray,
    factors: np.ndarray,
    least: np.ndarray,
    sums: np.ndarray,
) -> tuple[int, int]:
    """Compiled twin of `agreement.measure`."""
    rows, columns = one.shape
    sums[...] = 0
    errors, allowed = np.empty(columns, np.float32), np.zeros(columns, np.float32)
    rounding = np.empty(columns, np.float32)
    own, others = one.view(np.uint32), other.view(np.uint32)
    differing = within = 0
    for row in range(rows):
        _distance(one[row], other[row], errors)
        if steps.size:
            allowed[:] = steps[row]
        elif factors[0] or factors[1]:
            allowed[:] = 0
        if factors[0]:
            _round(own[row], factors[0], least[0], rounding)
            _add(rounding, allowed)
            _add_squares(rounding, sums[2])
        if factors[1]:
            _round(others[row], factors[1], least[1], rounding)
            _add(rounding, allowed)
            _add_squares(rounding, sums[3])
        _add_squares(one[row], sums[0])
        _add_squares(errors, sums[1])
        _raise(errors, sums[4])
        differing += _unequal(one[row], other[row])
        within += _within(errors, allowed)
    return differing, one.size - within


@uncounted
def _distance(one: np.ndarray, other: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = np.abs(one[i] - other[i])


@uncounted
def _round(bits: np.ndarray, factor: np.float32, least: np.float32, out: np.ndarray) -> None:
    for i in range(len(out)):
        power = np.uint32(bits[i] & _EXPONENT).view(np.float32) * factor
        out[i] = power if power > least else least  # noqa: FURB136  # max() is not compiled well


@uncounted
def _add(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] += values[i]


@uncounted
def _add_squares(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] += values[i] * values[i]


@uncounted
def _raise(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = values[i] if values[i] > out[i] else out[i]  # noqa: FURB136  # NaN is not larger


@uncounted
def _unequal(one: np.ndarray, other: np.ndarray) -> int:
    count = np.uint32(0)
    for i in range(len(one)):
        count += np.uint32(one[i] != other[i])
    return int(count)


@uncounted
def _within(errors: np.ndarray, allowed: np.ndarray) -> int:
    count = np.uint32(0)
    for i in range(len(errors)):
        count += np.uint32(errors[i] <= allowed[i])
    return int(count)


@compiled
def least_distances(lines: np.ndarray, block: int, out: np.ndarray) -> None:
    """Compiled twin of `agreement.least_distances`."""
    for line in range(len(lines)):
        for at in range(out.shape[1]):
            values = lines[line, at * block : (at + 1) * block]
            least = _least_from(values, _nearest_zero(values))
            if not least < 0:
                out[line, at] = least
                continue
            ordered = np.sort(values)
            out[line, at] = _least_step(ordered)


@uncounted
def _nearest_zero(values: np.ndarray) -> np.float32:
    """Return the first value of the least magnitude; NaN comes before all."""
    found: np.float32 = values[0]
    for i in range(len(values)):
        if np.isnan(values[i]):
            found = values[i]
            break
        if np.abs(values[i]) < np.abs(found):
            found = values[i]
    return found


@uncounted
def _least_from(values: np.ndarray, center: np.float32) -> np.float32:
    """Return the least distance from a value, or -1 if another is no multiple of it."""
    least = np.float32(np.inf)
    for i in range(len(values)):
        distance = np.abs(values[i] - center)
        if distance > 0 and distance < least:
            least = distance
    for i in range(len(values)):
        ratio = np.abs(values[i] - center) / least
        if not np.abs(ratio - np.rint(ratio)) < OFF_STEP:
            return np.float32(-1)
    return least


@uncounted
def _least_step(ordered: np.ndarray) -> np.float32:
    """Return the least distance of unequal neighbours."""
    least = np.float32(np.inf)
    for i in range(1, len(ordered)):
        distance = ordered[i] - ordered[i - 1]
        if distance > 0 and distance < least:
            least = distance
    return least
