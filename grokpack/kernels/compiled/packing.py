"""Codes packed and transposed, compiled: twins of `grokpack.kernels.packing`."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled
from grokpack.kernels.compiled._vectors.byte_copies import copy
from grokpack.kernels.compiled._vectors.byte_transposition import COLUMNS, ROWS, scratch, transpose
from grokpack.kernels.compiled._vectors.float_transposition import SIDE as SQUARE
from grokpack.kernels.compiled._vectors.float_transposition import transpose_square

_EDGE = 16  # words of a cache line: squares of 16 by 16 consist of whole lines


@compiled
def interleave(codes: np.ndarray, flip: int, out: np.ndarray) -> None:
    """Compiled twin of `packing.interleave`."""
    u32 = np.uint32
    mask = u32(flip) * u32(0x01010101)
    for row in range(len(out)):
        first, second, third, fourth = (
            codes[4 * row],
            codes[4 * row + 1],
            codes[4 * row + 2],
            codes[4 * row + 3],
        )
        line = out[row]
        for c in range(len(line)):
            low = u32(first[c]) | u32(u32(second[c]) << u32(8))
            high = u32(u32(third[c]) << u32(16)) | u32(u32(fourth[c]) << u32(24))
            line[c] = u32(low | high) ^ mask


def transpose_words(words: np.ndarray, out: np.ndarray) -> None:
    """Call the compiled twin of `packing.transpose_words`."""
    _transpose_words(words.view(np.float32), out.view(np.float32))


@compiled
def _transpose_words(words: np.ndarray, out: np.ndarray) -> None:
    """Move words in squares, which pass registers as they are: nothing computes with them."""
    rows, columns = words.shape
    whole, wide = rows - rows % _EDGE, columns - columns % _EDGE
    for left in range(0, wide, _EDGE):
        for top in range(0, whole, _EDGE):
            for k in range(left, left + _EDGE, SQUARE):
                for r in range(top, top + _EDGE, SQUARE):
                    at, to = r * columns + k, k * rows + r
                    transpose_square(words, at, columns, out, to, rows)
    for c in range(columns):
        for r in range(whole if c < wide else 0, rows):
            out[c, r] = words[r, c]


def transpose_bytes(octets: np.ndarray, out: np.ndarray) -> None:
    """Call the compiled twin of `packing.transpose_bytes`."""
    _transpose_bytes(octets.view(np.int8), scratch(), out)


@compiled
def _transpose_bytes(codes: np.ndarray, tile: np.ndarray, out: np.ndarray) -> None:
    rows, columns = codes.shape
    for top in range(0, rows, ROWS):
        height = min(ROWS, rows - top)
        for left in range(0, columns, COLUMNS):
            width = min(COLUMNS, columns - left)
            transpose(codes, (top, height, left, width), tile)
            for c in range(width):
                copy(tile[c], 0, out[left + c], top, height)
