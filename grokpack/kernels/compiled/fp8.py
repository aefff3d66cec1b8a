"""FP8 with a step for each block, compiled: the twin of `grokpack.kernels.fp8`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from grokpack.kernels.compiled import allocate_all, compiled, inner
from grokpack.kernels.compiled._small_floats.fp8_lanes import (
    add_errors,
    encode,
    finish,
    fold,
    raise_codes,
    raise_halves,
    raise_words,
    scale_largest,
)
from grokpack.kernels.compiled._small_floats.magnitudes import (
    BFLOAT16,
    BLOCK,
    INT8,
    LANES,
    ROWS,
    fetch,
    load,
)
from grokpack.kernels.compiled._small_floats.part_stores import PART, put, put_turned
from grokpack.kernels.compiled._vectors.byte_copies import LINE, prefetch
from grokpack.kernels.compiled._vectors.byte_transposition import SIDE
from grokpack.kernels.fp8 import FACTORS, LARGEST, MSE, SMALLEST

_STRIP = 16  # rows that a pass takes: their magnitudes and words stay in the first-level cache
_NIL, _ONE = np.float32(0), np.float32(1)
_NO_FACTORS = np.empty(0, np.float32)

Shape: TypeAlias = tuple[int, int, int]
"""Rows, columns and bytes of a value of all values."""
Source: TypeAlias = tuple[int, int]
"""First column; rows that share a row of scales."""
Block: TypeAlias = tuple[int, int, int, int]
"""First row, row past the last, first column, columns."""
Scratch: TypeAlias = tuple[np.ndarray, ...]
"""Values that were fetched; scales of four rows, and their marks; magnitudes of a strip, their
marks and words; codes of a part, and 16 columns of it turned; of each lane, the bits of the largest
magnitude and the largest int8."""


def quantize(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    height: int,
    width: int,
    method: int,
    out: np.ndarray,
    steps: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Call the compiled twin of `fp8.quantize`, which sees bytes and is compiled once."""
    factors = FACTORS if method == MSE else _NO_FACTORS
    turned = not out.flags.c_contiguous
    trials = (1 + len(factors)) * LANES
    work = allocate_all(
        (PART * LANES, np.uint8),
        (BLOCK, np.float32),
        (BLOCK, np.uint8),
        (_STRIP * LANES, np.float32),
        (_STRIP * LANES, np.uint8),
        (_STRIP * LANES, np.uint32),
        (PART * LANES, np.uint8),
        (SIDE * PART, np.uint8),
        (LANES, np.uint32),
        (LANES, np.uint8),
        (trials, np.float32),
        (trials, np.float32),
        (4 * LANES, np.float32),
        (2 * LANES, np.int32),
        (2 * LANES, np.uint8),
    )
    _quantize(
        values.reshape(-1).view(np.uint8),
        (*values.shape, values.itemsize),
        scales,
        (column, per_group, height, width),
        (factors, work[10], work[11]),
        work[:10],
        (work[12], work[13], work[14]),
        (out.T if turned else out).reshape(-1),
        turned,
        steps,
        sums,
        counts,
    )


