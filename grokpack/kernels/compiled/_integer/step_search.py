"""Search for the steps of a group, 64 columns at a time; see `integer_steps` for what it computes.

Candidates are compared in a table with a row more than there are candidates: each row receives the
better of the row before and of a candidate. A store back to where the row before was read would be
a masked one, which takes ten times as long on some processors.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import allocate, inner
from grokpack.kernels.compiled._integer.code_products import (
    PAIRS,
    sum_products,
    sum_weighted_products,
)
from grokpack.kernels.compiled._integer.lanes import LANES
from grokpack.kernels.compiled._integer.step_rounding import round_steps, within
from grokpack.kernels.integer_steps import (
    DIVISOR_BITS,
    F32,
    LSQ,
    PRODUCT_BITS,
    ROUNDER,
    SMALLEST,
    SPAN_BITS,
)

_NIL, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_LEAST_UNIT = np.float32(SMALLEST[F32])
_PART = np.float32(2.0**-DIVISOR_BITS)
_WHOLE, _DOUBLE = np.float32(2.0**-SPAN_BITS), np.float32(2.0 ** (1 - SPAN_BITS))
_LOW, _TWICE, _UPPER = np.uint32(0xFFFF), np.uint32(0x10001), np.uint32(16)
_UNIT, _INVERSE, _FACTOR, _SIGN, _OFF = (k * LANES for k in range(5))
_ROWS = 2 * PAIRS

Scratch = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


def search_scratch(candidates: int) -> Scratch:
    """Allocate what `search` takes for so many candidates."""
    lanes = (
        allocate((5 * LANES,), np.float32),
        allocate((candidates, 2 * LANES), np.int32),
        allocate((candidates, 2 * LANES), np.float64),
        allocate((candidates, 2 * LANES), np.float32),
        allocate((candidates + 1, LANES), np.float64),
        allocate((candidates + 1, 2 * LANES), np.float32),
    )
    rows = (
        allocate((2 * PAIRS * LANES,), np.int32),
        allocate((PAIRS,), np.int32),
        allocate((_ROWS,), np.float32),
        allocate((2 * LANES,), np.int32),
    )
    return lanes, rows


@inner
def search(  # noqa: PLR0913, PLR0917
    group: np.ndarray,
    weights: np.ndarray,
    form: tuple[int, int, int],
    flags: tuple[bool, bool],
    divisors: np.ndarray,
    ends: np.ndarray,
    scratch: Scratch,
    best: np.ndarray,
) -> None:
    """Replace steps and zero points by those of the best candidate.

    Args:
        group: `f32[row * LANES]`.
        weights: Weight of the squared error of each row, `f32[row]`.
        form: Bits; method; precision of the step.
        flags: True if the zero point is fixed; True if rows have weights that are not one.
        divisors: Those of the candidates, `i64[candidate]`.
        ends: Largest magnitudes above and below zero, `f32[2 * LANES]`.
        scratch: What `search_scratch` allocates.
        best: Steps and zero points, `f32[2 * LANES]`; those of the reference at first.
    """
    bits, method, precision = form
    symmetric, weighted = flags
    units, limits, totals, tried, gains, choices = scratch[0]
    top = np.float32((1 << bits) - 1)
    weight_bits = PRODUCT_BITS - bits if weighted else 0
    _measure(ends, symmetric, symmetric & (method == LSQ), units)
    totals[:, :] = 0.0
    gains[0, :] = 0.0
    for lane in range(LANES):
        choices[0, lane], choices[0, LANES + lane] = best[lane], -_ONE
    for k in range(1 if symmetric else len(divisors)):
        _limit(divisors[k], top, symmetric, units, limits[k], tried[k])
    _sum(group, weights, (weight_bits, symmetric), divisors, scratch)
    scale = 1 / float(1 << weight_bits)
    for k in range(len(divisors)):
        _compare(k, scale, precision, units, totals[k], tried[k], gains, choices)
    for lane in range(LANES):
        number = np.int64(choices[len(divisors), LANES + lane])
        found = (number >= 0) & (not symmetric)  # otherwise the reference's stays
        best[lane] = choices[len(divisors), lane]
        best[LANES + lane] = tried[number, LANES + lane] if found else best[LANES + lane]


@inner
def _sum(
    group: np.ndarray,
    weights: np.ndarray,
    form: tuple[int, bool],
    divisors: np.ndarray,
    scratch: Scratch,
) -> None:
    """Add up the products of all candidates, part by part while the values are in the cache."""
    weight_bits, symmetric = form
    units, limits, totals, _, _, _ = scratch[0]
    values, pairs, parts, sums = scratch[1]
    largest = _largest(weights)
    for row in range(0, len(group) // LANES, _ROWS):
        part = group[row * LANES : (row + _ROWS) * LANES]
        count = len(part) // (2 * LANES)
        _narrow(part, units, values)
        if weight_bits > 0:
            _weigh(weights[row : row + 2 * count], weight_bits, largest, pairs, parts)
            _narrow_weighted(part, units, parts, values[PAIRS * LANES :])
        for k in range(len(divisors)):
            own = limits[0 if symmetric else k]
            if weight_bits > 0:
                sum_weighted_products(values, pairs, count, divisors[k], own, sums)
            else:
                sum_products(values, pairs, count, divisors[k], own, sums)
            for lane in range(2 * LANES):
                totals[k, lane] += np.float64(sums[lane])


@inner
def _measure(ends: np.ndarray, symmetric: bool, signed: bool, units: np.ndarray) -> None:  # noqa: FBT001
    """Choose the unit of each lane, its inverse and its sign, and how far its middle is off."""
    for lane in range(LANES):
        high, low = ends[lane], ends[LANES + lane]
        larger = high if high > low else low  # noqa: FURB136
        larger = larger if high == high else high  # noqa: PLR0124  # NaN
        span = larger * _DOUBLE if symmetric else (high + low) * _WHOLE
        unit = max(span, _LEAST_UNIT)
        inverse = np.divide(_ONE, unit)
        sign = -_ONE if signed & (high > low) else _ONE
        units[_UNIT + lane], units[_INVERSE + lane] = unit, inverse
        units[_FACTOR + lane], units[_SIGN + lane] = sign * inverse, sign
        units[_OFF + lane] = (high - low) * _HALF * inverse


@inner
def _largest(weights: np.ndarray) -> np.float32:
    largest = _NIL
    for weight in weights:
        largest = max(largest, weight)
    return largest


@inner
def _limit(
    divisor: int,
    top: np.float32,
    symmetric: bool,  # noqa: FBT001
    units: np.ndarray,
    limits: np.ndarray,
    tried: np.ndarray,
) -> None:
    """Choose the zero points of a candidate, and the lowest and highest codes without them."""
    u32 = np.uint32
    part = np.float32(divisor) * _PART
    for lane in range(LANES):
        middle = top * _HALF - units[_OFF + lane] * part
        zero = np.rint(within(middle, _NIL, top))
        zero = (top + _ONE) * _HALF if symmetric else zero
        tried[LANES + lane] = zero
        least = np.int32(-zero)
        most = np.int32(top - zero)
        limits[lane] = np.int32(u32(u32(u32(least) & _LOW) * _TWICE))
        limits[LANES + lane] = np.int32(u32(u32(u32(most) & _LOW) * _TWICE))


@inner
def _pair(one: np.float32, other: np.float32) -> np.int32:
    """Round two numbers to 16 bits, and put them into a word."""
    u32 = np.uint32
    low = u32(np.float32(one + ROUNDER).view(np.uint32) & _LOW)
    high = u32(np.float32(other + ROUNDER).view(np.uint32) << _UPPER)
    pair: np.int32 = np.int32(u32(low | high))
    return pair


@inner
def _narrow(part: np.ndarray, units: np.ndarray, values: np.ndarray) -> None:
    """Round values to units."""
    for at in range(0, len(part) // 2, LANES):
        rows, to = part[2 * at : 2 * at + 2 * LANES], values[at : at + LANES]
        for lane in range(LANES):
            factor = units[_FACTOR + lane]
            to[lane] = _pair(rows[lane] * factor, rows[LANES + lane] * factor)


@inner
def _weigh(
    weights: np.ndarray,
    bits: int,
    largest: np.float32,
    pairs: np.ndarray,
    parts: np.ndarray,
) -> None:
    """Round weights to integers, of `bits` bits for the largest, and to these parts of it."""
    one = np.float32(1 << bits)
    scale = np.divide(one, largest)
    for k in range(0, len(weights), 2):
        pair = _pair(weights[k] * scale, weights[k + 1] * scale)
        pairs[k // 2] = pair
        parts[k] = np.divide(np.float32(pair & 0xFFFF), one)
        parts[k + 1] = np.divide(np.float32(pair >> 16), one)


@inner
def _narrow_weighted(
    part: np.ndarray, units: np.ndarray, parts: np.ndarray, values: np.ndarray
) -> None:
    """Round values, in units and times their weights."""
    for at in range(0, len(part) // 2, LANES):
        rows, to = part[2 * at : 2 * at + 2 * LANES], values[at : at + LANES]
        first, second = parts[2 * at // LANES], parts[2 * at // LANES + 1]
        for lane in range(LANES):
            factor = units[_FACTOR + lane]
            to[lane] = _pair(rows[lane] * factor * first, rows[LANES + lane] * factor * second)


@inner
def _compare(  # noqa: PLR0913, PLR0917
    k: int,
    scale: float,
    precision: int,
    units: np.ndarray,
    totals: np.ndarray,
    tried: np.ndarray,
    gains: np.ndarray,
    choices: np.ndarray,
) -> None:
    """Find the step of a candidate, and keep it or what is kept already in the next row."""
    choice, before, gain, most = choices[k + 1], choices[k], gains[k + 1], gains[k]
    number = np.float32(k)
    for lane in range(LANES):
        qq = np.float32(totals[LANES + lane] * scale)
        tried[lane] = np.divide(np.float32(totals[lane]), qq) * units[_UNIT + lane]
    round_steps(tried[:LANES], precision)
    for lane in range(LANES):
        step = tried[lane]
        size = np.float64(step) * np.float64(units[_INVERSE + lane])
        own = size * (2.0 * totals[lane] - size * (totals[LANES + lane] * scale))
        signed, least = step * units[_SIGN + lane], most[lane]
        step_before, number_before = before[lane], before[LANES + lane]
        gain[lane] = own if own > least else least  # noqa: FURB136
        choice[lane] = signed if own > least else step_before
        choice[LANES + lane] = number if own > least else number_before
