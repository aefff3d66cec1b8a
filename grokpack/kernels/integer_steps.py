"""Steps and zero points of groups that become int4 or int8: the specification, in numpy.

The search counts in integers, so that a twin may add in any order and in narrow lanes. A group is
measured in units of which its span, the distance from `-largest` to `largest` if it is symmetric
and from its least to its largest value otherwise, has 2**14; v is x in these units, rounded. A
candidate's step is 2**15 / d units, where d is one of `DIVISORS`, and

    q = (v + 2**14 // d) * d >> 15, clamped to [-zero, top - zero]

are its codes minus the zero point. The step of least squares for these codes, sum(v * q) /
sum(q * q) units, is rounded to the precision of steps; among the candidates the one whose step s
(in units again) takes most off the squared error, 2 * s * sum(v * q) - s * s * sum(q * q), is kept,
the first of equals. Both sums are of integers, and exact.

Where inputs have weights, they are integers in both sums: fractions of the group's largest weight
in units of `2**(bits - 15)`; v times that fraction is rounded.
"""

from __future__ import annotations

import numpy as np

RTN, MSE, LSQ = 0, 1, 2
F32, BF16, F16 = 0, 1, 2

DIVISORS = {
    4: (27, 28, 29, 30, 31, 32, 33, 35, 37, 39, 41, 44, 47, 50),
    8: tuple(range(494, 527, 2)),
}
"""Candidates: twice the number of steps in a span, where RTN has 30 or 510. At 4 bits they are 0.6
to 1.07 of RTN's step; normal groups of 128 have their best between 0.65 and 1.05, and twice as many
candidates gain 0.01 dB. At 8 bits clipping saves little, and the gain is in how values meet the
grid."""

PRODUCT_BITS = 15
"""Bits of a code times the weight of its input, without the sign."""

SPAN_BITS, DIVISOR_BITS = 14, 15
ROUNDER = np.float32(1.5 * 2**23)
"""The sum of a small number and this has the number, rounded to even, in its lowest bits."""

REFINEMENTS = 2
"""Rounds of least squares; two more gain less than 0.005 dB."""

SMALLEST = (2.0**-126, 2.0**-126, 2.0**-24)
"""Least step of each precision: normal in float32 and bfloat16; in float16 the least of all."""

_MAGNITUDE = np.int32(0x7FFFFFFF)


