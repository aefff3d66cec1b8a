"""Steps and zero points of a group, 64 columns at a time; see `_lanes` for the form of loops.

Each function is called from as few places as possible, and none copies arrays by slices: LLVM
optimizes a function anew for each call, and numba compiles an error message for shapes that differ.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._lanes import (
    ERROR,
    INVERSE,
    LANES,
    LEAST,
    MOST,
    SIGN,
    STEP,
    SUM_Q,
    SUM_QQ,
    SUM_T,
    SUM_TQ,
    TILE,
    ZERO,
    errors,
    extremes,
    regress,
    weighted_errors,
)
from grokpack.kernels.groupwise import LSQ, REFINEMENTS, RTN, SMALLEST

_NIL, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_INFINITY = 0x7F800000

# For each precision: fraction bits that it drops; bits from which on it is infinite; value below
# which it is subnormal; and a number at which float32 has that spacing.
_DROPPED = np.array([0, 16, 13], np.uint32)
_BEYOND = np.array([_INFINITY, _INFINITY, 0x47800000], np.uint32)  # 65536 in float16
_NORMAL = np.array([0, 0, 2.0**-14], np.float32)
_GRID = np.array([0, 0, 0.75], np.float32)
_SMALLEST = np.array(SMALLEST, np.float32)


@inner
def _round(steps: np.ndarray, precision: int) -> None:
    """Round nonnegative steps to nearest even of a precision, and up to its least."""
    u32 = np.uint32
    dropped, beyond, least = _DROPPED[precision], _BEYOND[precision], _SMALLEST[precision]
    normal, grid = _NORMAL[precision], _GRID[precision]
    unit = u32(u32(1) << dropped)
    some = u32(dropped != u32(0))
    half, mask = u32(u32(unit >> u32(1)) - some), u32(~u32(unit - u32(1)))
    for lane in range(LANES):
        step = steps[lane]
        bits = np.float32(step).view(np.uint32)
        odd = u32(u32(bits >> dropped) & some)
        kept = u32(u32(u32(bits + half) + odd) & mask)
        kept = u32(u32(_INFINITY) if kept >= beyond else kept)
        kept = u32(bits if bits > u32(_INFINITY) else kept)
        step = (
            np.float32(np.float32(step + grid) - grid) if step < normal else kept.view(np.float32)
        )
        steps[lane] = least if step < least else step  # noqa: FURB136


@inner
def _within(t: np.float32, low: np.float32, high: np.float32) -> np.float32:
    """Clamp to a range; NaN becomes the low end."""
    c = t if t > low else low  # noqa: FURB136
    return c if c < high else high  # noqa: FURB136


@inner
def _scale(ends: np.ndarray, top: np.float32, symmetric: bool, base: np.ndarray) -> None:  # noqa: FBT001
    """Fill the reference's steps before rounding, as `groupwise._reference`."""
    high, low = ends.view(np.float32)[:LANES], ends.view(np.float32)[LANES:]
    for lane in range(LANES):
        largest = high[lane] if ends[lane] > ends[LANES + lane] else low[lane]
        symmetrical = np.divide(largest, top * _HALF)
        base[lane] = symmetrical if symmetric else np.divide(high[lane] + low[lane], top)


@inner
def _settle(
    high: np.ndarray,
    low: np.ndarray,
    top: np.float32,
    kind: tuple[bool, bool, bool],
    trial: np.ndarray,
) -> None:
    """Set the sign of the step, and the zero point, of a trial whose step is rounded.

    Args:
        high: Magnitude of the largest value above zero.
        low: Magnitude of the largest value below zero.
        top: Highest code.
        kind: Three flags: symmetric; step may be negative; this is the reference.
        trial: The trial, which is updated.
    """
    symmetric, signed, reference = kind
    half = (top + _ONE) * _HALF
    for lane in range(LANES):
        negative = signed & (high[lane] > low[lane])
        trial[SIGN * LANES + lane] = -_ONE if negative else _ONE
        trial[ZERO * LANES + lane] = half
    if reference:
        for lane in range(LANES):
            step = trial[STEP * LANES + lane]
            step = _ONE if (high[lane] == _NIL) & (low[lane] == _NIL) else step
            trial[STEP * LANES + lane] = step
    if symmetric:
        return
    for lane in range(LANES):
        step = trial[STEP * LANES + lane]
        if reference:
            first = np.rint(_within(np.divide(low[lane], step) - half, -half, half - _ONE)) + half
        else:
            off = (high[lane] - low[lane]) * _HALF
            first = np.rint(_within(top * _HALF - off * np.divide(_ONE, step), _NIL, top))
        trial[ZERO * LANES + lane] = first


