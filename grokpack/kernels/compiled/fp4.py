"""Four-bit floats, compiled: twins of `grokpack.kernels.fp4`.

One compiled function makes blocks of every form; codes and scales go to places of their own, or
side by side into GGUF's blocks.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from grokpack.kernels import fp4_blocks as spec
from grokpack.kernels.compiled import allocate_all, compiled, inner
from grokpack.kernels.compiled._ggml.blocks_of_32 import F, I, Scalar
from grokpack.kernels.compiled._small_floats.fp4_lanes import (
    COUNT,
    SUMS,
    choose,
    decode,
    encode,
    find_largest,
    finish,
    pack,
    search,
)
from grokpack.kernels.compiled._small_floats.magnitudes import BLOCK, FLOAT32, LANES, fetch, load
from grokpack.kernels.compiled._small_floats.part_stores import PART, put_turned
from grokpack.kernels.compiled._vectors.byte_copies import LINE, prefetch
from grokpack.kernels.compiled._vectors.byte_transposition import SIDE

_HIGHEST = 32  # most weights of a block

Source: TypeAlias = tuple[np.ndarray, int, int, np.ndarray, int, int]
"""Values as bytes; bytes of a row, and of a value; scales `f32[group, column]`; first column; rows
that share a scale."""
Rules: TypeAlias = tuple[int, bool, bool, bool, Scalar, np.ndarray, np.ndarray]
"""Weights of a block; True for MXFP4, for ggml's rules, and for weights that are not all one; scale
of the matrix; trials; importance of each input."""
Places: TypeAlias = tuple[np.ndarray, int, int, int, np.ndarray, int, int]
"""Codes as bytes; bytes of a row and of a block, and of a block those before its codes; scales as
bytes; bytes of a row and of a block."""
Work: TypeAlias = tuple[np.ndarray, ...]
"""Values that were fetched; scales of four rows, and their marks; magnitudes of a block, their
marks, words and codes; numbers of each lane; bytes of their scales, and of others; counts; packed
codes of a part, its bytes of scales, and 16 columns of either turned."""


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
    """Compiled twin of `fp4.quantize_fp4`."""
    form = spec.MX if unit is None else spec.NV
    half, blocks = form.height // 2, chosen.shape[1]
    places = codes.reshape(-1), blocks * half, half, 0, chosen.reshape(-1), blocks, 1
    source = values, scales, column, per_group
    _run(form, source, F(unit or 1), weights, places, sums, counts)


def quantize_mxfp4(
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    out: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compiled twin of `fp4.quantize_mxfp4`."""
    source = values, scales, column, per_group
    _run(spec.GGML, source, F(1), None, _in_blocks(out), sums, counts)


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
    """Compiled twin of `fp4.search_mxfp4`."""
    weights = np.ones(len(values), np.float32) if importance is None else importance
    source = values, scales, column, per_group
    _run(spec.GGML, source, F(1), weights, _in_blocks(out), sums, counts)


def _in_blocks(out: np.ndarray) -> Places:
    """Return the places of codes and scales in GGUF's blocks."""
    octets, pitch = out.reshape(-1), out.shape[1]
    return octets, pitch, spec.MX_BYTES, 1, octets, pitch, spec.MX_BYTES


