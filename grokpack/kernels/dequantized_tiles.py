"""Tiles of codes times their scales, in float32, in the same orientation; exact.

A tile begins at row `row` and column `column` of `codes`, seen as `[in, out]`, and is as large as
`out`. Input `r` of the codes takes row `(first + r) // per_group` of the scales.
"""

from __future__ import annotations

import numpy as np


def widen_in_out(
    codes: np.ndarray,
    scales: np.ndarray,
    row: int,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Fill `out f32[in, out]` from `codes[in, out]` and `scales f32[group, out]`."""
    rows, columns = out.shape
    index = (first + row + np.arange(rows)) // per_group
    own = slice(column, column + columns)
    out[...] = codes[row : row + rows, own]
    out *= scales[index, own]


def widen_out_in(
    codes: np.ndarray,
    scales: np.ndarray,
    row: int,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Fill `out f32[out, in]` from `codes[out, in]` and `scales f32[out, group]`."""
    columns, rows = out.shape
    index = (first + row + np.arange(rows)) // per_group
    own = slice(column, column + columns)
    out[...] = codes[own, row : row + rows]
    out *= scales[own][:, index]