@inner
def _open(trial: np.ndarray, top: np.float32) -> None:
    """Apply the sign of a trial's step, derive its other rows, and clear its sums."""
    for lane in range(LANES):
        step = trial[STEP * LANES + lane] * trial[SIGN * LANES + lane]
        zero = trial[ZERO * LANES + lane]
        trial[STEP * LANES + lane] = step
        trial[INVERSE * LANES + lane] = np.divide(_ONE, step)
        trial[LEAST * LANES + lane] = -zero
        trial[MOST * LANES + lane] = top - zero
        trial[ERROR * LANES + lane] = trial[SUM_T * LANES + lane] = _NIL
        trial[SUM_Q * LANES + lane] = trial[SUM_TQ * LANES + lane] = _NIL
        trial[SUM_QQ * LANES + lane] = _NIL


@inner
def _better(
    trial: np.ndarray, unit: np.ndarray, lane: int, kept: tuple[np.float32, np.float32, np.float32]
) -> tuple[np.float32, np.float32, np.float32]:
    """Return error, in units of `unit`'s step, step and zero point of a trial or what is kept."""
    least, step, zero = kept
    own = trial[STEP * LANES + lane]
    weight = own * unit[INVERSE * LANES + lane]
    error = trial[ERROR * LANES + lane] * weight * weight
    if error < least:
        return error, own, trial[ZERO * LANES + lane]
    return least, step, zero


@inner
def _begin(unit: np.ndarray, best: np.ndarray) -> None:
    """Make the reference the best."""
    for lane in range(LANES):
        step = unit[STEP * LANES + lane]
        weight = step * unit[INVERSE * LANES + lane]
        best[ERROR * LANES + lane] = unit[ERROR * LANES + lane] * weight * weight
        best[STEP * LANES + lane] = step
        best[ZERO * LANES + lane] = unit[ZERO * LANES + lane]


@inner
def _keep(
    four: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], unit: np.ndarray, best: np.ndarray
) -> None:
    """Keep the first of four trials with the least error, if it is less than the best's.

    Of a single comparison the store would be a masked one, which takes ten times as long on some
    processors.
    """
    one, two, three, last = four
    for lane in range(LANES):
        kept = (best[ERROR * LANES + lane], best[STEP * LANES + lane], best[ZERO * LANES + lane])
        kept = _better(one, unit, lane, kept)
        kept = _better(two, unit, lane, kept)
        kept = _better(three, unit, lane, kept)
        kept = _better(last, unit, lane, kept)
        best[ERROR * LANES + lane], best[STEP * LANES + lane] = kept[0], kept[1]
        best[ZERO * LANES + lane] = kept[2]


@inner
def _move(trial: np.ndarray, n: np.float32, top: np.float32, symmetric: bool) -> None:  # noqa: FBT001
    """Update step and zero point by least squares, as `groupwise._regressed`."""
    for lane in range(LANES):
        st, sq = trial[SUM_T * LANES + lane], trial[SUM_Q * LANES + lane]
        stq, sqq = trial[SUM_TQ * LANES + lane], trial[SUM_QQ * LANES + lane]
        zero, step = trial[ZERO * LANES + lane], trial[STEP * LANES + lane]
        slope = np.divide(n * stq - st * sq, n * sqq - sq * sq)
        offset = np.divide(st - slope * sq, n)
        moved = np.rint(_within(zero - np.divide(offset, slope), _NIL, top))
        moved = zero if symmetric else moved
        by = zero - moved
        slope = np.divide(stq + by * st, sqq + (by + by) * sq + (n * by) * by)
        slope = slope if slope > _NIL else _ONE
        trial[STEP * LANES + lane] = step * trial[SIGN * LANES + lane] * slope
        trial[ZERO * LANES + lane] = moved


