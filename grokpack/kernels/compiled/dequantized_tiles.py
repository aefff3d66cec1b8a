"""Tiles of codes times their scales, compiled: twins of `grokpack.kernels.dequantized_tiles`."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, uncounted
from grokpack.kernels.compiled._code_scaling import scaled


@uncounted
def _times_each(codes: np.ndarray, scales: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = np.float32(codes[i]) * scales[i]


@compiled
def widen_in_out(
    codes: np.ndarray,
    scales: np.ndarray,
    row: int,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Compiled twin of `dequantized_tiles.widen_in_out`."""
    rows, columns = out.shape
    own = slice(column, column + columns)
    for r in range(rows):
        group = (first + row + r) // per_group
        _times_each(codes[row + r, own], scales[group, own], out[r])


@compiled
def widen_out_in(
    codes: np.ndarray,
    scales: np.ndarray,
    row: int,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Compiled twin of `dequantized_tiles.widen_out_in`."""
    columns, rows = out.shape
    for c in range(columns):
        line = codes[column + c, row : row + rows]
        scaled(line, scales.T, column + c, first + row, per_group, out[c])
