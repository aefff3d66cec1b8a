"""Counts and exact moments of values: the specification, in numpy.

Everything counted is an integer, so that the order in which parts of an array are counted, and how
it is cut, cannot change a result. A sum of squares is kept as integers too. A float32 is
m * 2**(max(e, 1) - 150), with the biased exponent e of its bits and m below 2**24; its square is
m*m * 4**(max(e, 1) - 1) in units of 2**-298. So one sum of m*m for each e is exact, if it has room:
it is spread over words of 64 bits, to each of which a value adds less than 2**32.

Accumulators are filled in place:

    counts  int64[256]     of codes: element code + 128
            int64[512]     of floats: element sign * 256 + biased exponent
    special int64[4]       zeros, negative zeros, +infinity, -infinity
    words   uint64[256, 4] row max(e, 1): low and high half of m*m or of its lower part,
                           the same of its upper part, in units of 2**24
    ends    float64[2]     smallest and largest finite value so far, never a negative zero
"""

from __future__ import annotations

import numpy as np

CODES = 256
EXPONENTS = 256
WORD_BITS = 32
"""A value adds less than 2**32 to a word, so that 2**32 values fit."""
PART_BITS = 24
"""Bit at which m*m of a scale is cut, so that each part times a sum of squares fits 64 bits."""
MOST_ROWS = 1 << 24
"""Rows whose squares of codes may be summed before they are folded, so that sums fit."""
NOT_FINITE = 255
"""Biased exponent of infinities and NaN."""

_BLOCK = 1 << 16  # values at a time: results stay in the cache, and sums below 2**53
_STRIP = 1 << 20  # codes at a time, likewise
_PAIRS_PAY = 1 << 17  # codes from which on a table of 65536 pairs is faster than one of 256
_ROWS = 1 << 16  # squares of so many codes fit 32 bits
_LOW = np.uint64((1 << WORD_BITS) - 1)
_HALF = np.uint64(WORD_BITS)
_FRACTION_BITS = np.uint32(23)


def count_codes(
    codes: np.ndarray, counts: np.ndarray, squares: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """Count int8 codes, and gather for each column the values that its scale will multiply.

    Args:
        codes: `i8[rows, out]`, contiguous.
        counts: `i64[256]`, number of occurrences of each code.
        squares: `i64[out]`, sum of the squares of a column's codes.
        low: `i8[out]`, smallest code of a column.
        high: `i8[out]`, largest.
    """
    if not codes.size:
        return
    step = min(max(1, _STRIP // codes.shape[1]), _ROWS)
    for first in range(0, codes.shape[0], step):
        strip = codes[first : first + step]
        counts += np.roll(_count_bytes(strip.reshape(-1).view(np.uint8)), CODES // 2)
        np.minimum(low, strip.min(axis=0), out=low)
        np.maximum(high, strip.max(axis=0), out=high)
        wide = strip.astype(np.int16)
        np.multiply(wide, wide, out=wide)
        squares += wide.sum(axis=0, dtype=np.int32)


def _count_bytes(octets: np.ndarray) -> np.ndarray:
    """Count each byte; two at a time if there are many."""
    if octets.size < _PAIRS_PAY:
        return np.bincount(octets, minlength=CODES)
    even = octets.size // 2 * 2
    pairs = np.bincount(octets[:even].view(np.uint16), minlength=CODES * CODES)
    table = pairs.reshape(CODES, CODES)
    counts: np.ndarray = table.sum(axis=0) + table.sum(axis=1)
    counts += np.bincount(octets[even:], minlength=CODES)
    return counts


def fold_columns(
    squares: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    scales: np.ndarray,
    words: np.ndarray,
    ends: np.ndarray,
) -> int:
    """Add the columns of a scale group, as `code * scale` without rounding.

    Args:
        squares: `i64[out]`, of at most `MOST_ROWS` rows.
        low: `i8[out]`.
        high: `i8[out]`.
        scales: `f32[out]`.
        words: Sums of squares.
        ends: Extremes.

    Returns:
        The number of columns left out because their scale is NaN or infinite.
    """
    finite = np.isfinite(scales)
    for first in range(0, scales.size, _BLOCK):
        kept = finite[first : first + _BLOCK]
        block = slice(first, first + _BLOCK)
        _fold(squares[block][kept], scales[block][kept], words)
    if finite.any():
        wide = scales[finite].astype(np.float64)
        products = np.stack([low[finite] * wide, high[finite] * wide])
        _widen(ends, products)
    return int(scales.size - finite.sum())


def _fold(squares: np.ndarray, scales: np.ndarray, words: np.ndarray) -> None:
    exponents, mantissas = _split(scales)
    product = mantissas * mantissas
    sums = squares.astype(np.uint64)
    lower = (product & np.uint64((1 << PART_BITS) - 1)) * sums
    upper = (product >> np.uint64(PART_BITS)) * sums
    for column, part in enumerate((lower & _LOW, lower >> _HALF, upper & _LOW, upper >> _HALF)):
        words[:, column] += _sum_by(exponents, part)


def _widen(ends: np.ndarray, values: np.ndarray) -> None:
    """Update the extremes; adding zero makes a negative zero a zero."""
    ends[0] = min(ends[0], float(values.min()) + 0.0)
    ends[1] = max(ends[1], float(values.max()) + 0.0)


def count_floats(
    values: np.ndarray,
    counts: np.ndarray,
    special: np.ndarray,
    words: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Count float32 values by sign and exponent, and add their squares and extremes.

    Args:
        values: `f32[n]`, contiguous.
        counts: `i64[512]`.
        special: `i64[4]`.
        words: Sums of squares of the finite values.
        ends: Extremes of the finite values.
    """
    for first in range(0, values.size, _BLOCK):
        block = values[first : first + _BLOCK]
        bits = block.view(np.uint32)
        counts += np.bincount(bits >> _FRACTION_BITS, minlength=2 * EXPONENTS)
        special += [np.count_nonzero(bits == pattern) for pattern in SPECIAL_BITS]
        finite = np.isfinite(block)
        kept = block if finite.all() else block[finite]
        if not kept.size:
            continue
        _widen(ends, kept)
        exponents, mantissas = _split(kept)
        product = mantissas * mantissas
        words[:, 0] += _sum_by(exponents, product & _LOW)
        words[:, 1] += _sum_by(exponents, product >> _HALF)


SPECIAL_BITS = tuple(np.uint32(b) for b in (0, 0x80000000, 0x7F800000, 0xFF800000))
"""Bits of zero, negative zero, +infinity and -infinity."""


def _split(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return max(e, 1) and m of finite float32 values."""
    bits = values.view(np.uint32)
    exponents = (bits >> _FRACTION_BITS) & np.uint32(NOT_FINITE)
    fractions = bits & np.uint32((1 << 23) - 1)
    mantissas = fractions | ((exponents > 0).astype(np.uint32) << _FRACTION_BITS)
    return np.maximum(exponents, 1), mantissas.astype(np.uint64)


def _sum_by(exponents: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Sum parts below 2**32 for each exponent; float64 holds the sums of a block exactly."""
    return np.bincount(exponents, weights=parts, minlength=EXPONENTS).astype(np.uint64)
