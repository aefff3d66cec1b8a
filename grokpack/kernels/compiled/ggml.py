"""GGUF's block types, compiled: twins of `grokpack.kernels.ggml`.

A strip of 64 columns is processed block by block down the rows; only packed bytes are transposed.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled
from grokpack.kernels.compiled._byte_transposition import scratch as turning
from grokpack.kernels.compiled._ggml_blocks_of_32 import (
    BLOCK,
    WIDTH,
    F,
    I,
    Scalar,
    fit_q4_0,
    fit_q4_1,
    fit_q8_0,
    from_f16,
    load,
    measure,
    pack_four,
    put,
    scratch,
)
from grokpack.kernels.compiled._ggml_q4_k import SUBS, SUPER, fit_q4_k, pack_q4_k, read_lanes
from grokpack.kernels.compiled._ggml_search import best_q4_0, best_q4_1

_BYTES8, _BYTES4_0, _BYTES4_1, _BYTES4_K = 34, 18, 20, 144
_SPAN = 512  # columns of a span: half a kilobyte of each row is read at once
_LOW8, _HIGH8, _LOW4, _HIGH4, _EIGHT = F(-127), F(127), F(0), F(15), F(8)


@compiled
def _steps(out: np.ndarray, blocks: int) -> int:
    """Return the number of strips times blocks, including those missing from the last span."""
    return (len(out) + _SPAN - 1) // _SPAN * blocks * (_SPAN // WIDTH)


@compiled
def _place(step: int, out: np.ndarray, blocks: int) -> tuple[int, int, int]:
    """Return the block, first column and end of the strip of a step.

    The order is strip by strip, block by block, and span by span.
    """
    strips = _SPAN // WIDTH
    done = step // (blocks * strips) * _SPAN + step % strips * WIDTH
    return step // strips % blocks, done, min(done + WIDTH, len(out))


@compiled
def quantize_q8_0(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compiled twin of `ggml.quantize_q8_0`."""
    x, q, lanes = scratch()
    square, tile = turning()
    for step in range(_steps(out, len(values) // BLOCK)):
        at, done, end = _place(step, out, len(values) // BLOCK)
        if done >= end:
            continue
        load(values, scales, at * BLOCK, column + done, end - done, per_group, x)
        fit_q8_0(x, q, lanes)
        own = out[done:end, at * _BYTES8 : (at + 1) * _BYTES8]
        put(q, lanes, 1, square, tile, own)
        measure(x, q, lanes, _LOW8, _HIGH8, sums[:, at, done:end], counts[:, at, done:end])


@compiled
def quantize_q4_0(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compiled twin of `ggml.quantize_q4_0`."""
    x, q, lanes = scratch()
    square, tile = turning()
    packed = np.empty((BLOCK // 2, WIDTH), np.int8)
    for step in range(_steps(out, len(values) // BLOCK)):
        at, done, end = _place(step, out, len(values) // BLOCK)
        if done >= end:
            continue
        load(values, scales, at * BLOCK, column + done, end - done, per_group, x)
        fit_q4_0(x, q, lanes)
        pack_four(q, packed)
        own = out[done:end, at * _BYTES4_0 : (at + 1) * _BYTES4_0]
        put(packed, lanes, 1, square, tile, own)
        measure(x, q, lanes, _LOW4, _HIGH4, sums[:, at, done:end], counts[:, at, done:end])


@compiled
def quantize_q4_1(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compiled twin of `ggml.quantize_q4_1`."""
    x, q, lanes = scratch()
    square, tile = turning()
    packed = np.empty((BLOCK // 2, WIDTH), np.int8)
    for step in range(_steps(out, len(values) // BLOCK)):
        at, done, end = _place(step, out, len(values) // BLOCK)
        if done >= end:
            continue
        load(values, scales, at * BLOCK, column + done, end - done, per_group, x)
        fit_q4_1(x, q, lanes)
        pack_four(q, packed)
        own = out[done:end, at * _BYTES4_1 : (at + 1) * _BYTES4_1]
        put(packed, lanes, 2, square, tile, own)
        measure(x, q, lanes, _LOW4, _HIGH4, sums[:, at, done:end], counts[:, at, done:end])


@compiled
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
    """Compiled twin of `ggml.search_q4_0`."""
    weights = np.ones(len(values), np.float32) if importance is None else importance
    x, q, lanes = scratch()
    square, tile = turning()
    _x, other_q, other = scratch()
    packed = np.empty((BLOCK // 2, WIDTH), np.int8)
    for step in range(_steps(out, len(values) // BLOCK)):
        at, done, end = _place(step, out, len(values) // BLOCK)
        if done >= end:
            continue
        load(values, scales, at * BLOCK, column + done, end - done, per_group, x)
        best_q4_0(x, weights[at * BLOCK : (at + 1) * BLOCK], q, lanes, other_q, other)
        pack_four(q, packed)
        own = out[done:end, at * _BYTES4_0 : (at + 1) * _BYTES4_0]
        put(packed, lanes, 1, square, tile, own)
        measure(x, q, lanes, _LOW4, _HIGH4, sums[:, at, done:end], counts[:, at, done:end])


@compiled
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
    """Compiled twin of `ggml.search_q4_1`."""
    weights = np.ones(len(values), np.float32) if importance is None else importance
    x, q, lanes = scratch()
    square, tile = turning()
    _x, other_q, other = scratch()
    packed = np.empty((BLOCK // 2, WIDTH), np.int8)
    for step in range(_steps(out, len(values) // BLOCK)):
        at, done, end = _place(step, out, len(values) // BLOCK)
        if done >= end:
            continue
        load(values, scales, at * BLOCK, column + done, end - done, per_group, x)
        best_q4_1(x, weights[at * BLOCK : (at + 1) * BLOCK], q, lanes, other_q, other)
        pack_four(q, packed)
        own = out[done:end, at * _BYTES4_1 : (at + 1) * _BYTES4_1]
        put(packed, lanes, 2, square, tile, own)
        measure(x, q, lanes, _LOW4, _HIGH4, sums[:, at, done:end], counts[:, at, done:end])


@compiled
def quantize_q4_k(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compiled twin of `ggml.quantize_q4_k`."""
    x, q = np.zeros((SUPER, WIDTH), np.float32), np.empty((SUPER, WIDTH), np.int8)
    k, _q, lanes = scratch()
    square, tile = turning()
    subs, heads = np.empty((8 * SUBS, WIDTH), np.float32), np.empty((2, WIDTH), np.float32)
    packed = np.empty((_BYTES4_K, WIDTH), np.int8)
    for step in range(_steps(out, len(values) // SUPER)):
        at, done, end = _place(step, out, len(values) // SUPER)
        if done >= end:
            continue
        load(values, scales, at * SUPER, column + done, end - done, per_group, x)
        fit_q4_k(x, q, k, subs, heads, lanes)
        pack_q4_k(q, subs, heads, packed)
        line = out[done:end, at * _BYTES4_K : (at + 1) * _BYTES4_K]
        put(packed, lanes, 0, square, tile, line)
        for sub in range(SUBS):
            to, rows = at * SUBS + sub, slice(sub * BLOCK, (sub + 1) * BLOCK)
            read_lanes(subs, sub, lanes)
            own, number = sums[:, to, done:end], counts[:, to, done:end]
            measure(x[rows], q[rows], lanes, _LOW4, _HIGH4, own, number)


@compiled
def _half(blocks: np.ndarray, at: int) -> Scalar:
    return from_f16(I(I(blocks[at]) | I(I(blocks[at + 1]) << I(8))))


@compiled
def products_q8_0(blocks: np.ndarray, out: np.ndarray) -> None:
    """Compiled twin of `ggml.products_q8_0`."""
    for column in range(len(blocks)):
        for block in range(out.shape[1] // BLOCK):
            own = blocks[column, block * _BYTES8 : (block + 1) * _BYTES8]
            line = out[column, block * BLOCK : (block + 1) * BLOCK]
            d = _half(own, 0)
            for i in range(BLOCK):
                line[i] = d * F(np.int8(own[2 + i]))


@compiled
def products_q4_0(blocks: np.ndarray, out: np.ndarray) -> None:
    """Compiled twin of `ggml.products_q4_0`."""
    half = BLOCK // 2
    for column in range(len(blocks)):
        for block in range(out.shape[1] // BLOCK):
            own = blocks[column, block * _BYTES4_0 : (block + 1) * _BYTES4_0]
            line = out[column, block * BLOCK : (block + 1) * BLOCK]
            d = _half(own, 0)
            for i in range(half):
                code = own[2 + i]
                line[i] = d * (F(code & np.uint8(15)) - _EIGHT)
                line[half + i] = d * (F(code >> np.uint8(4)) - _EIGHT)


@compiled
def products_q4_1(blocks: np.ndarray, out: np.ndarray) -> None:
    """Compiled twin of `ggml.products_q4_1`."""
    half = BLOCK // 2
    for column in range(len(blocks)):
        for block in range(out.shape[1] // BLOCK):
            own = blocks[column, block * _BYTES4_1 : (block + 1) * _BYTES4_1]
            line = out[column, block * BLOCK : (block + 1) * BLOCK]
            d, m = _half(own, 0), _half(own, 2)
            for i in range(half):
                code = own[4 + i]
                line[i] = d * F(code & np.uint8(15)) + m
                line[half + i] = d * F(code >> np.uint8(4)) + m


@compiled
def _six(own: np.ndarray, sub: int) -> tuple[Scalar, Scalar]:
    """Return the 6-bit scale and minimum of a sub-block."""
    if sub < SUBS // 2:
        return I(own[4 + sub]) & I(63), I(own[8 + sub]) & I(63)
    low, scale, least = I(own[8 + sub]), I(own[sub]), I(own[4 + sub])
    return (low & I(15)) | (scale >> I(6) << I(4)), (low >> I(4)) | (least >> I(6) << I(4))


@compiled
def products_q4_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Compiled twin of `ggml.products_q4_k`."""
    for column in range(len(blocks)):
        for block in range(out.shape[1] // SUPER):
            own = blocks[column, block * _BYTES4_K : (block + 1) * _BYTES4_K]
            d, m = _half(own, 0), _half(own, 2)
            for sub in range(SUBS):
                scale, least = _six(own, sub)
                first = block * SUPER + sub * BLOCK
                line, codes = out[column, first : first + BLOCK], own[16 + sub // 2 * BLOCK :]
                ds, ms, shift = d * F(scale), m * F(least), np.uint8(sub % 2 * 4)
                for i in range(BLOCK):
                    line[i] = ds * F((codes[i] >> shift) & np.uint8(15)) - ms
