"""Transposed weights for engines, compiled: twins of `grokpack.kernels.transposed_weights`.

Codes are transposed tile by tile, as bytes, before anything is widened; everything after that runs
along contiguous memory in the first-level cache.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._tiles.code_scaling import scaled
from grokpack.kernels.compiled._vectors.byte_copies import copy
from grokpack.kernels.compiled._vectors.byte_transposition import COLUMNS, ROWS, scratch, transpose

_Q8_BLOCK, _Q8_BYTES = 32, 34


def product_f32(
    codes: np.ndarray,
    scales: np.ndarray,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Call the compiled twin of `transposed_weights.product_f32`."""
    place = column, first % per_group, per_group
    _product_f32(codes, np.ascontiguousarray(scales), place, scratch(), out)


@compiled
def _product_f32(
    codes: np.ndarray,
    scales: np.ndarray,
    place: tuple[int, int, int],
    tile: np.ndarray,
    out: np.ndarray,
) -> None:
    rows, columns = len(codes), len(out)
    column, offset, per_group = place
    for row in range(0, rows, ROWS):
        height = min(ROWS, rows - row)
        for done in range(0, columns, COLUMNS):
            width = min(COLUMNS, columns - done)
            transpose(codes, (row, height, column + done, width), tile)
            for c in range(width):
                line, own = out[done + c, row : row + height], column + done + c
                scaled(tile[c, :height], scales, own, offset + row, per_group, line)


def product_bf16(
    codes: np.ndarray,
    scales: np.ndarray,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Call the compiled twin of `transposed_weights.product_bf16`."""
    place = column, first % per_group, per_group
    _product_bf16(
        codes, np.ascontiguousarray(scales), place, (scratch(), np.empty(ROWS, np.float32)), out
    )


@compiled
def _product_bf16(
    codes: np.ndarray,
    scales: np.ndarray,
    place: tuple[int, int, int],
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
) -> None:
    rows, columns = len(codes), len(out)
    column, offset, per_group = place
    tile, exact = work
    for row in range(0, rows, ROWS):
        height = min(ROWS, rows - row)
        for done in range(0, columns, COLUMNS):
            width = min(COLUMNS, columns - done)
            transpose(codes, (row, height, column + done, width), tile)
            for c in range(width):
                line, own = out[done + c, row : row + height], column + done + c
                scaled(tile[c, :height], scales, own, offset + row, per_group, exact[:height])
                _round(exact.view(np.uint32)[:height], line)


@inner
def _round(bits: np.ndarray, out: np.ndarray) -> None:
    """Round float32 bits to bfloat16 bits, to nearest even; NaN becomes quiet, with its sign.

    Each step is cast back to 32 bits, because numba widens a sum of two u32 to u64, which would
    halve the values in a vector register.
    """
    u32 = np.uint32
    for i in range(len(bits)):
        x = bits[i]
        kept = u32(x >> u32(16))
        rounded = u32(u32(u32(x + u32(0x7FFF)) + u32(kept & u32(1))) >> u32(16))
        quiet = u32(u32(kept & u32(0x8000)) | u32(0x7FC0))
        is_nan = u32(x & u32(0x7FFFFFFF)) > u32(0x7F800000)
        out[i] = np.uint16(quiet if is_nan else rounded)


def q8_0(
    codes: np.ndarray,
    scales: np.ndarray,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Call the compiled twin of `transposed_weights.q8_0`."""
    place = column, first % per_group, per_group
    _q8_0(codes, np.ascontiguousarray(scales), place, scratch(), out)


@compiled
def _q8_0(
    codes: np.ndarray,
    scales: np.ndarray,
    place: tuple[int, int, int],
    tile: np.ndarray,
    out: np.ndarray,
) -> None:
    rows, columns = len(codes), len(out)
    column, offset, per_group = place
    for row in range(0, rows, ROWS):
        height = min(ROWS, rows - row)
        at = row // _Q8_BLOCK * _Q8_BYTES
        for done in range(0, columns, COLUMNS):
            width = min(COLUMNS, columns - done)
            transpose(codes, (row, height, column + done, width), tile)
            for c in range(width):
                line = out[done + c, at : at + height // _Q8_BLOCK * _Q8_BYTES]
                _pack(tile[c, :height], scales, column + done + c, offset + row, per_group, line)


@inner
def _pack(
    codes: np.ndarray, scales: np.ndarray, column: int, start: int, per_group: int, out: np.ndarray
) -> None:
    """Pack the blocks of one tile row."""
    for block in range(len(codes) // _Q8_BLOCK):
        d = scales[(start + block * _Q8_BLOCK) // per_group, column]
        to = block * _Q8_BYTES
        out[to] = d & 0xFF
        out[to + 1] = d >> 8
        copy(codes, block * _Q8_BLOCK, out, to + 2, _Q8_BLOCK)
