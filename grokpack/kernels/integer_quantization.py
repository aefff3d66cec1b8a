"""Group-wise int4 and int8 from weights as xAI stores them: the specification, in numpy.

A weight is `[in, column]`: int8 codes times a scale for each source group of inputs and column, or
float32. An output group is `group` inputs of a column; it gets a step (what formats call scale)
and a zero point, and each value x the unsigned code u that stands for step * (u - zero):

    q = round_half_even(x / step + (zero - half)), clamped to [-half, half - 1];  u = q + half

with half = 2**(bits - 1), every operation rounded to float32. That is what compressed-tensors
computes for the same scale and zero point (quantization/lifecycle/forward.py, `_quantize`).
Symmetric groups have zero = half. Sums of a group are float32, added in the order of rows.

Methods, with what they leave of normal weights at 4 bits, groups of 128 and bfloat16 steps, as the
ratio of signal to error (symmetric, asymmetric); `integer_steps` has their formulas:

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

from grokpack.kernels.integer_steps import clamped, fit, in_order

_STRIP = 1 << 17  # values at a time, so that results stay in the cache


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