def fit(
    x: np.ndarray,
    bits: int,
    method: int,
    symmetric: bool,  # noqa: FBT001
    precision: int,
    weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return step and zero point of each column of a group, `f32[column]`."""
    top = np.float32((1 << bits) - 1)
    high, low = _extremes(x)
    step, zero = _reference(high, low, top, symmetric, precision)
    if method == RTN:
        return step, zero
    flipped = symmetric and method == LSQ
    sign = np.where((high > low) & flipped, np.float32(-1), np.float32(1))
    search = _Search(x, (high, low), sign, bits, symmetric, precision, weights)
    for divisor in DIVISORS[bits]:
        step, zero = search.better(divisor, step, zero)
    if method == LSQ:
        return _refined(x, step, zero, top, symmetric, precision, weights)
    return step, zero


def _extremes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return magnitudes of the largest value above and below zero; NaN if there is one.

    As integers, bits of positive floats are in the order of their values, those of negative floats
    in the order of their magnitudes, and NaN is beyond infinity in both.
    """
    bits = x.view(np.int32)
    high = np.maximum(bits.max(axis=0), 0).view(np.float32)
    low = (np.where(bits < 0, bits & _MAGNITUDE, 0).max(axis=0)).astype(np.int32)
    return high, low.view(np.float32)


def _largest(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Return the larger of two magnitudes; NaN if one is."""
    larger: np.ndarray = np.maximum(high.view(np.int32), low.view(np.int32)).view(np.float32)
    return larger


def _reference(
    high: np.ndarray,
    low: np.ndarray,
    top: np.float32,
    symmetric: bool,  # noqa: FBT001
    precision: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose like compressed-tensors (quantization/utils/helpers.py, `calculate_qparams`)."""
    half = (top + np.float32(1)) * np.float32(0.5)
    largest = _largest(high, low)
    step = _rounded(
        largest / (top * np.float32(0.5)) if symmetric else (high + low) / top, precision
    )
    step = np.where(largest == 0, np.float32(1), step)
    if symmetric:
        return step, np.full_like(step, half)
    zero = clamped(low / step - half, -half, half - np.float32(1))
    return step, np.rint(zero) + half


def _rounded(step: np.ndarray, precision: int) -> np.ndarray:
    """Round a positive step to nearest even of a precision, and up to its least."""
    if precision == BF16:
        import ml_dtypes

        step = step.astype(ml_dtypes.bfloat16).astype(np.float32)
    elif precision == F16:
        step = step.astype(np.float16).astype(np.float32)
    least = np.float32(SMALLEST[precision])
    held: np.ndarray = np.where(step < least, least, step)
    return held


def clamped(
    t: np.ndarray, low: np.ndarray | np.float32, high: np.ndarray | np.float32
) -> np.ndarray:
    """Clamp to a range; NaN becomes the low end."""
    t = np.where(t > low, t, low)
    within: np.ndarray = np.where(t < high, t, high)
    return within


class _Search:
    """Search among the candidates for the step that takes most off the squared error."""

    def __init__(  # a group, and how it is to be quantized
        self,
        x: np.ndarray,
        extremes: tuple[np.ndarray, np.ndarray],
        sign: np.ndarray,
        bits: int,
        symmetric: bool,  # noqa: FBT001
        precision: int,
        weights: np.ndarray | None,
    ) -> None:
        self._top = np.float32((1 << bits) - 1)
        self._precision, self._sign = precision, sign
        self._unit, self._off = _units(*extremes, symmetric)
        self._inverse = np.float32(1) / self._unit
        t = x * (sign * self._inverse)
        self._values = self._weighted = integers(t)
        self._weights, self._weight_bits = np.ones((1, 1), np.int64), 0
        if weights is not None:
            self._weight_bits = PRODUCT_BITS - bits
            one = np.float32(1 << self._weight_bits)
            self._weights = integers(weights * (one / weights.max()))
            self._weighted = integers(t * (self._weights.astype(np.float32) * (1 / one)))
        self._gain = np.zeros(x.shape[1])

    def better(
        self, divisor: int, step: np.ndarray, zero: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the step and zero point of a candidate where it is better, others where not."""
        own = zero
        if self._off is not None:
            part = np.float32(divisor * 2.0**-DIVISOR_BITS)
            middle = self._top * np.float32(0.5) - self._off * part
            own = np.rint(clamped(middle, np.float32(0), self._top))
        least = -own.astype(np.int64)
        half = (1 << DIVISOR_BITS - 1) // divisor
        q = (self._values + half) * divisor >> DIVISOR_BITS
        q = np.clip(q, least, least + int(self._top))
        vq = (self._weighted * q).sum(axis=0).astype(np.float64)
        qq = (self._weights * q * q).sum(axis=0) * 2.0**-self._weight_bits
        slope = vq.astype(np.float32) / qq.astype(np.float32)
        tried = _rounded(slope * self._unit, self._precision)
        size = tried * self._inverse.astype(np.float64)
        gain = size * (2 * vq - size * qq)
        taken = gain > self._gain
        self._gain = np.where(taken, gain, self._gain)
        return np.where(taken, tried * self._sign, step), np.where(taken, own, zero)


def _units(
    high: np.ndarray,
    low: np.ndarray,
    symmetric: bool,  # noqa: FBT001
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the unit of each column, and how far, in units, its middle is from zero."""
    span = (_largest(high, low) if symmetric else high + low) * np.float32(
        2.0 ** (symmetric - SPAN_BITS)
    )
    unit = np.where(span < SMALLEST[F32], np.float32(SMALLEST[F32]), span)
    return unit, None if symmetric else (high - low) * np.float32(0.5) * (np.float32(1) / unit)


def integers(t: np.ndarray) -> np.ndarray:
    """Round to even, to integers of 16 bits; of what has more, or is not finite, some bits."""
    whole: np.ndarray = (t + ROUNDER).view(np.int32).astype(np.int16).astype(np.int64)
    return whole


def in_order(terms: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Sum columns in float32, row after row, with rows weighted, `f32[row, 1]`."""
    total = np.zeros(terms.shape[1], np.float32)
    for row in terms if weights is None else terms * weights:
        total += row
    return total


def _refined(
    x: np.ndarray,
    step: np.ndarray,
    zero: np.ndarray,
    top: np.float32,
    symmetric: bool,  # noqa: FBT001
    precision: int,
    weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Move step and zero point by least squares, as long as that is better.

    Errors are compared in units of the first step, so that none underflows.
    """
    tried, at, unit = step, zero, np.float32(1) / step
    least = _error(x, step, zero, top, weights, unit)
    for _ in range(REFINEMENTS):
        tried, at = _regressed(x, tried, at, top, symmetric, precision, weights)
        error = _error(x, tried, at, top, weights, unit)
        better = error < least
        least = np.where(better, error, least)
        step, zero = np.where(better, tried, step), np.where(better, at, zero)
    return step, zero


def _error(
    x: np.ndarray,
    step: np.ndarray,
    zero: np.ndarray,
    top: np.float32,
    weights: np.ndarray | None,
    unit: np.ndarray,
) -> np.ndarray:
    """Return the squared error of each column times the square of `unit`."""
    t, q = _nearest(x, step, zero, top)
    size = step * unit
    error: np.ndarray = in_order((t - q) * (t - q), weights) * size * size
    return error


def _nearest(
    x: np.ndarray, step: np.ndarray, zero: np.ndarray, top: np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Return x in units of the step, and the nearest code minus the zero point."""
    t = x * (np.float32(1) / step)
    return t, np.rint(clamped(t, -zero, top - zero))


def _regressed(
    x: np.ndarray,
    step: np.ndarray,
    zero: np.ndarray,
    top: np.float32,
    symmetric: bool,  # noqa: FBT001
    precision: int,
    weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the step and zero point of least squared error for given codes.

    The zero point is that of the line through t = x / step and q, rounded; the step is that of the
    line through zero for the codes counted from there.
    """
    t, q = _nearest(x, step, zero, top)
    st, sq, stq, sqq = (in_order(terms, weights) for terms in (t, q, t * q, q * q))
    n = np.float32(len(x)) if weights is None else in_order(weights)[0]
    moved = zero
    if not symmetric:
        slope = (n * stq - st * sq) / (n * sqq - sq * sq)
        offset = (st - slope * sq) / n
        moved = np.rint(clamped(zero - offset / slope, np.float32(0), top))
    by = zero - moved
    slope = (stq + by * st) / (sqq + (by + by) * sq + (n * by) * by)
    slope = np.where(slope > 0, slope, np.float32(1))
    sign = np.where(step < 0, np.float32(-1), np.float32(1))
    return sign * _rounded(sign * step * slope, precision), moved
