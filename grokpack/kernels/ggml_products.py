"""Decoders of GGUF's blocks: the products of codes and scales that they mean.

Each fills `out f32[row, in]` from blocks `u8[row, in / block * bytes]`, with ggml's arithmetic in
ggml's order: ggml-common.h for the layouts, `dequantize_row_*` of ggml-quants.c. They have no
compiled twins: whoever reads blocks waits for what is computed with them.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels._ggml.q4_k import unpack_scales
from grokpack.kernels.float_casts import widen_f16
from grokpack.kernels.fp4_blocks import DOUBLED, from_e4m3, power

LEVELS = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)
"""Values of the sixteen codes of IQ4; ggml-common.h: kvalues_iq4nl."""


FLOAT_LEVELS = np.concatenate([DOUBLED, -DOUBLED]).astype(np.float32)
"""Values of the sixteen codes of MXFP4 and NVFP4; ggml-common.h: kvalues_mxfp4."""
_NO_POWER, _NO_NUMBER = 255, 127  # bytes of scales that are no numbers, which ggml reads otherwise


def _split(blocks: np.ndarray, nbytes: int, *sizes: int) -> list[np.ndarray]:
    """Cut blocks of so many bytes in pieces of these sizes and the rest, `u8[row, block, size]`."""
    each = blocks.reshape(len(blocks), -1, nbytes)
    return np.split(each, np.cumsum(sizes), axis=-1)


def _fields(octets: np.ndarray, bits: int, run: int) -> np.ndarray:
    """Unpack runs of octets, `u8[row, block, octets]`: of each the lowest fields, then the next."""
    runs = octets.reshape(*octets.shape[:2], -1, run)
    mask = np.uint8((1 << bits) - 1)
    parts = [(runs >> np.uint8(shift)) & mask for shift in range(0, 8, bits)]
    return np.concatenate(parts, axis=-1).reshape(*octets.shape[:2], -1)


def _halves(octets: np.ndarray) -> np.ndarray:
    """Widen little-endian float16 numbers, `u8[row, block, 2 * n]` to `f32[row, block, n]`."""
    return widen_f16(np.ascontiguousarray(octets).view("<u2").astype(np.uint16))


def _multiply(
    out: np.ndarray, codes: np.ndarray, scales: np.ndarray, minima: np.ndarray | None = None
) -> None:
    """Fill `out` with `scale * code - minimum`, for as many weights as there are per scale.

    Args:
        out: `f32[row, in]`.
        codes: `[row, block, weight]`.
        scales: `f32[row, block, sub-block]`.
        minima: Likewise; None for zero.
    """
    grouped = out.reshape(*scales.shape, -1)
    with np.errstate(all="ignore"):  # zero times an infinite scale is NaN
        np.multiply(scales[..., None], codes.reshape(grouped.shape), out=grouped)
        if minima is not None:
            grouped -= minima[..., None]


def _times(heads: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Multiply a block's scale with the numbers of its sub-blocks."""
    with np.errstate(all="ignore"):
        made: np.ndarray = heads * numbers.astype(np.float32)
    return made


