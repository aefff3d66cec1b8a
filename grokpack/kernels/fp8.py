"""FP8 with a step for each block of weights: the specification, in numpy.

Codes are E4M3 without infinities, as OCP's 8-bit specification has it: sign, four bits of exponent
with a bias of 7, three of fraction. The largest value is 448; 0x7F and 0xFF are NaN, and are never
written. A value x of a block becomes the code of

    round(|x| / step), with the sign of x

rounded to nearest even at the spacing of E4M3, every operation in float32. That is what a cast by
ml_dtypes or torch leaves of the quotient, and what compressed-tensors computes for the same
scale (quantization/lifecycle/forward.py, `_quantize`).

A matrix is cut into blocks of `height` rows and `width` columns, smaller at its lower and right
edges; rows can be inputs or outputs. Blocks of one column serve for a step for each output. Sums
of a block are float32: each of `LANES` columns in the order of rows, then halves of the lanes are
added until one is left.

Methods:
    RTN  step = the largest magnitude / 448, as engines and other tools choose it
    MSE  the best of that step and `FACTORS` times it, by squared error; the earlier on a tie

No step is so small that a quotient rounds to more than 448. A block of zeros has step 1. No step is
nearer to zero than `SMALLEST`, for some engines read subnormal numbers as zero. A block with a
value that is not finite cannot be written: callers refuse it by its sum of squares, and its codes
mean nothing.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.float_casts import widen_bf16

RTN, MSE = 0, 1

LARGEST = np.float32(448)
"""The largest value of E4M3."""

FACTORS = np.array([k / 16 for k in range(17, 32)], np.float32)
"""Steps to try beside RTN's, as fractions of it. At twice a step all codes but subnormal ones are
the same, one exponent lower; below one, the largest values would be clipped."""

SMALLEST = np.float32(2.0**-126)
"""Least step: the least normal float32."""

LANES = 128
"""Columns that are summed side by side; the most columns that a block of several can have."""

EXPONENT_BITS = 0x7F800000
LEAST_POWER = 121 << 23
"""Bits of 2^-6, below which E4M3 is subnormal: spacing no longer falls."""
SHIFT = 20 << 23
"""Added to the bits of a power of two: times 2^20, at which float32 has the power's spacing of
three bits of fraction."""
DROPPED_BITS = 20
BIAS = 121 << 3
"""Excess of a float32's exponent over that of E4M3, where codes count it."""

_STRIP = 1 << 17  # values at a time, so that results stay in the cache


