"""FP8 with a step for each block, compiled: the twin of `grokpack.kernels.fp8`."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._fp8_lanes import (
    BLOCK,
    PART,
    ROWS,
    add_errors,
    encode,
    fold,
    load,
    raise_peaks,
    store,
)
from grokpack.kernels.fp8 import FACTORS, LANES, LARGEST, MSE, SMALLEST

_NIL, _ONE = np.float32(0), np.float32(1)
_NO_FACTORS = np.empty(0, np.float32)


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
    scratch = (
        np.zeros(2 * BLOCK, np.uint8),
        np.zeros(LANES, np.float32),
        np.zeros(PART * LANES, np.float32),
        np.zeros(LANES, np.uint32),
        np.zeros((1 + len(factors)) * LANES, np.float32),
        np.zeros((1 + len(factors)) * LANES, np.float32),
        np.zeros(4 * LANES, np.float32),
        np.zeros(2 * LANES, np.int32),
        np.zeros(BLOCK, np.uint8),
    )
    _quantize(
        values.reshape(-1).view(np.uint8),
        (*values.shape, values.itemsize),
        scales,
        (column, per_group, height, width),
        factors,
        scratch,
        out.reshape(-1).view(np.uint8),
        steps,
        sums,
        counts,
    )


@compiled
def _quantize(  # noqa: PLR0913, PLR0917
    raw: np.ndarray,
    shape: tuple[int, int, int],
    scales: np.ndarray,
    form: tuple[int, int, int, int],
    factors: np.ndarray,
    scratch: tuple[np.ndarray, ...],
    out: np.ndarray,
    steps: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Quantize all blocks; `raw` and `out` are bytes."""
    column, per_group, height, width = form
    choice, tally, trials = scratch[6], scratch[7], scratch[4]
    columns = len(out) // shape[0]
    stride = width if width > 1 else LANES
    source = (column, per_group)
    for g in range(len(steps)):
        top = g * height
        bottom = min(top + height, shape[0])
        for left in range(0, columns, stride):
            block = (top, bottom, left, min(stride, columns - left))
            _fit(raw, shape, scales, source, block, width > 1, factors, scratch)
            _start(trials, choice, tally)
            _write(raw, shape, scales, source, block, scratch, out)
            _note(choice, tally, (g, left, block[3], width), steps, sums, counts)


@inner
def _load(
    raw: np.ndarray,
    shape: tuple[int, int, int],
    scales: np.ndarray,
    source: tuple[int, int],
    block: tuple[int, int, int, int],
    row: int,
    scratch: tuple[np.ndarray, ...],
) -> int:
    """Load the rows of a block from a row on; return how many, and rows of zeros to fill up."""
    _, every, size = shape
    column, per_group = source
    _, bottom, left, count = block
    held = min(PART, bottom - row)
    at = (row * every + column + left) * size
    place = (at, every * size, size, held, count)
    load(raw, place, scales, (row, column + left, per_group), scratch[0], scratch[1], scratch[2])
    return -(-held // ROWS) * ROWS


@inner
def _fit(  # noqa: PLR0913, PLR0917
    raw: np.ndarray,
    shape: tuple[int, int, int],
    scales: np.ndarray,
    source: tuple[int, int],
    block: tuple[int, int, int, int],
    shared: bool,  # noqa: FBT001
    factors: np.ndarray,
    scratch: tuple[np.ndarray, ...],
) -> None:
    """Find the steps of a block, and leave its values where they are loaded if all have room."""
    bits, peaks, trials, errors = scratch[2].view(np.uint32), scratch[3], scratch[4], scratch[5]
    top, bottom, _, _ = block
    rows = 0
    peaks[:] = np.uint32(0)
    for row in range(top, bottom, PART):
        rows = _load(raw, shape, scales, source, block, row, scratch)
        raise_peaks(bits[: rows * LANES], peaks)
    _open(peaks, factors, shared, trials)
    if len(factors) == 0:
        return
    errors[:] = _NIL
    for row in range(top, bottom, PART):
        if bottom - top > PART:
            rows = _load(raw, shape, scales, source, block, row, scratch)
        for k in range(0, len(trials), LANES):
            add_errors(bits[: rows * LANES], trials[k : k + LANES], errors[k : k + LANES])
    _choose(errors, shared, trials)


@inner
def _write(
    raw: np.ndarray,
    shape: tuple[int, int, int],
    scales: np.ndarray,
    source: tuple[int, int],
    block: tuple[int, int, int, int],
    scratch: tuple[np.ndarray, ...],
    out: np.ndarray,
) -> None:
    """Encode a block whose steps are chosen."""
    bits, choice, tally, octets = scratch[2].view(np.uint32), scratch[6], scratch[7], scratch[8]
    top, bottom, left, count = block
    columns, pitch = len(out) // shape[0], shape[1] * shape[2]
    beyond = (source[0] + left + LANES) * shape[2]  # the block at the right, which is next
    for row in range(top, bottom, PART):
        if bottom - top > PART:
            _load(raw, shape, scales, source, block, row, scratch)
        for k in range(0, min(PART, bottom - row), ROWS):
            encode(bits[k * LANES : k * LANES + BLOCK], choice, tally, octets)
            goal = ((row + k) * columns + left, columns, min(ROWS, bottom - row - k), count)
            ahead = ((row + k) * pitch + beyond, pitch, LANES * shape[2])
            store(octets, out, goal, raw, ahead)


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
