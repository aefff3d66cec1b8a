"""Searched scales for Q4_0 and Q4_1: less squared error than ggml's, in the same format.

Each candidate scale gives codes, and codes give their best scale by least squares. The remaining
squared error is then known from sums alone, without reading the block again. The best candidate's
scale is rounded to float16 and the codes are made again with it, twice. ggml's own fit stays where
it has less squared error. Squares are weighted by row, `f32[32, 1]`; weights of one change no bit.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels._ggml.blocks_of_32 import (
    MAGIC,
    TOP4,
    QuantizedBlock,
    extremes,
    farthest,
    fit_q4_0,
    fit_q4_1,
    in_order,
    inverse,
    to_f16,
    with_q4_0,
    with_q4_1,
)
from grokpack.kernels.float_casts import widen_f16

DIVISORS_Q4_0 = np.array(
    [-8.8, -8.4, -8.0, -7.65, -7.3, -6.9, -6.5, 8.0, 7.6, 7.2, 6.85, 6.5, 6.1], np.float32
)
"""Divisors of the farthest value that give candidate scales: codes go from -8 to 7, either sign."""
SPANS_Q4_1 = np.array([13.2, 13.8, 14.3, 14.7, 15.1, 15.5, 16.0, 16.6, 17.3], np.float32)
"""Numbers of steps between least and largest value; codes have 15."""
REFINEMENTS = 2
_HALF_SPAN = np.float32(7.5)


def clip(y: np.ndarray, low: float, high: float) -> np.ndarray:
    """Round to the nearest whole number within bounds, as float32; NaN becomes the upper one."""
    whole = (y + MAGIC) - MAGIC
    whole = np.where(whole < np.float32(high), whole, np.float32(high))
    return np.where(whole > np.float32(low), whole, np.float32(low))


def best_q4_0(x: np.ndarray, w: np.ndarray) -> QuantizedBlock:
    """Return the fit of Q4_0 with the least squared error of all candidates."""
    far = farthest(x)
    gain, scale = np.zeros_like(far), np.zeros_like(far)
    for divisor in DIVISORS_Q4_0:
        k = clip(x * inverse(far / divisor), -8, 7)
        xk, kk = in_order(x * k * w), in_order(k * k * w)
        d = xk / kk
        this = d * xk
        better = this > gain
        gain, scale = np.where(better, this, gain), np.where(better, d, scale)
    best = fit_q4_0(x)
    for _ in range(REFINEMENTS):
        d = widen_f16(to_f16(scale))
        fit = with_q4_0(x, d, inverse(d))
        best = best.where(fit.error(x, w) < best.error(x, w), fit)
        k = fit.codes.astype(np.float32) - np.float32(8)
        scale = in_order(x * k * w) / in_order(k * k * w)
    return best


def best_q4_1(x: np.ndarray, w: np.ndarray) -> QuantizedBlock:
    """Return the fit of Q4_1 with the least squared error of all candidates."""
    low, high = extremes(x)
    middle = low + (high - low) * np.float32(0.5)
    sx = in_order(x * w)
    gain, scale, least = (np.zeros_like(low) for _ in range(3))
    for span in SPANS_Q4_1:
        k = clip((x - middle) * inverse((high - low) / span) + _HALF_SPAN, 0, TOP4)
        d, m, this = regress(x, k, sx, w)
        better = this > gain
        gain, scale = np.where(better, this, gain), np.where(better, d, scale)
        least = np.where(better, m, least)
    best = fit_q4_1(x)
    for _ in range(REFINEMENTS):
        d, m = widen_f16(to_f16(scale)), widen_f16(to_f16(least))
        fit = with_q4_1(x, d, m, m, inverse(d))
        best = best.where(fit.error(x, w) < best.error(x, w), fit)
        scale, least, _gain = regress(x, fit.codes.astype(np.float32), sx, w)
    return best


def regress(
    x: np.ndarray, k: np.ndarray, sx: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit `x = d * k + m` by least squares: d, m, and the error removed times the weights' sum."""
    sk, skk, sxk, n = in_order(k * w), in_order(k * k * w), in_order(x * k * w), in_order(w)
    shared = n * sxk - sx * sk
    d = shared / (n * skk - sk * sk)
    return d, (sx - d * sk) / n, d * shared
