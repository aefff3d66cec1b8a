"""Words of 32 bits that hold several codes, the first in the lowest bits."""

from __future__ import annotations

import numpy as np

from grokpack.transforms.quantization_scheme import WORD_BITS

_WORD_BYTES = WORD_BITS // 8
_FOUR = 4  # bits


def word_span(first: int, last: int, bits: int) -> tuple[int, int, int]:
    """Return which words hold fields `first` to `last`, and how many fields precede the first."""
    per_word = WORD_BITS // bits
    low = first // per_word
    return low, -(-last // per_word), first - low * per_word


def unpack_fields(packed: np.ndarray, bits: int) -> np.ndarray:
    """Return the unsigned fields of words along the last axis, `u8[..., field]`."""
    octets = np.ascontiguousarray(packed).view(np.uint8)
    return split_bytes(octets[..., None])[..., 0] if bits == _FOUR else octets


def byte_rows(words: np.ndarray) -> np.ndarray:
    """Return the bytes of words, one below another: `u8[4 * n, out]` of `u32[n, out]`."""
    rows, columns = words.shape
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(rows, columns, _WORD_BYTES)
    return np.ascontiguousarray(octets.swapaxes(1, 2)).reshape(-1, columns)


def split_bytes(octets: np.ndarray) -> np.ndarray:
    """Split each byte in two, one below the other: `u8[..., 2 * n, out]` of `u8[..., n, out]`.

    A transposed array stays transposed in memory.
    """
    transposed = octets.swapaxes(-1, -2)
    if transposed.flags.c_contiguous or transposed.strides[-1] == 1:
        codes = np.empty((*transposed.shape[:-1], 2 * transposed.shape[-1]), np.uint8)
        np.bitwise_and(transposed, 15, out=codes[..., ::2])
        np.right_shift(transposed, 4, out=codes[..., 1::2])
        return codes.swapaxes(-1, -2)
    *lead, rows, columns = octets.shape
    both = np.empty((*lead, rows, 2, columns), np.uint8)
    np.bitwise_and(octets, 15, out=both[..., 0, :])
    np.right_shift(octets, 4, out=both[..., 1, :])
    return both.reshape(*lead, 2 * rows, columns)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack unsigned codes, one below another, into words: `u32[n * bits / 32, out]`."""
    per_word = WORD_BITS // bits
    lanes = codes.astype(np.uint32).reshape(-1, per_word, codes.shape[1])
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
    packed: np.ndarray = np.bitwise_or.reduce(lanes << shifts[:, None], axis=1)
    return packed