def quantize(  # noqa: PLR0913, PLR0917  # what a matrix and its codes consist of
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    height: int,
    width: int,
    method: int,
    out: np.ndarray,
    steps: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Choose the steps of some columns, and write their codes; all arrays contiguous.

    Args:
        values: `[row, all columns]`: int8 codes, bits of bfloat16 as uint16, or float32.
        scales: `f32[group, all columns]`, by which int8 is multiplied.
        column: First column; there are as many as `out` has.
        per_group: Rows that share a row of `scales`.
        height: Rows of a block.
        width: Columns of a block, at most `LANES`; 1 for a step for each column.
        method: `RTN` or `MSE`.
        out: Filled with codes, `u8[row, column]`, of which rows or columns lie side by side.
        steps: Filled, `f32[block, block]`.
        sums: Filled with sums of x*x, e*e and x*e, `f32[3, block, block]`; e = x - step * value.
        counts: Filled, `i32[2, block, block]`: codes of the largest magnitude, and nonzero values
            whose code means zero.
    """
    stride = max(1, _STRIP // (height * width)) * width
    for g, top in enumerate(range(0, len(values), height)):
        rows = slice(top, min(top + height, len(values)))
        for first in range(0, out.shape[1], stride):
            strip = slice(first, min(first + stride, out.shape[1]))
            blocks = slice(first // width, -(-strip.stop // width))
            source = slice(column + strip.start, column + strip.stop)
            with np.errstate(all="ignore"):
                x = _widened(values[rows, source], scales[:, source], top, per_group)
                step = _fitted(np.abs(x), width, method)
                steps[g, blocks] = step
                own = sums[:, g, blocks], counts[:, g, blocks]
                out[rows, strip] = _encoded(x, step, width, *own)


def _widened(values: np.ndarray, scales: np.ndarray, top: int, per_group: int) -> np.ndarray:
    """Return rows from `top` on in float32."""
    if values.dtype == np.float32:
        return values
    if values.dtype == np.uint16:
        return widen_bf16(values)
    product: np.ndarray = values * scales[np.arange(top, top + len(values)) // per_group]
    return product


def _fitted(magnitudes: np.ndarray, width: int, method: int) -> np.ndarray:
    """Return the step of each block."""
    edges = np.arange(0, magnitudes.shape[1], width)
    peaks = np.maximum.reduceat(magnitudes.max(axis=0), edges)
    base = peaks / LARGEST
    best = np.where(peaks == 0, np.float32(1), np.maximum(base, SMALLEST))
    if method == RTN:
        return best
    least = _error(magnitudes, best, width)
    for factor in FACTORS:
        tried = np.maximum(base * factor, SMALLEST)
        error = _error(magnitudes, tried, width)
        better = error < least
        least, best = np.where(better, error, least), np.where(better, tried, best)
    return best


def _error(magnitudes: np.ndarray, step: np.ndarray, width: int) -> np.ndarray:
    """Return the squared error of each block."""
    own = _by_column(step, width, magnitudes.shape[1])
    rounded, _ = _rounded(magnitudes, own)
    error = magnitudes - rounded * own
    return _summed(error * error, width)


def _encoded(
    x: np.ndarray, step: np.ndarray, width: int, sums: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return codes, and fill the errors of their blocks."""
    magnitudes, own = np.abs(x), _by_column(step, width, x.shape[1])
    rounded, codes = _rounded(magnitudes, own)
    error = magnitudes - rounded * own
    terms = (magnitudes * magnitudes, error * error, magnitudes * error)
    for to, products in zip(sums, terms, strict=True):
        to[...] = _summed(products, width)
    edges = np.arange(0, x.shape[1], width)
    for to, found in zip(counts, (rounded == LARGEST, (rounded == 0) & (x != 0)), strict=True):
        to[...] = np.add.reduceat(np.count_nonzero(found, axis=0), edges)
    signs = (x.view(np.uint32) >> np.uint32(24)).astype(np.uint8) & np.uint8(0x80)
    signed: np.ndarray = codes | signs
    return signed


def _rounded(magnitudes: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values of E4M3 nearest to magnitudes in units of the step, and their codes.

    Adding a number at which float32 has the spacing of E4M3 rounds, and leaves the code's distance
    from its power of two in the lowest bits.
    """
    t = magnitudes / step
    power = np.maximum(t.view(np.uint32) & np.uint32(EXPONENT_BITS), np.uint32(LEAST_POWER))
    shifted = power + np.uint32(SHIFT)
    total = t + shifted.view(np.float32)
    codes = total.view(np.uint32) - shifted + (power >> np.uint32(DROPPED_BITS)) - np.uint32(BIAS)
    return total - shifted.view(np.float32), codes.astype(np.uint8)


def _by_column(step: np.ndarray, width: int, columns: int) -> np.ndarray:
    """Return the step of each column."""
    own: np.ndarray = np.repeat(step, width)[:columns]
    return own


def _summed(terms: np.ndarray, width: int) -> np.ndarray:
    """Sum the terms of each block: columns in the order of rows, then halves of the lanes."""
    total = np.zeros(terms.shape[1], np.float32)
    for row in terms:
        total += row
    if width == 1:
        return total
    blocks = -(-len(total) // width)
    lanes = np.zeros((blocks, LANES), np.float32)
    padded = np.zeros(blocks * width, np.float32)
    padded[: len(total)] = total
    lanes[:, :width] = padded.reshape(blocks, width)
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    folded: np.ndarray = lanes[:, 0]
    return folded
