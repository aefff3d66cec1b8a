"""Counts and exact moments of values, compiled: twins of `grokpack.kernels.statistics`."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, inner

_COLUMNS = 1024  # their sums take 4 kB, and stay in the first-level cache with a row's codes
_ROWS = 65536  # squares of so many codes fit 32 bits
_FRACTION_BITS = np.uint32(23)
_FRACTION = np.uint32((1 << 23) - 1)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_NOT_FINITE = np.uint32(255)
_LOW = np.uint64((1 << 32) - 1)
_HALF = np.uint64(32)
_PART = np.uint64((1 << 24) - 1)
_PART_BITS = np.uint64(24)


def count_codes(
    codes: np.ndarray, counts: np.ndarray, squares: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """Call the compiled twin of `statistics.count_codes`."""
    tables, sums = np.zeros((4, 256), np.int64), np.empty(_COLUMNS, np.int32)
    _count_bytes(codes.reshape(-1).view(np.uint8), tables, counts)
    _sum_codes(codes, sums, squares, low, high)


@compiled
def _sum_codes(
    codes: np.ndarray, sums: np.ndarray, squares: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """Add the squares of each column's codes, and find its extremes."""
    rows, out = codes.shape
    for top in range(0, rows, _ROWS):
        for left in range(0, out, _COLUMNS):
            right = min(left + _COLUMNS, out)
            strip = codes[top : top + _ROWS, left:right]
            _sum_squares_and_extremes(strip, sums, low[left:right], high[left:right])
            for column in range(right - left):
                squares[left + column] += sums[column]


@compiled
def _count_bytes(octets: np.ndarray, tables: np.ndarray, counts: np.ndarray) -> None:
    """Count bytes in four tables: equal neighbours would wait for each other at one counter."""
    whole = octets.size // 4 * 4
    for at in range(0, whole, 4):
        tables[0, octets[at]] += 1
        tables[1, octets[at + 1]] += 1
        tables[2, octets[at + 2]] += 1
        tables[3, octets[at + 3]] += 1
    for at in range(whole, octets.size):
        tables[0, octets[at]] += 1
    for byte in range(256):
        total = tables[0, byte] + tables[1, byte] + tables[2, byte] + tables[3, byte]
        counts[(byte + 128) & 255] += total


@inner
def _sum_squares_and_extremes(
    strip: np.ndarray, sums: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """Sum squares and find extremes of a strip's columns, in loops that vectorize."""
    rows, out = strip.shape
    sums[:out] = 0
    for row in range(rows):
        codes = strip[row]
        for column in range(out):
            code = np.int32(codes[column])
            sums[column] += code * code
            low[column] = min(low[column], codes[column])
            high[column] = max(high[column], codes[column])


@compiled
def fold_columns(
    squares: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    scales: np.ndarray,
    words: np.ndarray,
    ends: np.ndarray,
) -> int:
    """Compiled twin of `statistics.fold_columns`."""
    left_out = 0
    lowest, highest = ends[0], ends[1]
    bits = scales.view(np.uint32)
    for column in range(scales.size):
        exponent = (bits[column] >> _FRACTION_BITS) & _NOT_FINITE
        if exponent == _NOT_FINITE:
            left_out += 1
            continue
        scale = np.float64(scales[column])
        one, other = low[column] * scale + 0.0, high[column] * scale + 0.0
        lowest = min(lowest, min(one, other))  # noqa: PLW3301  # of three it is not compiled well
        highest = max(highest, max(one, other))  # noqa: PLW3301  # likewise
        square = _square(bits[column], exponent)
        total = np.uint64(squares[column])
        lower, upper = (square & _PART) * total, (square >> _PART_BITS) * total
        row = np.int64(exponent | np.uint32(exponent == 0))  # max(e, 1)
        words[row, 0] += lower & _LOW
        words[row, 1] += lower >> _HALF
        words[row, 2] += upper & _LOW
        words[row, 3] += upper >> _HALF
    ends[0], ends[1] = lowest, highest
    return left_out


@inner
def _square(bits: np.uint32, exponent: np.uint32) -> np.uint64:
    """Return m * m of a finite value."""
    mantissa = np.uint64(bits & _FRACTION)
    if exponent != np.uint32(0):
        mantissa |= np.uint64(1 << 23)
    return mantissa * mantissa


@compiled
def count_floats(
    values: np.ndarray,
    counts: np.ndarray,
    special: np.ndarray,
    words: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Compiled twin of `statistics.count_floats`."""
    bits = values.view(np.uint32)
    lowest, highest = ends[0], ends[1]
    for at in range(values.size):
        pattern = bits[at]
        counts[np.int64(pattern >> _FRACTION_BITS)] += 1
        exponent = (pattern >> _FRACTION_BITS) & _NOT_FINITE
        if exponent == _NOT_FINITE:
            if pattern & _FRACTION == np.uint32(0):
                special[2 + np.int64(pattern >> np.uint32(31))] += 1
            continue
        if pattern & _MAGNITUDE == np.uint32(0):
            special[np.int64(pattern >> np.uint32(31))] += 1
        square = _square(pattern, exponent)
        row = np.int64(exponent | np.uint32(exponent == 0))  # max(e, 1)
        words[row, 0] += square & _LOW
        words[row, 1] += square >> _HALF
        value = np.float64(values[at]) + 0.0
        lowest = min(lowest, value)
        highest = max(highest, value)
    ends[0], ends[1] = lowest, highest