def products_q8_0(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q8_0: `d * code`."""
    d, codes = _split(blocks, 34, 2)
    _multiply(out, codes.view(np.int8), _halves(d))


def products_q4_0(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q4_0: `d * (code - 8)`."""
    d, low = _split(blocks, 18, 2)
    _multiply(out, _fields(low, 4, 16).view(np.int8) - np.int8(8), _halves(d))


def products_q4_1(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q4_1: `d * code + m`."""
    d, m, low = _split(blocks, 20, 2, 2)
    _multiply(out, _fields(low, 4, 16), _halves(d), -_halves(m))


def _five_bits(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Join nibbles and fifth bits of blocks of 32, one bit after another."""
    fifth = np.unpackbits(high, axis=-1, bitorder="little")
    joined: np.ndarray = _fields(low, 4, 16) | (fifth << np.uint8(4))
    return joined


def products_q5_0(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q5_0: `d * (code - 16)`."""
    d, high, low = _split(blocks, 22, 2, 4)
    _multiply(out, _five_bits(low, high).view(np.int8) - np.int8(16), _halves(d))


def products_q5_1(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q5_1: `d * code + m`."""
    d, m, high, low = _split(blocks, 24, 2, 2, 4)
    _multiply(out, _five_bits(low, high), _halves(d), -_halves(m))


def products_q2_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q2_K: `d * s * code - m * t`, with 4-bit s and t of each 16 weights."""
    numbers, low, d, m = _split(blocks, 84, 16, 64, 2)
    scales, minima = _times(_halves(d), numbers & 15), _times(_halves(m), numbers >> 4)
    _multiply(out, _fields(low, 2, 32), scales, minima)


def products_q3_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q3_K: `d * (s - 32) * (code - 4)`, with a 6-bit s of each 16 weights."""
    high, low, numbers, d = _split(blocks, 110, 32, 64, 12)
    six = _fields(numbers[..., :8], 4, 8) | (_fields(numbers[..., 8:], 2, 4) << np.uint8(4))
    codes = _fields(low, 2, 32) | (_fields(high, 1, 32) << np.uint8(2))
    scales = _times(_halves(d), six.view(np.int8) - np.int8(32))
    _multiply(out, codes.view(np.int8) - np.int8(4), scales)


def _affine_k(out: np.ndarray, heads: np.ndarray, numbers: np.ndarray, codes: np.ndarray) -> None:
    """Decode with 6-bit scales and minima of each 32 weights: `d * s * code - m * t`."""
    scales, minima = unpack_scales(numbers)
    both = _halves(heads)
    _multiply(out, codes, _times(both[..., :1], scales), _times(both[..., 1:], minima))


def products_q4_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q4_K: `d * s * code - m * t`."""
    heads, numbers, low = _split(blocks, 144, 4, 12)
    _affine_k(out, heads, numbers, _fields(low, 4, 32))


def products_q5_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q5_K: `d * s * code - m * t`."""
    heads, numbers, high, low = _split(blocks, 176, 4, 12, 32)
    _affine_k(out, heads, numbers, _fields(low, 4, 32) | (_fields(high, 1, 32) << np.uint8(4)))


def products_q6_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode Q6_K: `d * s * (code - 32)`, with an 8-bit s of each 16 weights."""
    low, high, numbers, d = _split(blocks, 210, 128, 64, 16)
    codes = _fields(low, 4, 64) | (_fields(high, 2, 32) << np.uint8(4))
    scales = _times(_halves(d), numbers.view(np.int8))
    _multiply(out, codes.view(np.int8) - np.int8(32), scales)


def products_iq4_nl(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode IQ4_NL: `d * level`."""
    d, low = _split(blocks, 18, 2)
    _multiply(out, LEVELS[_fields(low, 4, 16)], _halves(d))


def products_iq4_xs(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode IQ4_XS: `d * (s - 32) * level`, with a 6-bit s of each 32 weights."""
    d, high, numbers, low = _split(blocks, 136, 2, 2, 4)
    six = _fields(numbers, 4, 1) | (_fields(high, 2, 1) << np.uint8(4))
    scales = _times(_halves(d), six.view(np.int8) - np.int8(32))
    _multiply(out, LEVELS[_fields(low, 4, 16)], scales)


def products_mxfp4(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode MXFP4: `d * level`, with doubled levels and half of each power of two."""
    exponents, low = _split(blocks, 17, 1)
    halves = power(exponents.astype(np.int32)) * np.float32(0.5)
    halves = np.where(exponents == _NO_POWER, np.float32(2.0**127), halves)
    _multiply(out, FLOAT_LEVELS[_fields(low, 4, 16)], halves)


def products_nvfp4(blocks: np.ndarray, out: np.ndarray) -> None:
    """Decode NVFP4: `d * level`, with doubled levels and half of an E4M3 number of each 16."""
    numbers, low = _split(blocks, 36, 4)
    halves = from_e4m3((numbers & 127).astype(np.int32)) * np.float32(0.5)
    halves[numbers == _NO_NUMBER] = 0
    _multiply(out, FLOAT_LEVELS[_fields(low, 4, 8)], halves)
