"""Group-wise int4 and int8, compiled: twins of `grokpack.kernels.integer_quantization`.

The weight is processed group by group, 64 columns at a time. Words are packed down the columns and
transposed afterwards: an eighth of the elements.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._integer.encoding import BLOCKS, CHOICE_ROWS, encode
from grokpack.kernels.compiled._integer.lanes import BLOCK, LANES, TRIAL_ROWS
from grokpack.kernels.compiled._integer.step_search import Scratch, search_scratch
from grokpack.kernels.compiled._integer.steps import fit
from grokpack.kernels.compiled._integer.values import (
    copy_rows,
    extremes,
    scale_rows,
    scaled_extremes,
)
from grokpack.kernels.compiled._vectors.byte_copies import copy
from grokpack.kernels.integer_steps import DIVISORS, RTN

_BLOCK_ROWS = BLOCK // LANES
_EVERY_ROW = 1 << 62


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
    """Call the compiled twin of `integer_quantization.quantize`."""
    divisors = np.array(DIVISORS[bits])
    wide = values.dtype == np.float32
    own = scales[:, column : column + steps.shape[1]]
    plain = not wide and per_group % _BLOCK_ROWS == 0 and bool(np.isfinite(own).all())
    scratch = (
        np.zeros(group * LANES, np.float32),
        np.zeros(group * LANES, np.int8),
        np.empty(2 * LANES, np.int8),
        np.ones(LANES, np.float32),
        np.empty((3, TRIAL_ROWS * LANES), np.float32),
        np.empty(2 * LANES, np.float32),
        np.empty(2 * LANES, np.int32),
        np.empty(CHOICE_ROWS * LANES, np.float32),
        np.empty(2 * LANES, np.int32),
        np.empty(BLOCKS * BLOCK, np.uint8),
    )
    _quantize(
        values.reshape(-1).view(np.uint8),
        wide,
        scales,
        np.ones(len(values), np.float32) if importance is None else importance,
        (column, per_group, group, bits, method, precision),
        (symmetric, importance is not None, plain),
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
    flags: tuple[bool, bool, bool],
    divisors: np.ndarray,
    search: Scratch,
    scratch: tuple[np.ndarray, ...],
    out: np.ndarray,
    steps: np.ndarray,
    zeros: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize all columns.

    `raw` and `out` are bytes. `wide` means that the values are float32, and the last flag that they
    are int8, and eight rows share scales, which are finite.
    """
    column, per_group, rows, bits, method, precision = numbers
    symmetric, weighted, plain = flags
    group, codes, most, scale, trials, best, ends, choice, tally, line = scratch
    columns, size, unit = steps.shape[1], 4 if wide else 1, 4 if bits == 4 else 1  # noqa: PLR2004
    pitch, step = scales.shape[1] * size, columns * unit
    for g in range(len(steps)):
        row = g * rows
        for first in range(0, columns, LANES):
            width = min(LANES, columns - first)
            at = row * pitch + (column + first) * size
            source = row, column + first, width, per_group
            form = wide, plain, method != RTN
            _load(raw, (at, pitch, width), form, scales, source, codes, most, group, ends)
            own = importance[row : row + rows]
            kind = bits, method, precision
            fit(group, own, kind, (symmetric, weighted), divisors, ends, search, trials, best)
            _note(best, steps[g, first : first + width], zeros[g, first : first + width])
            if len(out) == 0:
                continue
            _choose(best, np.float32(1 << (bits - 1)), choice, tally)
            goal = (row * bits // (8 * unit) * step + first * unit, step, width * unit)
            # The last byte: rows may begin within a line.
            ahead = (at + 2 * LANES * size - 1, pitch)
            work = choice, tally, scale, line
            if plain:
                encode(codes, scales, source, bits, work, out, goal, raw, ahead)
            else:
                source = row, column + first, width, _EVERY_ROW
                encode(group, scales, source, bits, work, out, goal, raw, ahead)
            for k in range(3):
                _put(choice[(2 + k) * LANES :], sums[k, g, first : first + width])
            for k in range(2):
                _put(tally[k * LANES :], counts[k, g, first : first + width])


@inner
def _load(  # noqa: PLR0913, PLR0917
    raw: np.ndarray,
    place: tuple[int, int, int],
    form: tuple[bool, bool, bool],
    scales: np.ndarray,
    source: tuple[int, int, int, int],
    codes: np.ndarray,
    most: np.ndarray,
    group: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Load the values of a group, and find its extremes.

    Args:
        raw: All values, as bytes.
        place: Offset of the first value; bytes of a row; columns.
        form: True if values are float32; True if they are int8 whose scales are finite and shared
            by eight rows; True if `group` is wanted then, too.
        scales: `f32[source group, all columns]`.
        source: First input and column; columns; inputs that share a scale.
        codes: Filled if values are int8, `i8[row * LANES]`.
        most: Scratch, `i8[2 * LANES]`.
        group: Filled, `f32[row * LANES]`.
        ends: Filled with the bits of the largest magnitudes above and below zero, `i32[2 * LANES]`.
    """
    wide, plain, wanted = form
    ends[:] = 0
    if wide:
        at, pitch, width = place
        for k in range(len(group) // LANES):
            copy(raw, at + k * pitch, group.view(np.uint8), 4 * k * LANES, 4 * width)
    else:
        copy_rows(raw, place, codes)
        if wanted or not plain:
            scale_rows(codes, scales, source, group)
    if plain:
        scaled_extremes(codes, scales, source, most, ends)
    else:
        extremes(group.view(np.int32), ends)


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
