"""Quantization to GGUF's block types.

The quantizers take `values [in, column]`, which are codes `i8`, `f32` or bits of bfloat16 `u16`,
the latter two perhaps transposed in memory, and `scales f32[group, column]`. Row r of the values is
in group `r // per_group`, and `x = float32(value) * scale`. They make as many columns as `out` has
rows, from `column` on, and fill `out u8[column, in / block * bytes]` with the blocks of each column
over its inputs. `quantize_*` make ggml's own bytes; `search_*` the same format, with no more
squared error in any block and less in nearly all.

For each block of 32 inputs (a sub-block, for Q4_K) and column they also fill:

* `sums f32[3, in / 32, column]`: sums of x * x, e * e and x * e, where `e = x - x^` and x^ is the
  decoded value; added in float32 in the order of the rows;
* `counts i32[2, in / 32, column]`: codes at either end of their range, and nonzero weights that
  decode to zero.

If the format cannot hold a block, its sum of e * e is not finite: the scale is infinite in float16,
or the block has a NaN or an infinity. Otherwise that sum is finite. A scale that float16 rounds to
zero shows as weights that decode to zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grokpack.kernels._block_source import BlockSource
from grokpack.kernels._ggml.blocks_of_32 import (
    BLOCK,
    TOP4,
    TOP8,
    QuantizedBlock,
    fit_q4_0,
    fit_q4_1,
    fit_q8_0,
    head_bytes,
    measure,
    nibbles,
)
from grokpack.kernels._ggml.q4_k import SUBS, SUPER, fit_q4_k, pack_scales
from grokpack.kernels._ggml.search import best_q4_0, best_q4_1

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_BYTES = {"q8_0": 34, "q4_0": 18, "q4_1": 20, "q4_k": 144}
"""Bytes of a block; ggml-common.h: block_q8_0 and its like. Blocks of Q4_K have 256 weights."""
_ENDS4 = (0, TOP4)


def _make(
    source: BlockSource,
    fit: Callable[..., QuantizedBlock],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    *weights: np.ndarray | None,
) -> None:
    """Make blocks of 32: heads, then codes of eight bits, or of four if a block has fewer bytes.

    A searching fit is given the weights of its rows, ones by default.
    """
    blocks = out.reshape(len(out), len(source.values) // BLOCK, -1)
    eight = blocks.shape[2] == BLOCK_BYTES["q8_0"]
    with np.errstate(all="ignore"):
        for at, x in enumerate(source.blocks(BLOCK, len(out))):
            rows = slice(at * BLOCK, (at + 1) * BLOCK)
            own = [np.ones((BLOCK, 1), np.float32) if w is None else w[rows, None] for w in weights]
            made = fit(x, *own)
            head = 2 * len(made.heads)
            blocks[:, at, :head] = head_bytes(made.heads)
            half = BLOCK // 2
            codes = made.codes if eight else nibbles(made.codes[:half], made.codes[half:])
            blocks[:, at, head:] = codes.T.view(np.uint8)
            measure(x, made, (-TOP8, TOP8) if eight else _ENDS4, sums[:, at], counts[:, at])


def quantize_q8_0(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize to Q8_0: a float16 scale and 32 codes in 34 bytes; `quantize_row_q8_0_ref`."""
    _make(BlockSource(values, scales, column, per_group), fit_q8_0, out, sums, counts)


def quantize_q4_0(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize to Q4_0: a float16 scale and 32 codes in 18 bytes; `quantize_row_q4_0_ref`."""
    _make(BlockSource(values, scales, column, per_group), fit_q4_0, out, sums, counts)


def quantize_q4_1(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize to Q4_1: float16 scale, minimum, 32 codes in 20 bytes; `quantize_row_q4_1_ref`."""
    _make(BlockSource(values, scales, column, per_group), fit_q4_1, out, sums, counts)


def search_q4_0(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    importance: np.ndarray | None = None,
) -> None:
    """Quantize to Q4_0, searching scales of either sign for the least weighted squared error."""
    _make(BlockSource(values, scales, column, per_group), best_q4_0, out, sums, counts, importance)


def search_q4_1(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    importance: np.ndarray | None = None,
) -> None:
    """Quantize to Q4_1, searching scale and minimum for the least weighted squared error."""
    _make(BlockSource(values, scales, column, per_group), best_q4_1, out, sums, counts, importance)


def quantize_q4_k(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize to Q4_K: 256 weights in 144 bytes; `quantize_row_q4_K_ref`. 256 divides `in`."""
    source = BlockSource(values, scales, column, per_group)
    blocks = out.reshape(len(out), -1, BLOCK_BYTES["q4_k"])
    with np.errstate(all="ignore"):
        for at, rows in enumerate(source.blocks(SUPER, len(out))):
            x = rows.reshape(SUBS, BLOCK, -1)
            made = fit_q4_k(x)
            blocks[:, at, :4] = head_bytes(made.heads)
            blocks[:, at, 4:16] = pack_scales(made.scales, made.minima)
            packed = nibbles(made.codes[0::2], made.codes[1::2])
            blocks[:, at, 16:] = packed.reshape(SUPER // 2, -1).T
            for sub in range(SUBS):
                to = at * SUBS + sub
                measure(x[sub], made.sub_block(sub), _ENDS4, sums[:, to], counts[:, to])
