"""Blocks of K-quants and IQ4 beside searches: loaded, weighed, encoded, packed and measured.

Results are written into arrays that the caller gives. The compiled twins are in
`kernels.compiled._ggml.k_arrays`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grokpack.kernels._block_source import BlockSource, as_f32
from grokpack.kernels._ggml.blocks_of_32 import in_order, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

source_of: Callable[[np.ndarray, np.ndarray, int, int], BlockSource] = BlockSource
"""Return the input of a quantizer in the form that `load_block` takes."""


def load_block(source: BlockSource, place: tuple[int, int, int], x: np.ndarray) -> None:
    """Fill `x f32[weight, column]` with a block of each column.

    Args:
        source: All weights.
        place: First weight, first column and number of columns; those beyond them stay.
        x: Receives the weights.
    """
    row, left, count = place
    first = source.column + left
    columns, stop = slice(first, first + count), row + len(x)
    scales = source.scales[row // source.per_group : (stop - 1) // source.per_group + 1, columns]
    if len(scales) > 1:
        scales = source.scales[np.arange(row, stop) // source.per_group, columns]
    np.multiply(as_f32(source.values[row:stop, columns]), scales, out=x[:, :count])


def weigh_squares(x: np.ndarray, w: np.ndarray) -> None:
    """Fill weights of errors, `x * x`."""
    np.multiply(x, x, out=w)


def weigh_sizes(x: np.ndarray, with_mean: bool, w: np.ndarray) -> None:  # noqa: FBT001
    """Fill weights of errors, `|x|`, or that and the root of the sub-block's mean square."""
    np.abs(x, out=w)
    if with_mean:
        w += np.sqrt(in_order(x * x) / np.float32(x.shape[1]))[:, None]


def requantize(
    x: np.ndarray,
    d: np.ndarray,
    m: np.ndarray,
    middle: int,
    top: int,
    codes: np.ndarray,
    restored: np.ndarray,
) -> None:
    """Make the final codes for decoded scales and minima, and the weights that they mean.

    Args:
        x: Weights.
        d: Scales.
        m: Minima, negated.
        middle: The code of zero.
        top: The largest code.
        codes: Replaced by those nearest to `(x + m) / d`, except where `d` is 0.
        restored: Receives decoded weights.
    """
    y = (x + m[:, None]) / d[:, None]
    made = np.clip(nearest(y), -middle, top - middle) + middle
    codes[...] = np.where(d[:, None] == 0, codes, made)
    restored[...] = d[:, None] * (codes.astype(np.float32) - np.float32(middle)) - m[:, None]


def place(packed: np.ndarray, blocks: np.ndarray, at: int) -> None:
    """Put one block of each column, `u8[byte, column]`, into `u8[column, byte]` from a byte on."""
    blocks[:, at : at + len(packed)] = packed[:, : len(blocks)].T


def measure(
    x: np.ndarray,
    restored: np.ndarray,
    codes: np.ndarray,
    top: int,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Fill sums `f32[3, sub-block, column]` and counts `i32[2, ...]` as `kernels.ggml` has them."""
    e = x - restored
    for own, terms in zip(sums, (x * x, e * e, x * e), strict=True):
        own[...] = in_order(terms)
    counts[0] = np.count_nonzero((codes <= 0) | (codes >= top), axis=1)
    counts[1] = np.count_nonzero((x != 0) & (restored == 0), axis=1)


def join_fields(codes: np.ndarray, field: tuple[int, int, int], packed: np.ndarray) -> None:
    """Pack a field of the bits of codes: those of codes some rows apart come into one byte.

    Args:
        codes: `i8[weight, column]`.
        field: First bit, number of bits, and how many rows apart codes of a byte are.
        packed: Receives bytes, `u8[byte, column]`.
    """
    first, bits, apart = field
    fields = (codes.view(np.uint8) >> first) & np.uint8((1 << bits) - 1)
    fields = fields.reshape(-1, 8 // bits, apart, codes.shape[1])
    to = packed.reshape(-1, apart, codes.shape[1])
    to[...] = fields[:, 0]
    for number in range(1, 8 // bits):
        to |= fields[:, number] << (number * bits)
