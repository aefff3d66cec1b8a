"""Q4_K: 256 weights in eight sub-blocks with 6-bit scales and minima.

Source: ggml-quants.c, `quantize_row_q4_K_ref` and `make_qkx2_quants` with rmin -1, rdelta 0.1 and
20 steps. Arrays are `f32[8, 32, column]` for weights, `f32[8, column]` for values of sub-blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grokpack.kernels._ggml.blocks_of_32 import (
    BLOCK,
    MAGIC,
    TOP4,
    QuantizedBlock,
    in_order,
    nearest,
    to_f16,
)
from grokpack.kernels.float_casts import widen_f16

SUPER = 256
"""Weights in a block of Q4_K; ggml-common.h: QK_K."""
SUBS = 8
TOP6 = 63
"""Largest code of a sub-block's scale and minimum."""
_STEPS = 20
_FIRST, _STEP = np.float32(-1), np.float32(0.1)
STEPS = np.array(
    [(_FIRST + _STEP * np.float32(i)) + np.float32(TOP4) for i in range(_STEPS + 1)], np.float32
)
"""Numbers of steps in a sub-block's range, in the order in which they are tried."""
_INFINITE = np.float32(np.inf)


@dataclass(frozen=True, slots=True)
class KFit:
    """Stored parts of a block of Q4_K: codes `i8[8, 32, column]`, 6-bit `u8[8, column]`, heads."""

    codes: np.ndarray
    scales: np.ndarray
    minima: np.ndarray
    heads: tuple[np.ndarray, np.ndarray]

    def sub_block(self, sub: int) -> QuantizedBlock:
        """Return a sub-block with its decoded scale and offset."""
        d, m = widen_f16(self.heads[0]), widen_f16(self.heads[1])
        d = d * self.scales[sub].astype(np.float32)
        return QuantizedBlock(
            self.codes[sub], self.heads, d, -(m * self.minima[sub].astype(np.float32))
        )


def _codes(x: np.ndarray, iscale: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Return codes as float32, by a multiplier that counts as zero if not finite.

    With an infinite one, `nearest_int` makes every value 0.
    """
    iscale = np.where(iscale < _INFINITE, iscale, np.float32(0))
    whole = (iscale[..., None, :] * (x - least[..., None, :]) + MAGIC) - MAGIC
    whole = np.where(whole > 0, whole, np.float32(0))
    return np.where(whole < np.float32(TOP4), whole, np.float32(TOP4))


def _weighted_error(
    x: np.ndarray, w: np.ndarray, k: np.ndarray, scale: np.ndarray, least: np.ndarray
) -> np.ndarray:
    e = (scale[..., None, :] * k + least[..., None, :]) - x
    return in_order(w * (e * e))


def _search(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run `make_qkx2_quants`: scales, minima (negated) and codes of sub-blocks."""
    w = np.sqrt(in_order(x * x) / np.float32(BLOCK))[..., None, :] + np.abs(x)
    low, high = x[:, 0], x[:, 0]
    for row in np.moveaxis(x, 1, 0)[1:]:
        low, high = np.where(row < low, row, low), np.where(row > high, row, high)
    low = np.where(low > 0, np.float32(0), low)
    sum_w, sum_x = in_order(w), in_order(w * x)
    flat = high == low
    iscale = np.float32(TOP4) / (high - low)
    scale = np.where(flat, np.float32(0), np.float32(1) / iscale)
    codes = np.where(flat[:, None], np.float32(0), _codes(x, iscale, low))
    error = np.where(flat, np.float32(-1), _weighted_error(x, w, codes, scale, low))
    for step in STEPS:
        k = _codes(x, step / (high - low), low)
        wk = w * k
        sum_l, sum_l2, sum_xl = in_order(wk), in_order(wk * k), in_order(wk * x)
        det = sum_w * sum_l2 - sum_l * sum_l
        this = (sum_w * sum_xl - sum_x * sum_l) / det
        least = (sum_l2 * sum_x - sum_l * sum_xl) / det
        above = least > 0
        this = np.where(above, sum_xl / sum_l2, this)
        least = np.where(above, np.float32(0), least)
        found = _weighted_error(x, w, k, this, least)
        better = (det > 0) & (found < error)
        codes = np.where(better[:, None], k, codes)
        error, scale = np.where(better, found, error), np.where(better, this, scale)
        low = np.where(better, least, low)
    return scale, -low, codes


def _six_bits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sub-blocks' values in steps of a 63rd of the largest, and that step."""
    largest = np.zeros(values.shape[1], np.float32)
    for row in values:
        largest = np.where(row > largest, row, largest)
    multiplier = np.where(largest > 0, np.float32(TOP6) / largest, np.float32(0))
    whole = np.minimum(nearest(multiplier * values) & 255, TOP6)
    return whole.astype(np.uint8), largest / np.float32(TOP6)


def fit_q4_k(x: np.ndarray) -> KFit:
    """Quantize `f32[8, 32, column]`."""
    scale, least, codes = _search(x)
    scales, step = _six_bits(scale)
    minima, least_step = _six_bits(least)
    heads = to_f16(step), to_f16(least_step)
    d = (widen_f16(heads[0]) * scales.astype(np.float32))[:, None]
    m = (widen_f16(heads[1]) * minima.astype(np.float32))[:, None]
    final = np.clip(nearest((x + m) / d), 0, TOP4)
    codes = np.where(d == 0, codes, final).astype(np.int8)
    return KFit(codes, scales, minima, heads)


def pack_scales(scales: np.ndarray, minima: np.ndarray) -> np.ndarray:
    """Pack sixteen 6-bit numbers in twelve bytes, `u8[column, 12]`, for `get_scale_min_k4`."""
    first, last = slice(0, 4), slice(4, 8)
    rows = (
        scales[first] | (scales[last] >> 4 << 6),
        minima[first] | (minima[last] >> 4 << 6),
        (scales[last] & 15) | (minima[last] << 4),
    )
    return np.ascontiguousarray(np.concatenate(rows).T)


def unpack_scales(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unpack twelve bytes, `u8[..., 12]`: scales and minima, `u8[..., 8]`."""
    a, b, c = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate([a & 63, (c & 15) | (a >> 6 << 4)], axis=-1)
    minima = np.concatenate([b & 63, (c >> 4) | (b >> 6 << 4)], axis=-1)
    return scales, minima
