"""Whole blocks of K-quants and IQ4, compiled: twins of `grokpack.kernels._ggml.k_arrays`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._ggml import blocks_of_32
from grokpack.kernels.compiled._ggml.blocks_of_32 import (
    ONE,
    WIDTH,
    ZERO,
    F,
    I,
    Scalar,
    ahead_of,
    scratch,
)
from grokpack.kernels.compiled._vectors.byte_copies import LINE, copy, copy_line
from grokpack.kernels.compiled._vectors.byte_transposition import SIDE, transpose_square
from grokpack.kernels.compiled._vectors.float_vectors import (
    LANES,
    choose,
    clip,
    fill,
    int8s,
    magnitude,
    nearest_by_bits,
    root,
    store,
    store_bytes,
    vector,
)

Source: TypeAlias = tuple[blocks_of_32.Source, tuple[np.ndarray, ...]]
"""Weights, and scratch for a strip of a block."""
_HIGHEST = 256  # weights of a block
_F32 = 4  # bytes


def source_of(values: np.ndarray, scales: np.ndarray, column: int, per_group: int) -> Source:
    """Return the input of a quantizer in the form that `load_block` takes."""
    return blocks_of_32.source_of(values, scales, column, per_group), scratch(_HIGHEST)


@compiled
def _load_block(
    source: blocks_of_32.Source,
    place: tuple[int, int, int],
    work: tuple[np.ndarray, np.ndarray, np.ndarray],
    x: np.ndarray,
) -> None:
    row, first, count = place
    strip, part, lanes = work
    height, pitch = x.shape
    ahead = ahead_of(source, 0, 1, height)
    for left in range(0, count, WIDTH):
        width = min(WIDTH, count - left)
        blocks_of_32.load(source, (row, first + left, width, ahead), part, strip, lanes)
        for r in range(height):
            at, to = r * WIDTH * _F32, (r * pitch + left) * _F32
            if width == WIDTH:
                for n in range(0, WIDTH * _F32, LINE):
                    copy_line(strip, at + n, x, to + n)
            else:
                copy(strip, at, x, to, width * _F32)


def load_block(source: Source, place: tuple[int, int, int], x: np.ndarray) -> None:
    """Call the compiled twin of `_ggml.k_arrays.load_block`."""
    own, (strip, _codes, lanes, part, _ends) = source
    _load_block(own, place, (strip[: len(x)], part, lanes), x)


@compiled
def _farthest(values: np.ndarray, far: np.ndarray) -> None:
    for left in range(0, len(far), LANES):
        own = fill(ZERO)
        for r in range(len(values)):
            v = vector(values, r * len(far) + left)
            own = choose(magnitude(v) > magnitude(own), v, own)
        store(own, far, left)


def farthest(values: np.ndarray) -> np.ndarray:
    """Call the compiled twin of `_ggml.blocks_of_32.farthest`."""
    far = np.empty(values.shape[1], np.float32)
    _farthest(values, far)
    return far


@compiled
def weigh_squares(x: np.ndarray, w: np.ndarray) -> None:
    """Compiled twin of `_ggml.k_arrays.weigh_squares`."""
    for at in range(0, x.size, LANES):
        store(vector(x, at) * vector(x, at), w, at)


@compiled
def weigh_sizes(x: np.ndarray, with_mean: bool, w: np.ndarray) -> None:  # noqa: FBT001
    """Compiled twin of `_ggml.k_arrays.weigh_sizes`."""
    rows, columns = x.shape[1], x.shape[2]
    for sub in range(len(x)):
        for left in range(0, columns, LANES):
            start, mean = sub * rows * columns + left, fill(ZERO)
            if with_mean:
                for r in range(rows):
                    v = vector(x, start + r * columns)
                    mean += v * v
                mean = root(mean / fill(F(rows)))
            for r in range(rows):
                at = start + r * columns
                store(magnitude(vector(x, at)) + mean, w, at)


@compiled
def _requantize(
    x: np.ndarray,
    d: np.ndarray,
    m: np.ndarray,
    bounds: tuple[Scalar, Scalar],
    codes: np.ndarray,
    restored: np.ndarray,
) -> None:
    subs, rows, columns = x.shape
    middle, top, zero = fill(bounds[0]), fill(bounds[1]), fill(ZERO)
    for sub in range(subs):
        for left in range(0, columns, LANES):
            scales = vector(d, sub * columns + left)
            minima, none = vector(m, sub * columns + left), scales == zero
            for r in range(rows):
                at = (sub * rows + r) * columns + left
                y = (vector(x, at) + minima) / scales
                y = choose(y == y, nearest_by_bits(y), zero)  # noqa: PLR0124  # false for NaN
                k = clip(y, zero - middle, top - middle) + middle
                k = choose(none, int8s(codes, at), k)
                store_bytes(k, codes, at)
                store(scales * (k - middle) - minima, restored, at)


def requantize(
    x: np.ndarray,
    d: np.ndarray,
    m: np.ndarray,
    middle: int,
    top: int,
    codes: np.ndarray,
    restored: np.ndarray,
) -> None:
    """Call the compiled twin of `_ggml.k_search.requantize`."""
    _requantize(x, d, m, (F(middle), F(top)), codes, restored)


@compiled
def _place(packed: np.ndarray, blocks: np.ndarray, at: int) -> None:
    pitch, step = packed.shape[1], blocks.shape[1]
    height, width = len(packed), len(blocks)
    rows, columns = height - height % SIDE, width - width % SIDE
    for r in range(0, rows, SIDE):
        for c in range(0, columns, SIDE):
            transpose_square(packed, r * pitch + c, pitch, blocks, c * step + at + r, step)
    for r in range(height):
        for c in range(columns if r < rows else 0, width):
            blocks[c, at + r] = packed[r, c]


def place(packed: np.ndarray, blocks: np.ndarray, at: int) -> None:
    """Call the compiled twin of `_ggml.k_search.place`."""
    _place(np.ascontiguousarray(packed), blocks, at)


@compiled
def _measure(
    x: np.ndarray,
    restored: np.ndarray,
    codes: np.ndarray,
    top: Scalar,
    sums: np.ndarray,
    counts: np.ndarray,
    found: np.ndarray,
) -> None:
    subs, rows, columns = x.shape
    zero, one, before_top = fill(ZERO), fill(ONE), fill(top - ONE)
    for sub in range(subs):
        for left in range(0, columns, LANES):
            own = errors = products = ends = gone = zero
            for r in range(rows):
                at = (sub * rows + r) * columns + left
                v, y, k = vector(x, at), vector(restored, at), int8s(codes, at)
                e = v - y
                own += v * v
                errors += e * e
                products += v * e
                ends += choose((k <= zero) | (k > before_top), one, zero)
                gone += choose((v != zero) & (y == zero), one, zero)
            to = sub * columns + left
            store(own, sums, to)
            store(errors, sums, to + subs * columns)
            store(products, sums, to + 2 * subs * columns)
            store(ends, found, 0)
            store(gone, found, LANES)
            for c in range(LANES):
                counts[0, sub, left + c] = I(found[c])
                counts[1, sub, left + c] = I(found[LANES + c])


def measure(
    x: np.ndarray,
    restored: np.ndarray,
    codes: np.ndarray,
    top: int,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Call the compiled twin of `_ggml.k_arrays.measure`."""
    _measure(x, restored, codes, F(top), sums, counts, np.empty(2 * LANES, np.float32))


@compiled
def _join_fields(codes: np.ndarray, field: tuple[int, int, int], packed: np.ndarray) -> None:
    first, bits, apart = field
    count = 8 // bits
    for row in range(len(packed)):
        base, to = row // apart * apart * count + row % apart, packed[row]
        to[:] = 0
        for n in range(count):
            _add_field(codes[base + n * apart], (first, bits, n * bits), to)


@inner
def _add_field(codes: np.ndarray, field: tuple[int, int, int], to: np.ndarray) -> None:
    """Add some bits of codes to bytes: the first one, how many, and where they go."""
    first, mask, place = I(field[0]), I(I(1 << field[1]) - I(1)), I(field[2])
    for c in range(len(to)):
        bits = I(I(codes[c]) >> first) & mask
        to[c] = np.uint8(I(I(to[c]) | I(bits << place)))


def join_fields(codes: np.ndarray, field: tuple[int, int, int], packed: np.ndarray) -> None:
    """Call the compiled twin of `_ggml.k_arrays.join_fields`."""
    _join_fields(np.ascontiguousarray(codes), field, packed)
