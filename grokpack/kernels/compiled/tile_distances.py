"""Distances between two tiles of weights, compiled: twins of `grokpack.kernels.tile_distances`.

Tiles are seen as bytes, and 64 columns of them at a time; `_integer.lanes` has the form of loops.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from grokpack.core.arrays import contiguous
from grokpack.kernels.compiled import allocate, compiled, inner
from grokpack.kernels.compiled._tiles.rounded_tiles import (
    BLOCK_COLUMNS,
    BLOCK_ROWS,
    BLOCK_SUMS,
    WORK_SIZE,
    compare_block,
    transpose_block,
)
from grokpack.kernels.compiled._tiles.smallest_distances import (
    DISTANCES,
    DOUBT,
    find_steps,
    least_of_all,
)
from grokpack.kernels.compiled._tiles.smallest_distances import SIZE as FOUND
from grokpack.kernels.compiled._tiles.tile_comparison import (
    HEIGHT,
    LANES,
    SIZE,
    SUMS,
    allow_roundings,
    allow_steps,
    compare,
    count_beyond,
    excuse,
    find_ends,
    first_beyond,
    load,
)
from grokpack.kernels.compiled._vectors.byte_copies import copy
from grokpack.kernels.compiled._vectors.float_transposition import SIDE, transpose_square

_F32 = 4
_EDGE = 2 * SIDE  # values of a cache line


def measure(
    one: np.ndarray,
    other: np.ndarray,
    steps: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    factors: np.ndarray,
    least: np.ndarray,
    sums: np.ndarray,
) -> tuple[int, int, int]:
    """Call the compiled twin of `tile_distances.measure`.

    Most pairs of tiles have no steps and are within what roundings allow; all others take the way
    on which a value beyond is found and may be excused.
    """
    whole = not (len(one) % BLOCK_ROWS or one.shape[1] % BLOCK_COLUMNS)
    if whole and not (len(steps[0]) or len(steps[1])):
        differing = _measure_roundings(one, other, (factors, least), sums)
        if differing >= 0:
            return differing, 0, -1
    one, other = row_major(one), row_major(other)
    tiles, scratch = (_raw(one), _raw(other)), (np.zeros(SIZE, np.float32), np.empty(4, np.int64))
    differing, beyond, first = _measure(tiles, steps, groups, (factors, least), scratch, sums)
    return differing, beyond, first if beyond else -1


def _measure_roundings(
    one: np.ndarray, other: np.ndarray, roundings: tuple[np.ndarray, np.ndarray], sums: np.ndarray
) -> int:
    """Measure tiles without steps; return the number of unequal values, or -1 if one is beyond."""
    (ours, pitch, transposed), (theirs, step, other_transposed) = _lines(one), _lines(other)
    lying = pitch, transposed, step, other_transposed
    work = allocate((WORK_SIZE,), np.float32)
    return _add_blocks((ours, theirs), len(one), lying, roundings, work, sums)


@compiled
def _add_blocks(
    tiles: tuple[np.ndarray, np.ndarray],
    rows: int,
    lying: tuple[int, int, int, int],
    roundings: tuple[np.ndarray, np.ndarray],
    work: np.ndarray,
    sums: np.ndarray,
) -> int:
    """Add up all blocks.

    Args:
        tiles: Both tiles.
        rows: Number of their rows.
        lying: Distance of lines and 1 if they are columns, of the first and of the other.
        roundings: Factors and least errors.
        work: Scratch.
        sums: Filled.
    """
    (one, other), (pitch, transposed, step, other_transposed), differing = tiles, lying, 0
    for column in range(0, sums.shape[1], BLOCK_COLUMNS):
        work[BLOCK_SUMS:] = 0
        for row in range(0, rows, BLOCK_ROWS):
            ours, start, stride = one, row * pitch + column, pitch
            if transposed:
                transpose_block(one, column * pitch + row, pitch, 0, work)
                ours, start, stride = work, 0, BLOCK_COLUMNS
            theirs, beside, apart = other, row * step + column, step
            if other_transposed:
                transpose_block(other, column * step + row, step, 1, work)
                theirs, beside, apart = work, BLOCK_ROWS * BLOCK_COLUMNS, BLOCK_COLUMNS
            places = start, stride, beside, apart
            count = compare_block((ours, theirs), places, roundings, work)
            if count < 0:
                return -1
            differing += count
        for i in range(len(sums)):
            for lane in range(BLOCK_COLUMNS):
                sums[i, column + lane] = work[BLOCK_SUMS + i * BLOCK_COLUMNS + lane]
    return differing


@compiled
def _measure(
    tiles: tuple[np.ndarray, np.ndarray],
    steps: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    roundings: tuple[np.ndarray, np.ndarray],
    scratch: tuple[np.ndarray, np.ndarray],
    sums: np.ndarray,
) -> tuple[int, int, int]:
    """Measure all columns; the first value beyond is past the tile's end where none is."""
    differing, beyond, first = 0, 0, groups.shape[1] * sums.shape[1]
    for column in range(0, sums.shape[1], LANES):
        one, other, at = _measure_columns(tiles, column, steps, groups, roundings, scratch, sums)
        differing, beyond, first = differing + one, beyond + other, min(first, at)
    return differing, beyond, first


