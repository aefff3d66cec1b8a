"""Quantization to four-bit floats: MXFP4 and NVFP4 as compressed-tensors has them, GGUF's MXFP4.

The quantizers take `values`, `scales`, `column` and `per_group` as those of `kernels.ggml` do, and
`weights f32[in]`, the importance of each input in a search; without a search they leave the bytes
of compressed-tensors, or ggml. A search tries neighbouring scales of each block and leaves no more
weighted squared error than that. For each block and column they also fill `sums f32[3, block,
column]` and `counts i32[2, block, column]` as `kernels.ggml` does. A value that is not finite makes
its block's sums so.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels._block_source import BlockSource
from grokpack.kernels._ggml.blocks_of_32 import farthest, in_order, measure
from grokpack.kernels.fp4_blocks import GGML, MX, MX_BYTES, NV, TOP, BlockForm, nearest


def quantize_fp4(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    unit: float | None,
    weights: np.ndarray | None,
    codes: np.ndarray,
    chosen: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize as compressed-tensors does: MXFP4, or NVFP4 with the scale of the whole matrix.

    Args:
        values: As the module describes them, like the next three.
        scales: Likewise.
        column: Likewise.
        per_group: Likewise.
        unit: By which all scales of NVFP4 are divided; None for MXFP4.
        weights: Importance of each input in a search; None for the plain rule.
        codes: Filled, `u8[column, in / 2]`: of two inputs the first in the low bits.
        chosen: Filled with the bytes of scales, `u8[column, block]`.
        sums: As the module describes them.
        counts: Likewise.
    """
    form = MX if unit is None else NV
    blocks = codes.reshape(len(codes), -1, form.height // 2)
    source = BlockSource(values, scales, column, per_group)
    _quantize(form, source, np.float32(unit or 1), weights, (blocks, chosen), (sums, counts))


def quantize_mxfp4(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize to GGUF's MXFP4: a byte for the scale, 32 codes; `quantize_row_mxfp4_ref`."""
    each = out.reshape(len(out), -1, MX_BYTES)
    source = BlockSource(values, scales, column, per_group)
    _quantize(GGML, source, np.float32(1), None, (each[..., 1:], each[..., 0]), (sums, counts))


def search_mxfp4(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    importance: np.ndarray | None = None,
) -> None:
    """Quantize to GGUF's MXFP4, trying the powers of two beside ggml's."""
    each = out.reshape(len(out), -1, MX_BYTES)
    weights = np.ones(len(values), np.float32) if importance is None else importance
    source = BlockSource(values, scales, column, per_group)
    _quantize(GGML, source, np.float32(1), weights, (each[..., 1:], each[..., 0]), (sums, counts))


def _quantize(
    form: BlockForm,
    source: BlockSource,
    unit: np.float32,
    weights: np.ndarray | None,
    made: tuple[np.ndarray, np.ndarray],
    account: tuple[np.ndarray, np.ndarray],
) -> None:
    """Fill codes `u8[column, block, byte]` and scales `u8[column, block]`, sums and counts."""
    (codes, scales), (sums, counts) = made, account
    with np.errstate(all="ignore"):
        for at, x in enumerate(source.blocks(form.height, len(codes))):
            chosen = form.plain(np.abs(farthest(x)), unit)
            if weights is not None:
                own = weights[at * form.height : (at + 1) * form.height, None]
                chosen = _search(form, x, own, chosen, unit)
            fit, bits = form.encode(x, form.scales(chosen, unit))
            codes[:, at], scales[:, at] = form.pack(bits), chosen
            measure(x, fit, (-TOP, TOP), sums[:, at], counts[:, at])


def _search(
    form: BlockForm, x: np.ndarray, weights: np.ndarray, plain: np.ndarray, unit: np.float32
) -> np.ndarray:
    """Return the byte of least weighted squared error among the plain one and its trials."""
    size, best, first = np.abs(x), plain, form.numbers(plain)
    least = _squared_error(size * (unit / first), weights)
    reciprocal = np.float32(1) / first
    for trial in form.trials:
        other = np.clip(plain + trial, form.least, form.last)
        number = form.numbers(other)
        ratio = number * reciprocal
        error = _squared_error(size * (unit / number), weights) * (ratio * ratio)
        best, least = np.where(error < least, other, best), np.where(error < least, error, least)
    return best


def _squared_error(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted squared error of magnitudes in units of the scale, `f32[column]`."""
    d = y - np.minimum(nearest(y), np.float32(6))
    return in_order(d * d * weights)
