"""GGUF's block types, compiled: twins of `grokpack.kernels.ggml`.

A strip of 64 columns is processed block by block down the rows; only packed bytes are transposed.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import allocate, compiled, inner
from grokpack.kernels.compiled._float_vectors import LANES
from grokpack.kernels.compiled._ggml_blocks_of_32 import (
    BLOCK,
    HEAD,
    HEAD_M,
    WIDTH,
    F,
    Source,
    fit_q4_0,
    fit_q4_1,
    fit_q8_0,
    load,
    measure,
    pack_four,
    put,
    put_heads,
    scratch,
    source_of,
)
from grokpack.kernels.compiled._ggml_q4_k import (
    SUBS,
    SUPER,
    fit_q4_k,
    pack_q4_k,
    read_lanes,
)
from grokpack.kernels.compiled._ggml_search import Known, best_q4_0, best_q4_1

_BYTES8, _BYTES4_0, _BYTES4_1, _BYTES4_K = 34, 18, 20, 144
_SPAN = 512  # columns of a span: half a kilobyte of each row is read at once
_LOW8, _HIGH8, _LOW4, _HIGH4 = F(-127), F(127), F(0), F(15)


@inner
def _steps(out: np.ndarray, blocks: int) -> int:
    """Return the number of strips times blocks, including those missing from the last span."""
    return (len(out) + _SPAN - 1) // _SPAN * blocks * (_SPAN // WIDTH)


@inner
def _place(step: int, out: np.ndarray, blocks: int) -> tuple[int, int, int]:
    """Return the block, first column and end of the strip of a step.

    The order is strip by strip, block by block, and span by span.
    """
    strips = _SPAN // WIDTH
    done = step // (blocks * strips) * _SPAN + step % strips * WIDTH
    return step // strips % blocks, done, min(done + WIDTH, len(out))


def _work() -> tuple[np.ndarray, ...]:
    """Allocate scratch for a quantizer to codes of four bits."""
    return (*scratch(), allocate((BLOCK // 2, WIDTH), np.int8))


def _search_work() -> tuple[np.ndarray, ...]:
    """Allocate scratch for a search."""
    _x, other_q, other = scratch()
    return (*_work(), other_q, other)


def _work_k() -> tuple[np.ndarray, ...]:
    """Allocate scratch for a quantizer to blocks of 256."""
    _x, _q, lanes = scratch()
    own, w, k = (allocate((BLOCK * LANES,), np.float32) for _ in range(3))
    x, q = allocate((SUPER, WIDTH), np.float32), allocate((SUPER, WIDTH), np.int8)
    packed = allocate((_BYTES4_K, WIDTH), np.int8)
    subs, heads = allocate((8 * SUBS, WIDTH), np.float32), allocate((2, WIDTH), np.float32)
    return (x, q, lanes, packed, own, w, k, subs, heads)


def quantize_q8_0(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Call the compiled twin of `ggml.quantize_q8_0`."""
    _quantize_q8_0(source_of(values, scales, column, per_group), scratch(), out, sums, counts)


