"""Transposition of small tiles of bytes, eight by eight, in 64-bit words."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import allocate, inner

COLUMNS = 64  # one cache line of a row of codes
ROWS = 256  # a tile has 16 KiB, and stays in the first-level cache with its results
_WORDS = COLUMNS // 8

_BYTES = np.uint64(0x00FF00FF00FF00FF)
_PAIRS = np.uint64(0x0000FFFF0000FFFF)
_FOURS = np.uint64(0x00000000FFFFFFFF)


@inner
def _exchange(square: np.ndarray, near: int, far: int, shift: np.uint64, mask: np.uint64) -> None:
    """Swap the high parts of one row of words with the low parts of another, for all columns."""
    for w in range(_WORDS):
        low, high = square[near, w], square[far, w]
        moved = ((low >> shift) ^ high) & mask
        square[far, w] = high ^ moved
        square[near, w] = low ^ (moved << shift)


@inner
def _transpose_squares(square: np.ndarray) -> None:
    """Transpose eight adjacent 8 x 8 byte matrices, in three rounds of exchanges.

    Source: Warren, Hacker's Delight, section 7-3.
    """
    for k in (0, 2, 4, 6):
        _exchange(square, k, k + 1, np.uint64(8), _BYTES)
    for k in (0, 1, 4, 5):
        _exchange(square, k, k + 2, np.uint64(16), _PAIRS)
    for k in (0, 1, 2, 3):
        _exchange(square, k, k + 4, np.uint64(32), _FOURS)


@inner
def _transpose_words(
    words: np.ndarray, row: int, height: int, word: int, square: np.ndarray, tile: np.ndarray
) -> None:
    """Transpose whole squares of 8 by 8 bytes, eight of them side by side."""
    for band in range(height // 8):
        for k in range(8):
            for w in range(_WORDS):
                square[k, w] = words[row + band * 8 + k, word + w]
        _transpose_squares(square)
        for k in range(8):
            for w in range(_WORDS):
                tile[w * 8 + k, band] = square[k, w]


@inner
def transpose(
    codes: np.ndarray, place: tuple[int, int, int, int], square: np.ndarray, tile: np.ndarray
) -> None:
    """Set `tile[c, r] = codes[row + r, column + c]` for some rows and columns.

    Args:
        codes: `i8[in, column]`, dense.
        place: First row; rows, at most `ROWS`; first column; columns, at most `COLUMNS`.
        square: Scratch, `u64[8, COLUMNS / 8]`.
        tile: Filled, `i8[COLUMNS, ROWS]`.
    """
    row, height, column, width = place
    whole = width == COLUMNS and height % 8 == 0 and codes.shape[1] % 8 == 0 and column % 8 == 0
    if whole:
        _transpose_words(
            codes.view(np.uint64), row, height, column // 8, square, tile.view(np.uint64)
        )
        return
    for r in range(height):
        for c in range(width):
            tile[c, r] = codes[row + r, column + c]


def scratch() -> tuple[np.ndarray, np.ndarray]:
    """Allocate a square and a tile for `transpose`."""
    return allocate((8, _WORDS), np.uint64), allocate((COLUMNS, ROWS), np.int8)