def _run(
    form: spec.BlockForm,
    source: tuple[np.ndarray, np.ndarray, int, int],
    unit: np.float32,
    weights: np.ndarray | None,
    places: Places,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Allocate scratch, and call the compiled function."""
    values, scales, column, per_group = source
    lying = np.ascontiguousarray(values)
    size = lying.itemsize
    trials = np.empty(0, np.int32) if weights is None else form.trials
    known = np.ones(len(values), np.float32) if weights is None else weights
    weighted = not (known == 1).all()
    work = allocate_all(
        (_HIGHEST * LANES * FLOAT32, np.uint8),
        (BLOCK, np.float32),
        (BLOCK, np.uint8),
        (_HIGHEST * LANES, np.float32),
        (_HIGHEST * LANES, np.uint8),
        (_HIGHEST * LANES, np.uint32),
        (_HIGHEST * LANES, np.uint8),
        (COUNT, np.float32),
        (LANES, np.int32),
        (2 * LANES, np.int32),
        (2 * LANES, np.uint8),
        (PART * LANES, np.uint8),
        (SIDE * LANES, np.uint8),
        (SIDE * PART, np.uint8),
    )
    octets = lying.reshape(-1).view(np.uint8)
    rules = form.height, form.micro, form.ggml, weighted, unit, trials, known
    pitch = values.shape[1] * size
    _quantize((octets, pitch, size, scales, column, per_group), rules, places, work, sums, counts)


@compiled
def _quantize(
    source: Source, rules: Rules, places: Places, work: Work, sums: np.ndarray, counts: np.ndarray
) -> None:
    """Quantize part by part, of which each column becomes a run of `PART` bytes of codes."""
    height, half = rules[0], rules[0] // 2
    _, blocks, columns = sums.shape
    each = PART // half
    for first in range(0, blocks, each):
        last = min(first + each, blocks)
        for left in range(0, columns, LANES):
            count, until = min(LANES, columns - left), 0
            for block in range(first, last):
                until = _make(source, rules, (block, left, count), until, work)
                k = block - first
                pack(work[6][: height * LANES], rules[2], work[11][k * half * LANES :])
                for lane in range(LANES):
                    work[12][k * LANES + lane] = np.uint8(work[8][lane])
                _note((block, left, count), work[7], work[10], sums, counts)
            _put(places, (first, last - first, left, count), half, work)


@inner
def _put(places: Places, block: tuple[int, int, int, int], half: int, work: Work) -> None:
    """Write the codes and scales of a part: first block, blocks, first column and columns."""
    out, pitch, step, skip, scales, line, each = places
    first, blocks, left, count = block
    packed, chosen, tile = work[11:]
    goal = left * pitch + first * step + skip, pitch, blocks * half, count
    put_turned(packed, tile, out, goal, (goal[2] if step == half else half, step))
    goal = left * line + first * each, line, blocks, count
    put_turned(chosen, tile, scales, goal, (blocks if each == 1 else 1, each))


@inner
def _make(source: Source, rules: Rules, place: tuple[int, int, int], until: int, work: Work) -> int:
    """Make the codes of a block of some columns; `until` is as in `load`."""
    raw, pitch, size, scales, column, per_group = source
    height, micro, ggml, weighted, unit, trials, known = rules
    part, own, signs = work[:3]
    x, marks, words = (work[3][: height * LANES], work[4][: height * LANES], work[5])
    codes, lanes, chosen, other, tally = (
        work[6][: height * LANES],
        work[7],
        work[8],
        work[9],
        work[10],
    )
    left, count, row = place[1], place[2], place[0] * height
    at = row * pitch + (column + left) * size
    fetch(raw, (at, pitch, size, height), count, part)
    for i in range(height):
        for n in range(0, LANES * size, LINE):
            prefetch(
                raw, at + i * pitch + LANES * size + n
            )  # the block at the right, which is next
    where = row, column + left, per_group, until
    until = load(part, size, scales, where, (height, count), own, signs, x, marks)
    find_largest(x, lanes)
    choose(lanes, micro, ggml, unit, chosen)
    if len(trials):
        weights = known[row : row + height]
        search(x, weights, (weighted, micro, unit, trials), lanes, chosen, other)
    decode(chosen, micro, unit, lanes)
    encode(x, ggml, lanes, words)
    finish(words, marks, ggml, tally, codes)
    return until


@inner
def _note(
    place: tuple[int, int, int],
    lanes: np.ndarray,
    tally: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Copy sums and counts of a block of some columns to the output."""
    block, left, count = place
    for k in range(3):
        of_block, to = lanes[SUMS + k * LANES :], sums[k, block, left : left + count]
        for lane in range(count):
            to[lane] = of_block[lane]
    for k in range(2):
        own, amounts = tally[k * LANES :], counts[k, block, left : left + count]
        for lane in range(count):
            amounts[lane] = I(own[lane])