@compiled
def _quantize(  # noqa: PLR0913, PLR0917
    raw: np.ndarray,
    shape: Shape,
    scales: np.ndarray,
    form: tuple[int, int, int, int],
    search: tuple[np.ndarray, np.ndarray, np.ndarray],
    scratch: Scratch,
    account: tuple[np.ndarray, np.ndarray, np.ndarray],
    out: np.ndarray,
    turned: bool,  # noqa: FBT001
    steps: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize all blocks; `raw` and `out` are bytes."""
    column, per_group, height, width = form
    choice, tally, _ = account
    columns = len(out) // shape[0]
    stride = width if width > 1 else LANES
    source = (column, per_group)
    for g in range(len(steps)):
        top = g * height
        bottom = min(top + height, shape[0])
        for left in range(0, columns, stride):
            block = (top, bottom, left, min(stride, columns - left))
            _fit(raw, shape, scales, source, block, width > 1, search, scratch)
            _start(search[1], choice, tally)
            _write(raw, shape, scales, source, block, scratch, account, out, turned)
            _note(choice, tally, (g, left, block[3], width), steps, sums, counts)


@inner
def _fetch(
    raw: np.ndarray, shape: Shape, source: Source, block: Block, row: int, part: np.ndarray
) -> None:
    """Copy as many rows of a block as are fetched at once, from a row on."""
    _, every, size = shape
    at = (row * every + source[0] + block[2]) * size
    fetch(raw, (at, every * size, size, min(_fetched(size), block[1] - row)), block[3], part)


@inner
def _fetched(size: int) -> int:
    """Return the number of rows that are fetched at once: of int8 a whole part."""
    return PART if size == INT8 else _STRIP


@inner
def _load(
    shape: Shape,
    scales: np.ndarray,
    source: Source,
    block: Block,
    place: tuple[int, int],
    until: int,
    scratch: Scratch,
) -> int:
    """Load magnitudes and marks of a strip that was fetched.

    `place` is the first row that was fetched, and where from there the strip begins. Scales are
    held for rows before `until`; return the first row beyond those that they are held for now.
    """
    part, own, signs, x, marks = scratch[:5]
    (column, per_group), size = source, shape[2]
    first = place[0] + place[1]
    where = (first, column + block[2], per_group, until)
    rows = min(_STRIP, block[1] - first)
    return load(
        part[place[1] * LANES * size :], size, scales, where, (rows, block[3]), own, signs, x, marks
    )


@inner
def _padded(rows: int) -> int:
    """Return the rows of the next strip, rounded up to whole fours."""
    return -(-min(_STRIP, rows) // ROWS) * ROWS


@inner
def _find_peaks(
    raw: np.ndarray,
    shape: Shape,
    scales: np.ndarray,
    source: Source,
    block: Block,
    scratch: Scratch,
) -> None:
    """Find the bits of the largest magnitude of each lane; the last rows stay fetched."""
    peaks, size = scratch[8], shape[2]
    top, bottom, _, _ = block
    peaks[:] = np.uint32(0)
    for row in range(top, bottom, _fetched(size)):
        _fetch(raw, shape, source, block, row, scratch[0])
        rows = min(_fetched(size), bottom - row)
        held = scratch[0][: -(-rows // ROWS) * BLOCK * size]
        if size == INT8:
            _raise_products(scales, source, block, (row, rows), scratch)
        elif size == BFLOAT16:
            raise_halves(held.view(np.uint16), peaks)
        else:
            raise_words(held.view(np.uint32), peaks)


@inner
def _raise_products(
    scales: np.ndarray, source: Source, block: Block, rows: tuple[int, int], scratch: Scratch
) -> None:
    """Raise the peaks by products of int8: those of the largest of each scale."""
    part, peaks, largest = scratch[0], scratch[8], scratch[9]
    column, per_group = source
    _, _, left, count = block
    row, end = rows[0], rows[0] + rows[1]
    while row < end:
        group = row // per_group
        last = min((group + 1) * per_group, end)
        largest[:] = np.uint8(0)
        raise_codes(part[(row - rows[0]) * LANES : (last - rows[0]) * LANES], largest)
        scale_largest(largest, scales[group, column + left : column + left + count], peaks)
        row = last


@inner
def _fit(  # noqa: PLR0913, PLR0917
    raw: np.ndarray,
    shape: Shape,
    scales: np.ndarray,
    source: Source,
    block: Block,
    shared: bool,  # noqa: FBT001
    search: tuple[np.ndarray, np.ndarray, np.ndarray],
    scratch: Scratch,
) -> None:
    """Find the steps of a block."""
    factors, trials, errors = search
    _find_peaks(raw, shape, scales, source, block, scratch)
    _open(scratch[8], factors, shared, trials)
    if len(factors) == 0:
        return
    errors[:] = _NIL
    until, many = 0, _fetched(shape[2])
    for row in range(block[0], block[1], _STRIP):
        skip = (row - block[0]) % many
        if skip == 0 and block[1] - block[0] > many:
            _fetch(raw, shape, source, block, row, scratch[0])
        until = _load(shape, scales, source, block, (row - skip, skip), until, scratch)
        x = scratch[3][: _padded(block[1] - row) * LANES]
        for k in range(0, len(trials), LANES):
            add_errors(x, trials[k : k + LANES], errors[k : k + LANES])
    _choose(errors, shared, trials)


@inner
def _write(  # noqa: PLR0913, PLR0917
    raw: np.ndarray,
    shape: Shape,
    scales: np.ndarray,
    source: Source,
    block: Block,
    scratch: Scratch,
    account: tuple[np.ndarray, np.ndarray, np.ndarray],
    out: np.ndarray,
    turned: bool,  # noqa: FBT001
) -> None:
    """Encode a block whose steps are chosen."""
    x, marks, words, octets, tile = scratch[3:8]
    choice, tally, few = account
    top, bottom, left, count = block
    columns, pitch = len(out) // shape[0], shape[1] * shape[2]
    beyond = (source[0] + left + LANES) * shape[2]  # the block at the right, which is next
    until, many = 0, _fetched(shape[2])
    for part in range(top, bottom, PART):
        rows = min(PART, bottom - part)
        few[:] = np.uint8(0)
        for k in range(0, rows, _STRIP):
            if k % many == 0 and bottom - top > many:
                _fetch(raw, shape, source, block, part + k, scratch[0])
            place = (part + k - k % many, k % many)
            until = _load(shape, scales, source, block, place, until, scratch)
            for i in range(min(_STRIP, rows - k)):
                for n in range(0, LANES * shape[2], LINE):
                    prefetch(raw, (part + k + i) * pitch + beyond + n)
            held = _padded(rows - k) * LANES
            encode(x[:held], choice, words)
            finish(words, marks, few, octets[k * LANES : k * LANES + held])
        for lane in range(2 * LANES):
            tally[lane] += np.int32(few[lane])
        if turned:
            goal = (left * shape[0] + part, shape[0], rows, count)
            put_turned(octets, tile, out, goal, (rows, rows))
        else:
            put(octets, out, (part * columns + left, columns, rows, count))


@inner
def _open(peaks: np.ndarray, factors: np.ndarray, shared: bool, trials: np.ndarray) -> None:  # noqa: FBT001
    """Fill the steps to try, each for all lanes; the first is the reference's."""
    if shared:
        peak = np.uint32(0)
        for lane in range(LANES):
            peak = peaks[lane] if peaks[lane] > peak else peak  # noqa: FURB136
        peaks[:] = peak
    largest = peaks.view(np.float32)
    for lane in range(LANES):
        base = np.divide(largest[lane], LARGEST)
        held = SMALLEST if base < SMALLEST else base  # noqa: FURB136
        trials[lane] = _ONE if largest[lane] == _NIL else held
        for k in range(len(factors)):
            tried = base * factors[k]
            held = SMALLEST if tried < SMALLEST else tried  # noqa: FURB136
            trials[(1 + k) * LANES + lane] = held


@inner
def _choose(errors: np.ndarray, shared: bool, trials: np.ndarray) -> None:  # noqa: FBT001
    """Move the steps of least error to the front."""
    if shared:
        for k in range(0, len(errors), LANES):
            fold(errors[k : k + LANES])
            errors[k : k + LANES] = errors[k]
    for lane in range(LANES):
        for k in range(LANES, len(errors), LANES):
            if errors[k + lane] < errors[lane]:
                errors[lane], trials[lane] = errors[k + lane], trials[k + lane]


@inner
def _start(trials: np.ndarray, choice: np.ndarray, tally: np.ndarray) -> None:
    """Set the steps that encoding takes, and clear its sums."""
    choice[:] = _NIL
    tally[:] = 0
    for lane in range(LANES):
        choice[lane] = trials[lane]


@inner
def _note(
    choice: np.ndarray,
    tally: np.ndarray,
    place: tuple[int, int, int, int],
    steps: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Copy steps, sums and counts of the blocks to the output."""
    g, left, count, width = place
    if width > 1:
        first = left // width
        steps[g, first] = choice[0]
        for k in range(3):
            fold(choice[(1 + k) * LANES : (2 + k) * LANES])
            sums[k, g, first] = choice[(1 + k) * LANES]
        for k in range(2):
            counts[k, g, first] = tally[k * LANES : (k + 1) * LANES].sum()
        return
    for lane in range(count):
        steps[g, left + lane] = choice[lane]
        for k in range(3):
            sums[k, g, left + lane] = choice[(1 + k) * LANES + lane]
        for k in range(2):
            counts[k, g, left + lane] = tally[k * LANES + lane]
