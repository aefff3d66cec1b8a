"""Steps and zero points of a group, 64 columns at a time.

`lanes` describes the form of loops. Each function is called from as few places as possible, and
none copies arrays by slices: LLVM optimizes a function anew for each call, and numba compiles an
error message for shapes that differ.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._integer.lanes import (
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
    ZERO,
    regress,
    weighted_regress,
)
from grokpack.kernels.compiled._integer.step_rounding import round_steps, within
from grokpack.kernels.compiled._integer.step_search import Scratch, search
from grokpack.kernels.integer_steps import LSQ, REFINEMENTS, RTN

_NIL, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


@inner
def fit(  # noqa: PLR0913, PLR0917
    group: np.ndarray,
    weights: np.ndarray,
    form: tuple[int, int, int],
    flags: tuple[bool, bool],
    divisors: np.ndarray,
    ends: np.ndarray,
    scratch: Scratch,
    trials: np.ndarray,
    best: np.ndarray,
) -> None:
    """Choose step and zero point for the lanes of a group.

    Args:
        group: `f32[row * LANES]`.
        weights: Weight of the squared error of each row, `f32[row]`.
        form: Bits; method; precision of the step.
        flags: True if the zero point is fixed; True if rows have weights that are not one.
        divisors: Those of the candidates.
        ends: Bits of the largest magnitudes above and below zero, `i32[2 * LANES]`.
        scratch: What `search_scratch` allocates.
        trials: Scratch, `f32[3, TRIAL_ROWS * LANES]`.
        best: Filled with steps and zero points, `f32[2 * LANES]`.
    """
    bits, method, precision = form
    symmetric = flags[0]
    top = np.float32((1 << bits) - 1)
    _scale(ends, top, symmetric, best[:LANES])
    round_steps(best[:LANES], precision)
    _settle(ends.view(np.float32), top, symmetric, best)
    if method == RTN:
        return
    search(group, weights, form, flags, divisors, ends.view(np.float32), scratch, best)
    if method == LSQ:
        _refine(group, weights, top, flags, precision, trials, best)


@inner
def _scale(ends: np.ndarray, top: np.float32, symmetric: bool, steps: np.ndarray) -> None:  # noqa: FBT001
    """Fill the reference's steps before rounding, as `integer_steps._reference`."""
    high, low = ends.view(np.float32)[:LANES], ends.view(np.float32)[LANES:]
    for lane in range(LANES):
        largest = high[lane] if ends[lane] > ends[LANES + lane] else low[lane]
        symmetrical = np.divide(largest, top * _HALF)
        steps[lane] = symmetrical if symmetric else np.divide(high[lane] + low[lane], top)


@inner
def _settle(ends: np.ndarray, top: np.float32, symmetric: bool, best: np.ndarray) -> None:  # noqa: FBT001
    """Set the reference's zero points, and its step where all values are zero."""
    half = (top + _ONE) * _HALF
    for lane in range(LANES):
        high, low = ends[lane], ends[LANES + lane]
        step = _ONE if (high == _NIL) & (low == _NIL) else best[lane]
        zero = np.rint(within(np.divide(low, step) - half, -half, half - _ONE)) + half
        best[lane] = step
        best[LANES + lane] = half if symmetric else zero


@inner
def _refine(
    group: np.ndarray,
    weights: np.ndarray,
    top: np.float32,
    flags: tuple[bool, bool],
    precision: int,
    trials: np.ndarray,
    best: np.ndarray,
) -> None:
    """Move steps and zero points by least squares; keep what is better."""
    symmetric, weighted = flags
    trial, kept, spare = trials[0], trials[1], trials[2]
    n = _total(weights)
    for lane in range(LANES):
        step = best[lane]
        trial[SIGN * LANES + lane] = -_ONE if step < _NIL else _ONE
        trial[STEP * LANES + lane] = abs(step)
        trial[ZERO * LANES + lane] = best[LANES + lane]
        kept[INVERSE * LANES + lane] = np.divide(_ONE, step)
    for k in range(REFINEMENTS + 1):
        if k > 0:
            _move(trial, n, top, symmetric)
            round_steps(trial[STEP * LANES : STEP * LANES + LANES], precision)
        _open(trial, top)
        if weighted:
            weighted_regress(group, weights, trial)
        else:
            regress(group, trial)
        _keep(trial, k == 0, kept, spare)
        kept, spare = spare, kept
    for lane in range(LANES):
        best[lane] = kept[STEP * LANES + lane]
        best[LANES + lane] = kept[ZERO * LANES + lane]


@inner
def _total(weights: np.ndarray) -> np.float32:
    """Sum the weights in order."""
    total = _NIL
    for weight in weights:
        total += weight
    return total


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
def _move(trial: np.ndarray, n: np.float32, top: np.float32, symmetric: bool) -> None:  # noqa: FBT001
    """Update step and zero point by least squares, as `integer_steps._regressed`."""
    for lane in range(LANES):
        st, sq = trial[SUM_T * LANES + lane], trial[SUM_Q * LANES + lane]
        stq, sqq = trial[SUM_TQ * LANES + lane], trial[SUM_QQ * LANES + lane]
        zero, step = trial[ZERO * LANES + lane], trial[STEP * LANES + lane]
        slope = np.divide(n * stq - st * sq, n * sqq - sq * sq)
        offset = np.divide(st - slope * sq, n)
        moved = np.rint(within(zero - np.divide(offset, slope), _NIL, top))
        moved = zero if symmetric else moved
        by = zero - moved
        slope = np.divide(stq + by * st, sqq + (by + by) * sq + (n * by) * by)
        slope = slope if slope > _NIL else _ONE
        trial[STEP * LANES + lane] = step * trial[SIGN * LANES + lane] * slope
        trial[ZERO * LANES + lane] = moved


@inner
def _keep(trial: np.ndarray, first: bool, kept: np.ndarray, to: np.ndarray) -> None:  # noqa: FBT001
    """Set `to` to the trial where its error is less than that of what is kept, else to that."""
    for lane in range(LANES):
        unit, step = kept[INVERSE * LANES + lane], trial[STEP * LANES + lane]
        size = step * unit
        error = trial[ERROR * LANES + lane] * size * size
        better = (error < kept[ERROR * LANES + lane]) | first
        to[INVERSE * LANES + lane] = unit
        to[ERROR * LANES + lane] = error if better else kept[ERROR * LANES + lane]
        to[STEP * LANES + lane] = step if better else kept[STEP * LANES + lane]
        zero = trial[ZERO * LANES + lane]
        to[ZERO * LANES + lane] = zero if better else kept[ZERO * LANES + lane]
