"""Group-wise int4 and int8, compiled: twins of `grokpack.kernels.groupwise`.

The weight is worked through group by group, 64 columns at a time. Words are packed down the columns
and transposed afterwards: an eighth of the elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from grokpack.kernels.compiled import compiled
from grokpack.kernels.compiled._encoding import CHOICE_ROWS, encode_4, encode_8
from grokpack.kernels.compiled._fitting import fit
from grokpack.kernels.compiled._lanes import LANES, STEP, TRIAL_ROWS, ZERO, widen
from grokpack.kernels.compiled._turning import COLUMNS, ROWS, scratch, turn
from grokpack.kernels.groupwise import (
    FACTORS,
    FIRST_QUARTER,
    FRACTION_BITS,
    HISTOGRAM_BINS,
    QUARTER_BITS,
)

_EDGE = 16  # words of a cache line: both sides of a square of 16 by 16 are whole lines
_REFERENCE = np.ones(1, np.float32)
_FRACTION = np.uint32((1 << FRACTION_BITS) - 1)
_LEADING = 1 << FRACTION_BITS
_SHIFT, _QUARTERS, _NOT_FINITE = (np.uint32(n) for n in (FRACTION_BITS, QUARTER_BITS, 255))


def quantise(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    group: int,
    bits: int,
    method: int,
    symmetric: bool,  # noqa: FBT001
    precision: int,
    out: np.ndarray,
    steps: np.ndarray,
    zeros: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """See the specification.

    Not compiled: whatever the types of values and codes are, what is compiled sees bytes, and is
    compiled and optimised once instead of four times.
    """
    _quantise(
        values.view(np.uint8),
        values.dtype == np.float32,
        scales,
        (column, per_group, group, bits, method, precision),
        symmetric,
        np.append(_REFERENCE, FACTORS[bits]),
        out.view(np.uint8),
        steps,
        zeros,
        sums,
        counts,
    )


@compiled
def _quantise(  # noqa: PLR0913, PLR0917
    raw: np.ndarray,
    wide: bool,  # noqa: FBT001
    scales: np.ndarray,
    form: tuple[int, int, int, int, int, int],
    symmetric: bool,  # noqa: FBT001
    factors: np.ndarray,
    out: np.ndarray,
    steps: np.ndarray,
    zeros: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """All columns; `raw` and `out` are bytes, `wide` says that the values are float32."""
    column, per_group, rows, bits, method, precision = form
    columns = steps.shape[1]
    group = np.zeros(rows * LANES, np.float32)
    trials = np.empty((len(factors) + 1, TRIAL_ROWS * LANES), np.float32)
    ends = np.empty(2 * LANES, np.int32)
    choice = np.empty(CHOICE_ROWS * LANES, np.float32)
    octets = np.empty((rows // 8, 8 * LANES), np.uint8)
    words = np.empty((rows // 8, LANES), np.uint32)
    half = np.float32(1 << (bits - 1))
    for g in range(len(steps)):
        for first in range(0, columns, LANES):
            width = min(LANES, columns - first)
            if wide:
                floats = raw.view(np.float32)
                widen(floats, scales, g * rows, column + first, per_group, group)
            else:
                widen(raw.view(np.int8), scales, g * rows, column + first, per_group, group)
            best = fit(group, (bits, method, precision), symmetric, factors, ends, trials)
            for lane in range(width):
                steps[g, first + lane] = best[STEP * LANES + lane]
                zeros[g, first + lane] = np.uint8(np.int32(best[ZERO * LANES + lane]))
            if len(out) == 0:
                continue
            _choose(best, half, choice)
            if bits == 4:  # noqa: PLR2004
                encode_4(group, choice, -half, half - np.float32(1), words)
                _put_words(words, g, first, width, out.view(np.uint32))
            else:
                encode_8(group, choice, -half, half - np.float32(1), octets)
                _put_octets(octets, g, first, width, out)
            _account(choice, g, first, width, sums, counts)


@compiled
def _choose(best: np.ndarray, half: np.float32, choice: np.ndarray) -> None:
    """What encoding takes, and sums of nothing."""
    choice[:] = np.float32(0)
    for lane in range(LANES):
        choice[lane], choice[LANES + lane] = (
            best[STEP * LANES + lane],
            best[ZERO * LANES + lane] - half,
        )


@compiled
def _put_words(words: np.ndarray, g: int, first: int, width: int, out: np.ndarray) -> None:
    for k in range(len(words)):
        line = out[g * len(words) + k, first : first + width]
        for lane in range(width):
            line[lane] = words[k, lane]


@compiled
def _put_octets(octets: np.ndarray, g: int, first: int, width: int, out: np.ndarray) -> None:
    for k in range(len(octets)):
        for i in range(8):
            line = out[(g * len(octets) + k) * 8 + i, first : first + width]
            for lane in range(width):
                line[lane] = octets[k, i * LANES + lane]


@compiled
def _account(
    choice: np.ndarray, g: int, first: int, width: int, sums: np.ndarray, counts: np.ndarray
) -> None:
    for lane in range(width):
        for k in range(3):
            sums[k, g, first + lane] = choice[(2 + k) * LANES + lane]
        for k in range(2):
            counts[k, g, first + lane] = np.int32(choice[(5 + k) * LANES + lane])


@compiled
def turn_words(words: np.ndarray, out: np.ndarray) -> None:
    """See the specification."""
    rows, columns = words.shape
    for left in range(0, columns, _EDGE):
        right = min(left + _EDGE, columns)
        for top in range(0, rows, _EDGE):
            bottom = min(top + _EDGE, rows)
            for c in range(left, right):
                for r in range(top, bottom):
                    out[c, r] = words[r, c]


@compiled
def turn_bytes(octets: np.ndarray, out: np.ndarray) -> None:
    """See the specification."""
    rows, columns = octets.shape
    codes = octets.view(np.int8)
    square, tile = scratch()
    for left in range(0, columns, COLUMNS):
        width = min(COLUMNS, columns - left)
        for top in range(0, rows, ROWS):
            height = min(ROWS, rows - top)
            turn(codes, top, height, left, width, square, tile)
            for c in range(width):
                line = out[left + c, top : top + height]
                for r in range(height):
                    line[r] = np.uint8(tile[c, r])


@compiled
def tally_groups(
    sums: np.ndarray,
    counts: np.ndarray,
    powers: np.ndarray,
    totals: np.ndarray,
    worst: np.ndarray,
    histogram: np.ndarray,
) -> None:
    """See the specification."""
    _, groups, columns = sums.shape
    bits = sums.view(np.uint32)
    largest = worst[0]
    for g in range(groups):
        for column in range(columns):
            totals[0] += 1
            if not _add(bits[:, g, column], powers):
                totals[3] += 1
                continue
            totals[4] += counts[0, g, column]
            totals[5] += counts[1, g, column]
            signal, error = sums[0, g, column], sums[1, g, column]
            if signal == np.float32(0):
                totals[1] += 1
            elif error == np.float32(0):
                totals[2] += 1
            else:
                ratio = np.divide(error, signal)
                largest = max(largest, ratio)
                quarter: Any = np.int64(np.float32(ratio).view(np.uint32) >> _QUARTERS)
                histogram[min(max(quarter - FIRST_QUARTER + 1, 0), HISTOGRAM_BINS - 1)] += 1
    worst[0] = largest


@compiled
def _add(bits: np.ndarray, powers: np.ndarray) -> bool:
    """Add the integers of three finite sums; false where one is not finite."""
    for k in range(3):
        if (bits[k] >> _SHIFT) & _NOT_FINITE == _NOT_FINITE:
            return False
    for k in range(3):
        exponent: Any = np.int64((bits[k] >> _SHIFT) & _NOT_FINITE)
        mantissa: Any = np.int64(bits[k] & _FRACTION)
        if exponent > 0:
            mantissa += _LEADING
        powers[k, max(exponent, 1)] += -mantissa if bits[k] >> np.uint32(31) else mantissa
    return True
