"""Blocks of 32 weights with ggml's arithmetic: Q8_0, Q4_0 and Q4_1, and their errors.

A block here is `x f32[32, column]`. Arithmetic is float32 in the order of ggml's C code, without
fused operations: ggml-quants.c, `quantize_row_q8_0_ref` and its like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grokpack.kernels.float_casts import widen_f16

BLOCK = 32
"""Weights in a block, and in a sub-block of Q4_K; ggml-common.h: QK4_0, QK4_1, QK8_0."""
TOP4 = 15
"""Largest code of four bits."""
TOP8 = 127
"""Largest code of Q8_0, whose codes are symmetric."""
MAGIC = np.float32(12582912)
"""1.5 * 2^23; adding it rounds a small float32 to an integer, to nearest even."""
_F32 = np.finfo(np.float32)
_CAST_LIMIT = np.float32(1024)
"""Beyond any code, and small enough to cast to an integer. Values that are not below it become code
0, which x86 leaves in the low byte of a cast that does not fit."""


@dataclass(frozen=True, slots=True)
class QuantizedBlock:
    """Codes of a block, which decode as `x^ = d * code + m`.

    Attributes:
        codes: `i8[32, column]`.
        heads: Float16 bits that the block stores before its codes, each `u16[column]`.
        d: The stored scale as float32, `f32[column]`.
        m: The offset, `f32[column]`.
    """

    codes: np.ndarray
    heads: tuple[np.ndarray, ...]
    d: np.ndarray
    m: np.ndarray

    @property
    def restored(self) -> np.ndarray:
        """Decoded values, `x^ f32[32, column]`."""
        made: np.ndarray = self.d * self.codes.astype(np.float32) + self.m
        return made

    def error(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the squared error of each column, with rows weighted, `f32[32, 1]`."""
        e = x - self.restored
        return in_order(e * e * weights)

    def where(self, better: np.ndarray, other: QuantizedBlock) -> QuantizedBlock:
        """Return this fit, with the other in columns where that is better."""
        heads = tuple(np.where(better, b, a) for a, b in zip(self.heads, other.heads, strict=True))
        codes = np.where(better, other.codes, self.codes)
        return QuantizedBlock(
            codes, heads, np.where(better, other.d, self.d), np.where(better, other.m, self.m)
        )


def in_order(terms: np.ndarray) -> np.ndarray:
    """Sum over the rows, added one after another from zero: `f32[..., row, column]`."""
    total = np.zeros((*terms.shape[:-2], terms.shape[-1]), np.float32)
    for row in np.moveaxis(terms, -2, 0):
        total += row
    return total


def to_f16(values: np.ndarray) -> np.ndarray:
    """Convert to float16 bits, to nearest even; any NaN becomes the quiet one without sign."""
    bits = values.astype(np.float16).view(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7E00), bits)


def inverse(d: np.ndarray) -> np.ndarray:
    """Return `1 / d`, and zero for zero."""
    return np.where(d == 0, np.float32(0), np.float32(1) / d)


def cast(values: np.ndarray) -> np.ndarray:
    """Cast floats to integers towards zero, `i32`; values beyond any code become 0."""
    fits = np.abs(values) < _CAST_LIMIT
    return np.where(fits, values, np.float32(0)).astype(np.int32)


def nearest(y: np.ndarray) -> np.ndarray:
    """Round like ggml's `nearest_int`, by the bits of a sum, even on overflow; NaN becomes 0."""
    bits = (y + MAGIC).view(np.int32)
    return np.where(np.isnan(y), 0, (bits & 0x7FFFFF) - 0x400000)


def farthest(x: np.ndarray) -> np.ndarray:
    """Return the first value of largest magnitude in each column, with its sign; skip NaN."""
    far = np.zeros(x.shape[1], np.float32)
    for row in x:
        far = np.where(np.abs(row) > np.abs(far), row, far)
    return far


def extremes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and largest value of each column; skip NaN."""
    low = np.full(x.shape[1], _F32.max, np.float32)
    high = np.full(x.shape[1], -_F32.max, np.float32)
    for row in x:
        low = np.where(row < low, row, low)
        high = np.where(row > high, row, high)
    return low, high


def fit_q8_0(x: np.ndarray) -> QuantizedBlock:
    """Fit Q8_0: `d = max|x| / 127`; halves are rounded away from zero, as `roundf` does."""
    d = np.abs(farthest(x)) / np.float32(TOP8)
    y = x * inverse(d)
    size = np.abs(y)
    whole = np.floor(size)
    size = whole + (size - whole >= np.float32(0.5))
    codes = cast(np.where(y < 0, -size, size)).astype(np.int8)
    bits = to_f16(d)
    return QuantizedBlock(codes, (bits,), widen_f16(bits), np.zeros_like(d))


def with_q4_0(x: np.ndarray, d: np.ndarray, multiplier: np.ndarray) -> QuantizedBlock:
    """Encode as Q4_0 with a multiplier near `1 / d`."""
    codes = np.minimum(cast(x * multiplier + np.float32(8.5)), TOP4)
    bits = to_f16(d)
    back = widen_f16(bits)
    return QuantizedBlock(
        np.maximum(codes, 0).astype(np.int8), (bits,), back, back * np.float32(-8)
    )


def fit_q4_0(x: np.ndarray) -> QuantizedBlock:
    """Fit Q4_0: `d = x / -8` for the farthest x, which gets the code without an opposite."""
    d = farthest(x) / np.float32(-8)
    return with_q4_0(x, d, inverse(d))


def with_q4_1(
    x: np.ndarray, d: np.ndarray, m: np.ndarray, base: np.ndarray, multiplier: np.ndarray
) -> QuantizedBlock:
    """Encode as Q4_1 above `base` with a multiplier near `1 / d`."""
    codes = np.minimum(cast((x - base) * multiplier + np.float32(0.5)), TOP4)
    bits, least = to_f16(d), to_f16(m)
    codes = np.maximum(codes, 0).astype(np.int8)
    return QuantizedBlock(codes, (bits, least), widen_f16(bits), widen_f16(least))


def fit_q4_1(x: np.ndarray) -> QuantizedBlock:
    """Fit Q4_1: `m = min x`, `d = (max x - min x) / 15`."""
    low, high = extremes(x)
    d = (high - low) / np.float32(TOP4)
    return with_q4_1(x, d, low, low, inverse(d))


def measure(
    x: np.ndarray, fit: QuantizedBlock, ends: tuple[int, int], sums: np.ndarray, counts: np.ndarray
) -> None:
    """Fill the sums and counts of one block: `sums f32[3, column]`, `counts i32[2, column]`."""
    restored = fit.restored
    e = x - restored
    for row, terms in zip(sums, (x * x, e * e, x * e), strict=True):
        row[...] = in_order(terms)
    low, high = ends
    counts[0] = np.count_nonzero((fit.codes <= low) | (fit.codes >= high), axis=0)
    counts[1] = np.count_nonzero((x != 0) & (restored == 0), axis=0)


def nibbles(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Pack two 4-bit codes in each byte, `u8`."""
    packed: np.ndarray = low.astype(np.uint8) | (high.astype(np.uint8) << 4)
    return packed


def head_bytes(heads: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return float16 bits as little-endian bytes, `u8[column, 2 * heads]`."""
    stacked = np.stack(heads, axis=1).astype("<u2")
    return stacked.view(np.uint8)