@inner
def fit(
    group: np.ndarray,
    weights: np.ndarray,
    form: tuple[int, int, int],
    flags: tuple[bool, bool],
    factors: np.ndarray,
    ends: np.ndarray,
    trials: np.ndarray,
) -> None:
    """Choose step and zero point for the lanes of a group.

    Args:
        group: `f32[row * LANES]`.
        weights: Weight of the squared error of each row, `f32[row]`.
        form: Bits; method; precision of the step.
        flags: True if the zero point is fixed; True if rows have weights that are not one.
        factors: Fractions of the reference's step to try; the first is 1 and stands for it, and
            a multiple of four follows.
        ends: Scratch, `i32[2 * LANES]`.
        trials: `f32[factors + 1, TRIAL_ROWS * LANES]`. The last receives the best, of which `STEP`
            and `ZERO` are defined.
    """
    bits, method, precision = form
    symmetric, weighted = flags
    top = np.float32((1 << bits) - 1)
    count = 1 if method == RTN else len(factors)
    best: np.ndarray = trials[len(factors)]
    ends[:] = 0
    extremes(group.view(np.int32), ends)
    high, low = ends.view(np.float32)[:LANES], ends.view(np.float32)[LANES:]
    base = best[:LANES]
    _scale(ends, top, symmetric, base)
    for k in range(count):
        trial = trials[k]
        for lane in range(LANES):
            trial[STEP * LANES + lane] = base[lane] * factors[k]
        _round(trial[STEP * LANES : STEP * LANES + LANES], precision)
        signed = symmetric & (method == LSQ) & (k > 0)
        _settle(high, low, top, (symmetric, signed, k == 0), trial)
        _open(trial, top)
    if method != RTN:
        _measure(group, weights, weighted, trials[:count])
    _begin(trials[0], best)
    for k in range(1, count, 4):
        _keep((trials[k], trials[k + 1], trials[k + 2], trials[k + 3]), trials[0], best)
    if method == LSQ:
        _refine(group, weights, top, symmetric, precision, trials)


@inner
def _measure(
    group: np.ndarray,
    weights: np.ndarray,
    weighted: bool,  # noqa: FBT001
    trials: np.ndarray,
) -> None:
    """Measure the errors of all trials, part by part while the group is in the cache."""
    for at in range(0, len(group), TILE):
        part, own = group[at : at + TILE], weights[at // LANES :]
        for k in range(len(trials)):
            if weighted:
                weighted_errors(part, own, trials[k])
            else:
                errors(part, trials[k])


@inner
def _total(weights: np.ndarray) -> np.float32:
    """Sum the weights in order."""
    total = _NIL
    for weight in weights:
        total += weight
    return total


@inner
def _refine(
    group: np.ndarray,
    weights: np.ndarray,
    top: np.float32,
    symmetric: bool,  # noqa: FBT001
    precision: int,
    trials: np.ndarray,
) -> None:
    """Move the best, the last of the trials, by least squares; keep what is better."""
    unit, trial, best = trials[0], trials[1], trials[len(trials) - 1]
    n = _total(weights)
    for lane in range(LANES):
        step = best[STEP * LANES + lane]
        trial[SIGN * LANES + lane] = -_ONE if step < _NIL else _ONE
        trial[STEP * LANES + lane] = abs(step)
        trial[ZERO * LANES + lane] = best[ZERO * LANES + lane]
    for k in range(REFINEMENTS + 1):
        if k > 0:
            _move(trial, n, top, symmetric)
            _round(trial[STEP * LANES : STEP * LANES + LANES], precision)
        _open(trial, top)
        regress(group, weights, trial)
        _keep((trial, trial, trial, trial), unit, best)