@compiled
def _quantize_q8_0(
    source: Source,
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    x, q, lanes = work
    blocks = sums.shape[1]
    for step in range(_steps(out, blocks)):
        at, done, end = _place(step, out, blocks)
        if done >= end:
            continue
        load(source, at * BLOCK, done, end - done, q, x, lanes)
        fit_q8_0(x, q, lanes)
        own = out[done:end, at * _BYTES8 : (at + 1) * _BYTES8]
        put_heads(lanes[HEAD:], own)
        put(q, own[:, 2:])
        measure(x, q, lanes, _LOW8, _HIGH8, sums[:, at, done:end], counts[:, at, done:end])


def quantize_q4_0(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Call the compiled twin of `ggml.quantize_q4_0`."""
    _quantize_q4_0(source_of(values, scales, column, per_group), _work(), out, sums, counts)


@compiled
def _quantize_q4_0(
    source: Source,
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    x, q, lanes, packed = work
    blocks = sums.shape[1]
    for step in range(_steps(out, blocks)):
        at, done, end = _place(step, out, blocks)
        if done >= end:
            continue
        load(source, at * BLOCK, done, end - done, q, x, lanes)
        fit_q4_0(x, q, lanes)
        pack_four(q, packed)
        own = out[done:end, at * _BYTES4_0 : (at + 1) * _BYTES4_0]
        put_heads(lanes[HEAD:], own)
        put(packed, own[:, 2:])
        measure(x, q, lanes, _LOW4, _HIGH4, sums[:, at, done:end], counts[:, at, done:end])


def quantize_q4_1(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Call the compiled twin of `ggml.quantize_q4_1`."""
    _quantize_q4_1(source_of(values, scales, column, per_group), _work(), out, sums, counts)


@compiled
def _quantize_q4_1(
    source: Source,
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    x, q, lanes, packed = work
    blocks = sums.shape[1]
    for step in range(_steps(out, blocks)):
        at, done, end = _place(step, out, blocks)
        if done >= end:
            continue
        load(source, at * BLOCK, done, end - done, q, x, lanes)
        fit_q4_1(x, q, lanes)
        pack_four(q, packed)
        own = out[done:end, at * _BYTES4_1 : (at + 1) * _BYTES4_1]
        put_heads(lanes[HEAD:], own)
        put_heads(lanes[HEAD_M:], own[:, 2:])
        put(packed, own[:, 4:])
        measure(x, q, lanes, _LOW4, _HIGH4, sums[:, at, done:end], counts[:, at, done:end])


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
    """Call the compiled twin of `ggml.search_q4_0`."""
    weights = np.ones(len(values), np.float32) if importance is None else importance
    known = weights, importance is not None
    _search_q4_0(
        source_of(values, scales, column, per_group), known, _search_work(), out, sums, counts
    )


@compiled
def _search_q4_0(
    source: Source,
    known: Known,
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    x, q, lanes, packed, other_q, other = work
    weights, weighted = known
    blocks = sums.shape[1]
    for step in range(_steps(out, blocks)):
        at, done, end = _place(step, out, blocks)
        if done >= end:
            continue
        load(source, at * BLOCK, done, end - done, q, x, lanes)
        own_weights = weights[at * BLOCK : (at + 1) * BLOCK]
        best_q4_0(x, (own_weights, weighted), q, lanes, other_q, other)
        pack_four(q, packed)
        own = out[done:end, at * _BYTES4_0 : (at + 1) * _BYTES4_0]
        put_heads(lanes[HEAD:], own)
        put(packed, own[:, 2:])
        measure(x, q, lanes, _LOW4, _HIGH4, sums[:, at, done:end], counts[:, at, done:end])


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
    """Call the compiled twin of `ggml.search_q4_1`."""
    weights = np.ones(len(values), np.float32) if importance is None else importance
    _search_q4_1(
        source_of(values, scales, column, per_group), weights, _search_work(), out, sums, counts
    )


@compiled
def _search_q4_1(
    source: Source,
    weights: np.ndarray,
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    x, q, lanes, packed, other_q, other = work
    blocks = sums.shape[1]
    for step in range(_steps(out, blocks)):
        at, done, end = _place(step, out, blocks)
        if done >= end:
            continue
        load(source, at * BLOCK, done, end - done, q, x, lanes)
        best_q4_1(x, weights[at * BLOCK : (at + 1) * BLOCK], q, lanes, other_q, other)
        pack_four(q, packed)
        own = out[done:end, at * _BYTES4_1 : (at + 1) * _BYTES4_1]
        put_heads(lanes[HEAD:], own)
        put_heads(lanes[HEAD_M:], own[:, 2:])
        put(packed, own[:, 4:])
        measure(x, q, lanes, _LOW4, _HIGH4, sums[:, at, done:end], counts[:, at, done:end])


def quantize_q4_k(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Call the compiled twin of `ggml.quantize_q4_k`."""
    _quantize_q4_k(source_of(values, scales, column, per_group), _work_k(), out, sums, counts)


@compiled
def _quantize_q4_k(
    source: Source,
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    x, q, lanes, packed, own_x, w, k, subs, heads = work
    blocks = sums.shape[1] * BLOCK // SUPER
    for step in range(_steps(out, blocks)):
        at, done, end = _place(step, out, blocks)
        if done >= end:
            continue
        load(source, at * SUPER, done, end - done, q, x, lanes)
        fit_q4_k(x, q, (own_x, w, k), subs, heads)
        pack_q4_k(q, subs, heads, packed)
        line = out[done:end, at * _BYTES4_K : (at + 1) * _BYTES4_K]
        put(packed, line)
        for sub in range(SUBS):
            to, rows = at * SUBS + sub, slice(sub * BLOCK, (sub + 1) * BLOCK)
            read_lanes(subs, sub, lanes)
            own, number = sums[:, to, done:end], counts[:, to, done:end]
            measure(x[rows], q[rows], lanes, _LOW4, _HIGH4, own, number)
