"""Passes over a group, 64 columns at a time, that LLVM turns into vector instructions.

A lane is a column. The values of a group lie row after row in one dimension, `f32[row * LANES]`;
values that each lane has once lie in one array too, as rows of `LANES`. Everything that an inner
loop touches is therefore at a constant distance: nothing has to be checked for overlap, and sums
stay in registers for the eight rows of the unrolled loop over `i`. They are in the order of rows.
Conditional expressions stand for min() and max(), which are not vectorized, and treat NaN like the
specification. `np.divide` stands for `/`, which would check for zero to raise an error.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._vectors.byte_copies import LINE

LANES = LINE  # of int8
BLOCK = 8 * LANES  # values of eight rows; groups are multiples of eight

INVERSE, LEAST, MOST, ERROR, SUM_T, SUM_Q, SUM_TQ, SUM_QQ, STEP, ZERO, SIGN = range(11)
"""Rows of a trial: 1 / step; lowest and highest code minus the zero point; sums of d * d, of t = x
/ step, of the nearest code q minus the zero point, of t * q and of q * q; step, zero point, sign of
the step."""
TRIAL_ROWS = 11

_E, _T, _Q = ERROR * LANES, SUM_T * LANES, SUM_Q * LANES
_TQ, _QQ = SUM_TQ * LANES, SUM_QQ * LANES


@inner
def _nearest(
    x: np.float32, inverse: np.float32, low: np.float32, high: np.float32
) -> tuple[np.float32, np.float32]:
    """Return a value in units of the step, and its code minus the zero point."""
    t = x * inverse
    c = t if t > low else low  # noqa: FURB136
    c = c if c < high else high  # noqa: FURB136
    return t, np.rint(c)


@inner
def regress(group: np.ndarray, trial: np.ndarray) -> None:
    """Add to all sums of a trial."""
    for at in range(0, len(group), BLOCK):
        block = group[at : at + BLOCK]
        for lane in range(LANES):
            inverse, low, high = trial[lane], trial[LANES + lane], trial[2 * LANES + lane]
            total, st, sq = trial[_E + lane], trial[_T + lane], trial[_Q + lane]
            stq, sqq = trial[_TQ + lane], trial[_QQ + lane]
            for i in range(8):
                t, q = _nearest(block[i * LANES + lane], inverse, low, high)
                d = t - q
                total += d * d
                st += t
                sq += q
                stq += t * q
                sqq += q * q
            trial[_E + lane], trial[_T + lane], trial[_Q + lane] = total, st, sq
            trial[_TQ + lane], trial[_QQ + lane] = stq, sqq


@inner
def weighted_regress(group: np.ndarray, weights: np.ndarray, trial: np.ndarray) -> None:
    """Add to all sums of a trial, with each term weighted by row."""
    for at in range(0, len(group), BLOCK):
        block, own = group[at : at + BLOCK], weights[at // LANES : at // LANES + 8]
        for lane in range(LANES):
            inverse, low, high = trial[lane], trial[LANES + lane], trial[2 * LANES + lane]
            total, st, sq = trial[_E + lane], trial[_T + lane], trial[_Q + lane]
            stq, sqq = trial[_TQ + lane], trial[_QQ + lane]
            for i in range(8):
                t, q = _nearest(block[i * LANES + lane], inverse, low, high)
                d, weight = t - q, own[i]
                total += d * d * weight
                st += t * weight
                sq += q * weight
                stq += t * q * weight
                sqq += q * q * weight
            trial[_E + lane], trial[_T + lane], trial[_Q + lane] = total, st, sq
            trial[_TQ + lane], trial[_QQ + lane] = stq, sqq