@inner
def _measure_columns(
    tiles: tuple[np.ndarray, np.ndarray],
    column: int,
    steps: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    roundings: tuple[np.ndarray, np.ndarray],
    scratch: tuple[np.ndarray, np.ndarray],
    sums: np.ndarray,
) -> tuple[int, int, int]:
    """Measure a few columns."""
    rows, columns = groups.shape[1], sums.shape[1]
    pitch, width = columns * _F32, min(LANES, columns - column)
    differing, beyond, first = 0, 0, rows * columns
    work, current = scratch
    current[:] = -1
    work[SUMS : SUMS + len(sums) * LANES] = 0
    for row in range(0, rows, HEIGHT):
        height = min(HEIGHT, rows - row)
        place = row * pitch + column * _F32, pitch, height, width * _F32
        load(tiles[0], place, 0, work)
        load(tiles[1], place, 1, work)
        differing += compare(work)
        allow_steps(steps, groups[:, row : row + height], column, current[:2], work)
        allow_roundings(*roundings, height, work)
        if not count_beyond(work):
            continue
        block = row, height, column, width
        if len(steps[0]):
            _excuse(tiles[0], block, 0, groups[0], current[2:3], work)
        if len(steps[1]):
            _excuse(tiles[1], block, 1, groups[1], current[3:], work)
        count = count_beyond(work)
        if count:
            at = first_beyond(work)
            first = min(first, (row + at // LANES) * columns + column + at % LANES)
            beyond += count
    for i in range(len(sums)):
        for lane in range(width):
            sums[i, column + lane] = work[SUMS + i * LANES + lane]
    return differing, beyond, first


@inner
def _excuse(
    raw: np.ndarray,
    block: tuple[int, int, int, int],
    side: int,
    groups: np.ndarray,
    ranged: np.ndarray,
    work: np.ndarray,
) -> None:
    """Allow any distance where a side's values in a block are clipped.

    Args:
        raw: The side's tile, as bytes.
        block: First row of the block, rows, first column, columns.
        side: The side.
        groups: The group of each row.
        ranged: The group whose ends were found last, which is updated.
        work: Where the block lies.
    """
    row, height, column, width = block
    pitch, first = len(raw) // len(groups), row
    while first < row + height:
        start, end = _extent(groups, first)
        if groups[first] != ranged[0]:
            place = start * pitch + column * _F32, pitch, end - start, width * _F32
            find_ends(raw, place, side, work)
            ranged[0] = groups[first]
        excuse(first - row, end - row, side, work)
        first = end


@inner
def _extent(groups: np.ndarray, row: int) -> tuple[int, int]:
    """Return the first and the last row + 1 of the group that a row is in."""
    start, end = row, row + 1
    while start > 0 and groups[start - 1] == groups[row]:
        start -= 1
    while end < len(groups) and groups[end] == groups[row]:
        end += 1
    return start, end


def least_distances(values: np.ndarray, block: int, out: np.ndarray) -> None:
    """Call the compiled twin of `tile_distances.least_distances`."""
    rows = -(-block // HEIGHT) * HEIGHT
    work = np.zeros(rows * LANES, np.float32), np.empty(FOUND, np.float32)
    _least_distances(_raw(values), block, *work, np.empty(2 * rows, np.float32), out)


@compiled
def _least_distances(
    raw: np.ndarray,
    block: int,
    values: np.ndarray,
    found: np.ndarray,
    line: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill the least distances; a block's first row stands in for those that it lacks."""
    columns, octets = out.shape[1], values.view(np.uint8)
    for at in range(len(out)):
        for column in range(0, columns, LANES):
            width = min(LANES, columns - column)
            for i in range(len(values) // LANES):
                row = at * block + (i if i < block else 0)
                start = (row * columns + column) * _F32
                copy(raw, start, octets, i * LANES * _F32, width * _F32)
            find_steps(values, found)
            for lane in range(width):
                if found[DOUBT + lane]:
                    found[DISTANCES + lane] = least_of_all(values, lane, line)
                out[at, column + lane] = found[DISTANCES + lane]


def row_major(tile: np.ndarray) -> np.ndarray:
    """Call the compiled twin of `tile_distances.row_major`."""
    if not _lies_transposed(tile):
        return contiguous(tile)
    made = np.empty(tile.shape, np.float32)
    _transpose(*_flat(tile.T), made)
    return made


@compiled
def _transpose(lines: np.ndarray, pitch: int, out: np.ndarray) -> None:
    """Transpose eight lines at a time, a cache line of each; lines begin `pitch` values apart."""
    rows, columns = out.shape
    whole_rows, whole_columns = rows // _EDGE * _EDGE, columns // _EDGE * _EDGE
    for column in range(0, whole_columns, _EDGE):
        for row in range(0, whole_rows, _EDGE):
            for c in range(column, column + _EDGE, SIDE):
                for r in range(row, row + _EDGE, SIDE):
                    transpose_square(lines, c * pitch + r, pitch, out, r * columns + c, columns)
    for row in range(rows):
        for column in range(whole_columns if row < whole_rows else 0, columns):
            out[row, column] = lines[column * pitch + row]


def _flat(lines: np.ndarray) -> tuple[np.ndarray, int]:
    """Return dense lines as one array, and their distance in it."""
    pitch = lines.strides[0] // _F32
    return as_strided(lines, ((len(lines) - 1) * pitch + lines.shape[1],), (_F32,)), pitch


def _lines(tile: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Return a tile's rows as one array, their distance, and 0; or its columns likewise, and 1."""
    transposed = _lies_transposed(tile)
    return *_flat(tile.T if transposed else tile), int(transposed)


def _lies_transposed(tile: np.ndarray) -> bool:
    """Return whether a tile lies `[out, in]`."""
    return tile.strides[-1] != _F32


def _raw(tile: np.ndarray) -> np.ndarray:
    """View a dense tile as bytes."""
    return tile.reshape(-1).view(np.uint8)
