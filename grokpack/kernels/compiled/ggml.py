"""GGUF's block types, compiled: twins of `grokpack.kernels.ggml`.

A strip of 64 columns is processed block by block down the rows. The bytes of eight blocks, which
make whole squares, are transposed together.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import allocate, compiled
from grokpack.kernels.compiled._ggml.block_fits import fit_q4_0, fit_q4_1, fit_q8_0, measure
from grokpack.kernels.compiled._ggml.blocks_of_32 import (
    BLOCK,
    HEAD,
    HEAD_M,
    PART,
    WIDTH,
    Source,
    account,
    ahead_of,
    has_exact_products,
    load,
    pack_four,
    put,
    put_head,
    scratch,
    source_of,
)
from grokpack.kernels.compiled._ggml.k_lanes import apart
from grokpack.kernels.compiled._ggml.q4_k import (
    SUBS,
    SUPER,
    encode_q4_k,
    fit_q4_k,
    pack_q4_k,
)
from grokpack.kernels.compiled._ggml.search import Known, best_q4_0, best_q4_1
from grokpack.kernels.compiled._vectors.float_vectors import LANES

_BYTES8, _BYTES4_0, _BYTES4_1, _BYTES4_K = 34, 18, 20, 144
_ENDS8, _ENDS4 = (-127, 127), (0, 15)


def _work() -> tuple[np.ndarray, ...]:
    """Allocate scratch for a quantizer to blocks of 32."""
    return (*scratch(), allocate((PART * _BYTES8, WIDTH), np.int8))


def _search_work() -> tuple[np.ndarray, ...]:
    """Allocate scratch for a search."""
    _x, other_q, other, _part, _ends = scratch()
    return (*_work(), other_q, other)


def _work_k() -> tuple[np.ndarray, ...]:
    """Allocate scratch for a quantizer to blocks of 256."""
    own, w, k = apart(3, BLOCK * LANES)
    packed = allocate((_BYTES4_K, WIDTH), np.int8)
    subs, heads = allocate((8 * SUBS, WIDTH), np.float32), allocate((2, WIDTH), np.float32)
    return (*scratch(SUPER), packed, own, w, k, subs, heads)


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
    _quantize_q8_0(source_of(values, scales, column, per_group), _work(), out, sums, counts)


@compiled
def _quantize_q8_0(
    source: Source,
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    x, _q, lanes, part, ends, packed = work
    blocks, columns = sums.shape[1:]
    for first in range(0, blocks, PART):
        count = min(PART, blocks - first)
        for left in range(0, columns, WIDTH):
            width = min(WIDTH, columns - left)
            for k in range(count):
                ahead = ahead_of(source, k, count, BLOCK)
                load(source, ((first + k) * BLOCK, left, width, ahead), part, x, lanes)
                own = packed[k * _BYTES8 : (k + 1) * _BYTES8]
                fit_q8_0(x, own[2:], lanes)
                put_head(lanes[HEAD:], own)
                account(own[2:], lanes, ends, _ENDS8, (first + k, left, width), sums, counts)
            span = slice(first * _BYTES8, (first + count) * _BYTES8)
            put(packed[: count * _BYTES8], out[left : left + width, span])


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
    x, q, lanes, part, ends, packed = work
    blocks, columns = sums.shape[1:]
    for first in range(0, blocks, PART):
        count = min(PART, blocks - first)
        for left in range(0, columns, WIDTH):
            width = min(WIDTH, columns - left)
            for k in range(count):
                ahead = ahead_of(source, k, count, BLOCK)
                load(source, ((first + k) * BLOCK, left, width, ahead), part, x, lanes)
                fit_q4_0(x, q, lanes)
                own = packed[k * _BYTES4_0 : (k + 1) * _BYTES4_0]
                put_head(lanes[HEAD:], own)
                pack_four(q, own[2:])
                account(q, lanes, ends, _ENDS4, (first + k, left, width), sums, counts)
            span = slice(first * _BYTES4_0, (first + count) * _BYTES4_0)
            put(packed[: count * _BYTES4_0], out[left : left + width, span])


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
    x, q, lanes, part, ends, packed = work
    blocks, columns = sums.shape[1:]
    for first in range(0, blocks, PART):
        count = min(PART, blocks - first)
        for left in range(0, columns, WIDTH):
            width = min(WIDTH, columns - left)
            for k in range(count):
                ahead = ahead_of(source, k, count, BLOCK)
                load(source, ((first + k) * BLOCK, left, width, ahead), part, x, lanes)
                fit_q4_1(x, q, lanes)
                own = packed[k * _BYTES4_1 : (k + 1) * _BYTES4_1]
                put_head(lanes[HEAD:], own)
                put_head(lanes[HEAD_M:], own[2:])
                pack_four(q, own[4:])
                for c in range(0, WIDTH, LANES):
                    measure(x, q, lanes, c)
                account(q, lanes, ends, _ENDS4, (first + k, left, width), sums, counts)
            span = slice(first * _BYTES4_1, (first + count) * _BYTES4_1)
            put(packed[: count * _BYTES4_1], out[left : left + width, span])


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
    source, (_x, _q, other, *_) = source_of(values, scales, column, per_group), scratch()
    known = weights, importance is None and has_exact_products(source)
    _search_q4_0(source, known, (*_work(), other), out, sums, counts)


@compiled
def _search_q4_0(
    source: Source,
    known: Known,
    work: tuple[np.ndarray, ...],
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    x, q, lanes, part, ends, packed, other = work
    weights, plain = known
    blocks, columns = sums.shape[1:]
    for first in range(0, blocks, PART):
        count = min(PART, blocks - first)
        for left in range(0, columns, WIDTH):
            width = min(WIDTH, columns - left)
            for k in range(count):
                ahead = ahead_of(source, k, count, BLOCK)
                load(source, ((first + k) * BLOCK, left, width, ahead), part, x, lanes)
                own_weights = weights[(first + k) * BLOCK : (first + k + 1) * BLOCK]
                best_q4_0(x, (own_weights, plain), q, lanes, other)
                own = packed[k * _BYTES4_0 : (k + 1) * _BYTES4_0]
                put_head(lanes[HEAD:], own)
                pack_four(q, own[2:])
                account(q, lanes, ends, _ENDS4, (first + k, left, width), sums, counts)
            span = slice(first * _BYTES4_0, (first + count) * _BYTES4_0)
            put(packed[: count * _BYTES4_0], out[left : left + width, span])


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
    x, q, lanes, part, ends, packed, other_q, other = work
    blocks, columns = sums.shape[1:]
    for first in range(0, blocks, PART):
        count = min(PART, blocks - first)
        for left in range(0, columns, WIDTH):
            width = min(WIDTH, columns - left)
            for k in range(count):
                ahead = ahead_of(source, k, count, BLOCK)
                load(source, ((first + k) * BLOCK, left, width, ahead), part, x, lanes)
                own_weights = weights[(first + k) * BLOCK : (first + k + 1) * BLOCK]
                best_q4_1(x, own_weights, q, lanes, other_q, other)
                own = packed[k * _BYTES4_1 : (k + 1) * _BYTES4_1]
                put_head(lanes[HEAD:], own)
                put_head(lanes[HEAD_M:], own[2:])
                pack_four(q, own[4:])
                for c in range(0, WIDTH, LANES):
                    measure(x, q, lanes, c)
                account(q, lanes, ends, _ENDS4, (first + k, left, width), sums, counts)
            span = slice(first * _BYTES4_1, (first + count) * _BYTES4_1)
            put(packed[: count * _BYTES4_1], out[left : left + width, span])


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
    x, q, lanes, part, ends, packed, own_x, w, k, subs, heads = work
    columns = sums.shape[2]
    for at in range(sums.shape[1] // SUBS):
        for left in range(0, columns, WIDTH):
            width = min(WIDTH, columns - left)
            load(source, (at * SUPER, left, width, ahead_of(source, 0, 1, SUPER)), part, x, lanes)
            fit_q4_k(x, (own_x, w, k), subs, heads)
            for sub in range(SUBS):
                encode_q4_k(x, q, subs, sub, lanes)
                rows, to = slice(sub * BLOCK, (sub + 1) * BLOCK), (at * SUBS + sub, left, width)
                account(q[rows], lanes, ends, _ENDS4, to, sums, counts)
            pack_q4_k(q, subs, heads, packed)
            put(packed, out[left : left + width, at * _BYTES4_K : (at + 1) * _BYTES4_K])
