"""Transposed weights for engines, from int8 codes: dequantized, or packed in blocks.

All take a block of codes in xAI's layout, `codes i8[in, column]`, whose first row is input `first`
of the weight, and one row of scales per `per_group` inputs, the first for the group of input
`first`. They make as many columns as `out` has rows, from `column` on.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.group_index import group_index

Q8_BLOCK = 32
"""Weights in a block of Q8_0; ggml-common.h: QK8_0."""
Q8_BYTES = 34
"""Bytes of such a block: one float16 and 32 codes."""


def product_f32(
    codes: np.ndarray,
    scales: np.ndarray,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Fill `out f32[column, in]` with codes times `scales f32[group, column]`, transposed."""
    part = slice(column, column + len(out))
    out[...] = np.ascontiguousarray(codes[:, part].T)
    offset = first % per_group
    for group, row in enumerate(scales[:, part]):
        rows = slice(max(0, group * per_group - offset), (group + 1) * per_group - offset)
        out[:, rows] *= row[:, None]


def product_bf16(
    codes: np.ndarray,
    scales: np.ndarray,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Fill `out u16[column, in]` with transposed products, as bfloat16 bits to nearest even."""
    import ml_dtypes

    exact = np.empty(out.shape, np.float32)
    product_f32(codes, scales, column, first, per_group, exact)
    out[...] = exact.astype(ml_dtypes.bfloat16).view(np.uint16)


def q8_0(
    codes: np.ndarray,
    scales: np.ndarray,
    column: int,
    first: int,
    per_group: int,
    out: np.ndarray,
) -> None:
    """Fill `out` with blocks of Q8_0, `u8[column, in / 32 * 34]`, of the unchanged codes.

    Args:
        codes: `i8[in, column]`; `in` and `per_group` are multiples of 32.
        scales: Float16 bits, `u16[group, column]`.
        column: First column to make.
        first: Input of the first row; a multiple of 32.
        per_group: Inputs that share a scale.
        out: Filled with the blocks. Source of their form: ggml-common.h, block_q8_0.
    """
    part = slice(column, column + len(out))
    blocks = out.reshape(len(out), -1, Q8_BYTES)
    index = group_index(first, len(codes), per_group, Q8_BLOCK)
    d = np.ascontiguousarray(scales.T[part][:, index])
    blocks[:, :, :2] = d.astype("<u2")[..., None].view(np.uint8)
    transposed = np.ascontiguousarray(codes[:, part].T).view(np.uint8)
    blocks[:, :, 2:] = transposed.reshape(len(out), -1, Q8_BLOCK)
