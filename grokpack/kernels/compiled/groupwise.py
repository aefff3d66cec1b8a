"""Group-wise int4 and int8, compiled: twins of `grokpack.kernels.groupwise`.

The weight is processed group by group, 64 columns at a time. Words are packed down the columns and
transposed afterwards: an eighth of the elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._byte_copies import copy
from grokpack.kernels.compiled._byte_transposition import COLUMNS, ROWS, scratch, transpose
from grokpack.kernels.compiled._group_encoding import BLOCKS, CHOICE_ROWS, encode
from grokpack.kernels.compiled._group_fitting import fit
from grokpack.kernels.compiled._group_search import Scratch, search_scratch
from grokpack.kernels.compiled._lanes import BLOCK, LANES, TRIAL_ROWS, load
from grokpack.kernels.group_steps import DIVISORS
from grokpack.kernels.groupwise import (
    FIRST_QUARTER,
    FRACTION_BITS,
    HISTOGRAM_BINS,
    QUARTER_BITS,
)

_EDGE = 16  # words of a cache line: squares of 16 by 16 consist of whole lines
_FRACTION = np.uint32((1 << FRACTION_BITS) - 1)
_LEADING = 1 << FRACTION_BITS
_SHIFT, _QUARTERS, _NOT_FINITE = (np.uint32(n) for n in (FRACTION_BITS, QUARTER_BITS, 255))


def quantize(  # noqa: PLR0913, PLR0917
    values: np.ndarray,
    scales: np.ndarray,
    column: int,
    per_group: int,
    group: int,
    bits: int,
    method: int,
    symmetric: bool,  # noqa: FBT001
    precision: int,
    out: np.ndarray,
    steps: np.ndarray,
    zeros: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    importance: np.ndarray | None = None,
) -> None:
    """Call the compiled twin of `groupwise.quantize`."""
    divisors = np.array(DIVISORS[bits])
    scratch = (
        np.zeros(group * LANES, np.float32),
        np.empty(BLOCK, np.int8),
        np.empty((3, TRIAL_ROWS * LANES), np.float32),
        np.empty(2 * LANES, np.float32),
        np.empty(2 * LANES, np.int32),
        np.empty(CHOICE_ROWS * LANES, np.float32),
        np.empty(2 * LANES, np.int32),
        np.empty(BLOCKS * BLOCK, np.uint8),
    )
    _quantize(
        values.reshape(-1).view(np.uint8),
        values.dtype == np.float32,
        scales,
        np.ones(len(values), np.float32) if importance is None else importance,
        (column, per_group, group, bits, method, precision),
        (symmetric, importance is not None),
        divisors,
        search_scratch(len(divisors)),
        scratch,
        out.reshape(-1).view(np.uint8),
        steps,
        zeros,
        sums,
        counts,
    )


@compiled
def _quantize(  # noqa: PLR0913, PLR0917
    raw: np.ndarray,
    wide: bool,  # noqa: FBT001
    scales: np.ndarray,
    importance: np.ndarray,
    numbers: tuple[int, int, int, int, int, int],
    flags: tuple[bool, bool],
    divisors: np.ndarray,
    search: Scratch,
    scratch: tuple[np.ndarray, ...],
    out: np.ndarray,
    steps: np.ndarray,
    zeros: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize all columns; `raw` and `out` are bytes, `wide` means that the values are float32."""
    column, per_group, rows, bits, method, precision = numbers
    group, codes, trials, best, ends, choice, tally, line = scratch
    columns, size, unit = steps.shape[1], 4 if wide else 1, 4 if bits == 4 else 1  # noqa: PLR2004
    pitch, step = scales.shape[1] * size, columns * unit
    octets = group.view(np.uint8)
    half = np.float32(1 << (bits - 1))
    for g in range(len(steps)):
        row = g * rows
        for first in range(0, columns, LANES):
            width = min(LANES, columns - first)
            at = row * pitch + (column + first) * size
            if wide:
                for k in range(rows):
                    copy(raw, at + k * pitch, octets, k * LANES * size, width * size)
            else:
                source = (row, column + first, per_group)
                load(raw, (at, pitch, width), scales, source, codes, group)
            own = importance[row : row + rows]
            form = bits, method, precision
            fit(group, own, form, flags, divisors, ends, search, trials, best)
            _note(best, steps[g, first : first + width], zeros[g, first : first + width])
            if len(out) == 0:
                continue
            _choose(best, half, choice, tally)
            goal = (row * bits // (8 * unit) * step + first * unit, step, width * unit)
            # The last byte: rows may begin within a line.
            ahead = (at + 2 * LANES * size - 1, pitch)
            encode(group, bits, choice, tally, line, out, goal, raw, ahead)
            for k in range(3):
                _put(choice[(2 + k) * LANES :], sums[k, g, first : first + width])
            for k in range(2):
                _put(tally[k * LANES :], counts[k, g, first : first + width])


@inner
def _note(best: np.ndarray, steps: np.ndarray, zeros: np.ndarray) -> None:
    """Copy steps and zero points to the output."""
    for lane in range(len(steps)):
        steps[lane] = best[lane]
        zeros[lane] = np.uint8(np.int32(best[LANES + lane]))


@inner
def _choose(best: np.ndarray, half: np.float32, choice: np.ndarray, tally: np.ndarray) -> None:
    """Set the rows that encoding takes, and clear its sums."""
    choice[:] = np.float32(0)
    tally[:] = 0
    for lane in range(LANES):
        choice[lane] = best[lane]
        choice[LANES + lane] = best[LANES + lane] - half


@inner
def _put(lanes: np.ndarray, out: np.ndarray) -> None:
    for lane in range(len(out)):
        out[lane] = lanes[lane]


@compiled
def transpose_words(words: np.ndarray, out: np.ndarray) -> None:
    """Compiled twin of `groupwise.transpose_words`."""
    rows, columns = words.shape
    for left in range(0, columns, _EDGE):
        right = min(left + _EDGE, columns)
        for top in range(0, rows, _EDGE):
            bottom = min(top + _EDGE, rows)
            for c in range(left, right):
                for r in range(top, bottom):
                    out[c, r] = words[r, c]


def transpose_bytes(octets: np.ndarray, out: np.ndarray) -> None:
    """Call the compiled twin of `groupwise.transpose_bytes`."""
    _transpose_bytes(octets.view(np.int8), scratch(), out)


@compiled
def _transpose_bytes(codes: np.ndarray, tile: np.ndarray, out: np.ndarray) -> None:
    rows, columns = codes.shape
    for top in range(0, rows, ROWS):
        height = min(ROWS, rows - top)
        for left in range(0, columns, COLUMNS):
            width = min(COLUMNS, columns - left)
            transpose(codes, (top, height, left, width), tile)
            for c in range(width):
                copy(tile[c], 0, out[left + c], top, height)


@compiled
def tally_groups(
    sums: np.ndarray,
    counts: np.ndarray,
    powers: np.ndarray,
    totals: np.ndarray,
    worst: np.ndarray,
    histogram: np.ndarray,
) -> None:
    """Compiled twin of `groupwise.tally_groups`."""
    _, groups, columns = sums.shape
    bits = sums.view(np.uint32)
    largest = worst[0]
    for g in range(groups):
        for column in range(columns):
            totals[0] += 1
            if not _add(bits[:, g, column], powers):
                totals[3] += 1
                continue
            totals[4] += counts[0, g, column]
            totals[5] += counts[1, g, column]
            signal, error = sums[0, g, column], sums[1, g, column]
            if signal == np.float32(0):
                totals[1] += 1
            elif error == np.float32(0):
                totals[2] += 1
            else:
                ratio = np.divide(error, signal)
                largest = max(largest, ratio)
                quarter: Any = np.int64(np.float32(ratio).view(np.uint32) >> _QUARTERS)
                histogram[min(max(quarter - FIRST_QUARTER + 1, 0), HISTOGRAM_BINS - 1)] += 1
    worst[0] = largest


@inner
def _add(bits: np.ndarray, powers: np.ndarray) -> bool:
    """Add the integers of three finite sums; return False if one is not finite."""
    for k in range(3):
        if (bits[k] >> _SHIFT) & _NOT_FINITE == _NOT_FINITE:
            return False
    for k in range(3):
        exponent: Any = np.int64((bits[k] >> _SHIFT) & _NOT_FINITE)
        mantissa: Any = np.int64(bits[k] & _FRACTION)
        if exponent > 0:
            mantissa += _LEADING
        powers[k, max(exponent, 1)] += -mantissa if bits[k] >> np.uint32(31) else mantissa
    return True
