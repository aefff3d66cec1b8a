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
from grokpack.kernels.compiled._byte_copies import LINE, copy, copy_line

LANES = LINE  # of int8
BLOCK = 8 * LANES  # values of eight rows; groups are multiples of eight

INVERSE, LEAST, MOST, ERROR, SUM_T, SUM_Q, SUM_TQ, SUM_QQ, STEP, ZERO, SIGN = range(11)
"""Rows of a trial: 1 / step; lowest and highest code minus the zero point; sums of d * d, of t = x
/ step, of the nearest code q minus the zero point, of t * q and of q * q; step, zero point, sign of
the step."""
TRIAL_ROWS = 11

_HIGH_BIT = np.int32(-(1 << 31))
_E, _T, _Q = ERROR * LANES, SUM_T * LANES, SUM_Q * LANES
_TQ, _QQ = SUM_TQ * LANES, SUM_QQ * LANES


@inner
def load(
    raw: np.ndarray,
    place: tuple[int, int, int],
    scales: np.ndarray,
    source: tuple[int, int, int],
    codes: np.ndarray,
    group: np.ndarray,
) -> None:
    """Load the values of a group: int8 codes times their scales.

    Args:
        raw: All codes, as bytes.
        place: Offset of the group's first code; bytes of a row; columns, at most `LANES`.
        scales: `f32[source group, all columns]`.
        source: First input and column of the group; inputs that share a scale.
        codes: Scratch, `i8[BLOCK]`.
        group: Filled, `f32[row * LANES]`; lanes beyond the last column are undefined.
    """
    at, pitch, width = place
    row, column, per_group = source
    octets = codes.view(np.uint8)
    for k in range(0, len(group) // LANES, 8):
        if width == LANES:
            for i in range(8):
                copy_line(raw, at + (k + i) * pitch, octets, i * LANES)
        else:
            for i in range(8):
                copy(raw, at + (k + i) * pitch, octets, i * LANES, width)
        block = group[k * LANES : k * LANES + BLOCK]
        first, last = (row + k) // per_group, (row + k + 7) // per_group
        if first == last:
            scale = scales[first, column : column + width]
            for lane in range(width):
                for i in range(8):
                    block[i * LANES + lane] = np.float32(codes[i * LANES + lane]) * scale[lane]
        else:
            _straddle(codes, scales, (row + k, column, per_group), block)


@inner
def _straddle(
    codes: np.ndarray, scales: np.ndarray, source: tuple[int, int, int], block: np.ndarray
) -> None:
    """Multiply eight rows that do not share one scale."""
    row, column, per_group = source
    for i in range(8):
        scale = scales[(row + i) // per_group, column : column + LANES]
        for lane in range(len(scale)):
            block[i * LANES + lane] = np.float32(codes[i * LANES + lane]) * scale[lane]


@inner
def extremes(bits: np.ndarray, ends: np.ndarray) -> None:
    """Find the bits of the largest magnitudes above and below zero.

    Args:
        bits: Bits of the group, `i32[row * LANES]`; as integers, those of positive floats are in
            the order of their values, with NaN beyond infinity.
        ends: `i32[2 * LANES]`, zeros, for the magnitudes above and below.
    """
    for at in range(0, len(bits), BLOCK):
        block = bits[at : at + BLOCK]
        for lane in range(LANES):
            high, low = ends[lane], ends[LANES + lane]
            for i in range(8):
                one = block[i * LANES + lane]
                other = np.int32(one ^ _HIGH_BIT)
                high = one if one > high else high  # noqa: FURB136
                low = other if other > low else low  # noqa: FURB136
            ends[lane], ends[LANES + lane] = high, low


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
