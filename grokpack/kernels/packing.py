"""Codes packed into 32-bit words, the first in the lowest bits, and packed codes transposed."""

from __future__ import annotations

import numpy as np


def interleave(codes: np.ndarray, flip: int, out: np.ndarray) -> None:
    """Pack four rows of bytes into each row of words.

    Args:
        codes: `u8[rows, column]`; `rows` is a multiple of 4.
        flip: Exclusive or of every code: 128 turns int8 into GPTQ's unsigned code, 0 changes
            nothing.
        out: Filled, `u32[rows / 4, column]`: byte i of row k is `codes[4 k + i]`.
    """
    quads = (codes ^ np.uint8(flip)).reshape(-1, 4, codes.shape[1])
    out[...] = np.ascontiguousarray(quads.transpose(0, 2, 1)).view("<u4")[..., 0]


def transpose_words(words: np.ndarray, out: np.ndarray) -> None:
    """Transpose `u32[rows, column]` to `u32[column, rows]`."""
    out[...] = words.T


def transpose_bytes(octets: np.ndarray, out: np.ndarray) -> None:
    """Transpose `u8[rows, column]`, contiguous, to `u8[column, rows]`."""
    out[...] = octets.T
