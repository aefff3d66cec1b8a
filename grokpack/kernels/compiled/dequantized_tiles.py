"""Tiles of codes times their scales, compiled: twins of `grokpack.kernels.dequantized_tiles`."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._tiles.code_scaling import scaled


@inner
def _times_each(codes: np.ndarray, scales: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = np.float32(codes[i]) * scales[i]


def widen_in_out(
    codes: np.ndarray,
    scales: np.ndarray,
    row: int,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Call the compiled twin of `dequantized_tiles.widen_in_out`."""
    own = np.ascontiguousarray(scales[:, column : column + out.shape[1]])
    _widen_in_out(codes, own, (row, column, first + row, per_group), out)


@compiled
def _widen_in_out(
    codes: np.ndarray, scales: np.ndarray, place: tuple[int, int, int, int], out: np.ndarray
) -> None:
    row, column, start, per_group = place
    rows, columns = out.shape
    for r in range(rows):
        line = codes[row + r, column : column + columns]
        _times_each(line, scales[(start + r) // per_group], out[r])


def widen_out_in(
    codes: np.ndarray,
    scales: np.ndarray,
    row: int,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Call the compiled twin of `dequantized_tiles.widen_out_in`."""
    own = np.ascontiguousarray(scales[column : column + len(out)].T)
    _widen_out_in(codes, own, (row, column, first + row, per_group), out)


@compiled
def _widen_out_in(
    codes: np.ndarray, scales: np.ndarray, place: tuple[int, int, int, int], out: np.ndarray
) -> None:
    row, column, start, per_group = place
    columns, rows = out.shape
    for c in range(columns):
        line = codes[column + c, row : row + rows]
        scaled(line, scales, c, start, per_group, out[c])
