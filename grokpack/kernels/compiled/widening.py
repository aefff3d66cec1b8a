"""Tiles of codes times their scales, compiled: twins of `grokpack.kernels.widening`."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, uncounted


@uncounted
def _times_each(codes: np.ndarray, scales: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = np.float32(codes[i]) * scales[i]


@uncounted
def _times(codes: np.ndarray, scale: float, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = np.float32(codes[i]) * scale


@compiled
def straight(
    codes: np.ndarray,
    scales: np.ndarray,
    row: int,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """See the specification."""
    rows, columns = out.shape
    own = slice(column, column + columns)
    for r in range(rows):
        group = (first + row + r) // per_group
        _times_each(codes[row + r, own], scales[group, own], out[r])


@compiled
def turned(
    codes: np.ndarray,
    scales: np.ndarray,
    row: int,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """See the specification."""
    columns, rows = out.shape
    for c in range(columns):
        r = 0
        while r < rows:
            group = (first + row + r) // per_group
            end = min(rows, (group + 1) * per_group - first - row)
            codes_of = codes[column + c, row + r : row + end]
            _times(codes_of, scales[column + c, group], out[c, r:end])
            r = end
