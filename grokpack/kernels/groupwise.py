"""Group-wise int4 and int8 from weights as xAI stores them: the specification, in numpy.

A weight is `[in, column]`: int8 codes times a scale for each source group of inputs and column, or
float32. An output group is `group` inputs of a column; it gets a step (what formats call scale)
and a zero point, and each value x the unsigned code u that stands for step * (u - zero):

    q = round_half_even(x / step + (zero - half)), clamped to [-half, half - 1];  u = q + half

with half = 2**(bits - 1), every operation rounded to float32. That is what compressed-tensors
computes for the same scale and zero point (quantization/lifecycle/forward.py, `_quantize`).
Symmetric groups have zero = half. Sums of a group are float32, added in the order of rows.

Methods, with what they leave of normal weights at 4 bits, groups of 128 and bfloat16 steps, as the
ratio of signal to error (symmetric, asymmetric); `group_steps` has their formulas:

    RTN  19.1, 20.0 dB  step from the extremes, as compressed-tensors' `calculate_qparams`
    MSE  19.9, 20.4 dB  the best of several steps, each fitted to its codes by least squares
    LSQ  20.3, 20.5 dB  as MSE; where it is symmetric, the step may be negative, so that -half is at
                        the side of the larger extreme; then least squares of the values on the
                        codes moves step and zero point, `REFINEMENTS` times, if that is better

For comparison, half-quadratic quantization (Badri and Shaji 2023) leaves 20.3 dB with real zero
points, which no integer format holds, and 20.0 dB when those are rounded.
The best that any step and integer zero point can do there is 20.49 dB; LSQ gives 20.45.

A group whose step is not finite cannot be written: a value is not finite, or the step is beyond
what `precision` holds (65504 for float16). Callers refuse it; its codes and sums mean nothing, its
zero point only that something was stored. A group of zeros has step 1 and codes that mean zero. No
step is nearer to zero than `SMALLEST`, for some engines read subnormal numbers as zero.
Squares of values below 1e-19 underflow in the sums, and those above 1e19 overflow.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.group_steps import clamped, fit, in_order

OCTAVES = (-32, 4)
HISTOGRAM_BINS = 4 * (OCTAVES[1] - OCTAVES[0]) + 2
"""Bins of a ratio: below the octaves, four in each, and beyond them."""
HISTOGRAM_EDGES = (
    0.0,
    *(2.0**k * (1 + n / 4) for k in range(*OCTAVES) for n in range(4)),
    2.0 ** OCTAVES[1],
    float("inf"),
)
"""Start of bin i and, in the next element, its end."""

_STRIP = 1 << 17  # values at a time, so that results stay in the cache
FRACTION_BITS = 23
QUARTER_BITS = 21  # bits of float32 below those that count quarters of an octave
FIRST_QUARTER = 4 * (127 + OCTAVES[0])
_NOT_FINITE = 255


def quantize(  # noqa: PLR0913, PLR0917  # what a band of a weight and its codes consist of
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    group: int,
    bits: int,
    method: int,
    symmetric: bool,  # noqa: FBT001  # numba takes no keywords
    precision: int,
    out: np.ndarray,
    steps: np.ndarray,
    zeros: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    importance: np.ndarray | None = None,
) -> None:
    """Choose steps and zero points of some columns, and write their codes; all arrays contiguous.

    Args:
        values: `i8[in, all columns]`, or float32.
        scales: `f32[source group, all columns]`; ones for values in float32.
        column: First column; there are as many as `out` has.
        per_group: Inputs of a source group; output groups may straddle them.
        group: Inputs of an output group: a multiple of 8 that divides `in`.
        bits: 4 or 8.
        method: `RTN`, `MSE` or `LSQ`.
        symmetric: True if the zero point is fixed in the middle.
        precision: Precision to which steps are rounded, to nearest even: `F32`, `BF16` or `F16`.
        out: Filled with u. 4 bits: `u32[in / 8, column]`, input 8k + i in bits 4i to 4i + 3 of row
            k; 8 bits: `u8[in, column]`. With no rows, only steps and zeros are filled.
        steps: Filled, `f32[in / group, column]`.
        zeros: Filled, `u8[in / group, column]`.
        sums: Filled with sums of x*x, e*e and x*e, `f32[3, in / group, column]`; e = x - step * (u
            - zero).
        counts: Filled, `i32[2, in / group, column]`: codes at either end of their range, and
            nonzero values whose code means zero.
        importance: Weight of the squared error of each input where steps are searched for,
            `f32[in]`; None if all are equal. Sums are not weighted.
    """
    width = max(1, _STRIP // group)
    for first in range(0, out.shape[1], width):
        strip = slice(first, min(first + width, out.shape[1]))
        source = slice(column + strip.start, column + strip.stop)
        for g in range(len(values) // group):
            rows = np.arange(g * group, (g + 1) * group)
            with np.errstate(all="ignore"):
                x = values[rows, source].astype(np.float32) * scales[rows // per_group, source]
                weights = None if importance is None else importance[rows, None]
                step, zero = fit(x, bits, method, symmetric, precision, weights)
                steps[g, strip], zeros[g, strip] = step, zero.astype(np.uint8)
                if len(out):
                    codes = _encode(x, step, zero, bits, sums[:, g, strip], counts[:, g, strip])
                    _pack(codes, out[g * len(out) * group // len(values) :, strip])


def _encode(
    x: np.ndarray,
    step: np.ndarray,
    zero: np.ndarray,
    bits: int,
    sums: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:
    """Encode a group, `u8[group, column]`, and fill its errors."""
    half = np.float32(1 << (bits - 1))
    shift = zero - half
    q = np.rint(clamped(x / step + shift, -half, half - np.float32(1)))
    e = x - (q - shift) * step
    for to, terms in zip(sums, (x * x, e * e, x * e), strict=True):
        to[...] = in_order(terms)
    counts[0] = np.count_nonzero((q == -half) | (q == half - 1), axis=0)
    counts[1] = np.count_nonzero((q == shift) & (x != 0), axis=0)
    codes: np.ndarray = (q + half).astype(np.uint8)
    return codes


def _pack(codes: np.ndarray, out: np.ndarray) -> None:
    """Pack the codes of a group into the first rows of `out`."""
    if out.dtype == np.uint8:
        out[: len(codes)] = codes
        return
    words = out[: len(codes) // 8]
    words[...] = 0
    for i in range(8):
        words |= codes[i::8].astype(np.uint32) << np.uint32(4 * i)


def transpose_words(words: np.ndarray, out: np.ndarray) -> None:
    """Transpose `u32[rows, column]` to `u32[column, rows]`."""
    out[...] = words.T


def transpose_bytes(octets: np.ndarray, out: np.ndarray) -> None:
    """Transpose `u8[rows, column]`, contiguous, to `u8[column, rows]`."""
    out[...] = octets.T


def tally_groups(
    sums: np.ndarray,
    counts: np.ndarray,
    powers: np.ndarray,
    totals: np.ndarray,
    worst: np.ndarray,
    histogram: np.ndarray,
) -> None:
    """Add up the errors of groups exactly, so that order and partition do not matter.

    A float32 is m * 2**(max(e, 1) - 150) with the biased exponent e of its bits; for each e there
    is one sum of the integers m, which are below 2**24: 2**39 groups fit.

    Args:
        sums: `f32[3, group, column]`, as `quantize` fills them.
        counts: `i32[2, group, column]`.
        powers: `i64[3, 256]`, for each of the sums its m by max(e, 1); signed for the third.
        totals: `i64[6]`: groups, those whose sum of x*x is zero, those without error among the
            others, those with a sum that is not finite, which are in nothing else, codes at an end,
            and values that became zero.
        worst: `f32[1]`, largest ratio of the sums of e*e and x*x.
        histogram: `i64[HISTOGRAM_BINS]` of the ratios, without zero groups and groups without
            error.
    """
    flat = sums.reshape(3, -1)
    finite = np.isfinite(flat).all(axis=0)
    kept = flat[:, finite]
    for row, values in zip(powers, kept, strict=True):
        bits = values.view(np.uint32)
        exponents = (bits >> FRACTION_BITS) & _NOT_FINITE
        fractions = (bits & ((1 << FRACTION_BITS) - 1)).astype(np.int64)
        mantissas = fractions + ((exponents > 0).astype(np.int64) << FRACTION_BITS)
        np.add.at(row, np.maximum(exponents, 1), np.where(values < 0, -mantissas, mantissas))
    some = kept[0] > 0
    with np.errstate(over="ignore", under="ignore"):
        ratios = kept[1, some] / kept[0, some]
    worst[0] = max(worst[0], ratios.max(initial=0))
    ends, gone = counts.reshape(2, -1)[:, finite].sum(axis=1, dtype=np.int64).tolist()
    exact = np.count_nonzero(kept[1, some] == 0)
    totals += [finite.size, np.count_nonzero(~some), exact, (~finite).sum(), ends, gone]
    quarters = (ratios[kept[1, some] > 0].view(np.uint32) >> QUARTER_BITS).astype(np.int64)
    bins = np.clip(quarters - FIRST_QUARTER + 1, 0, HISTOGRAM_BINS - 1)
    histogram += np.bincount(bins, minlength=HISTOGRAM_BINS)
