"""Passes over a block of FP8, 128 columns at a time; see `_lanes` for the form of loops."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._byte_copies import LINE, copy, copy_line, prefetch
from grokpack.kernels.fp8 import (
    BIAS,
    DROPPED_BITS,
    EXPONENT_BITS,
    LANES,
    LARGEST,
    LEAST_POWER,
    SHIFT,
)

PART = 128  # rows that are held at a time
ROWS = 4  # rows of an unrolled loop; LLVM leaves one of eight as it is, and then has no vectors
BLOCK = ROWS * LANES

_NIL = np.float32(0)
_MAGNITUDE, _SIGN = np.uint32(0x7FFFFFFF), np.uint32(0x80)
_EXPONENT, _LEAST, _SHIFT = (np.uint32(n) for n in (EXPONENT_BITS, LEAST_POWER, SHIFT))
_DROPPED, _BIAS, _TO_SIGN, _HALF = (np.uint32(n) for n in (DROPPED_BITS, BIAS, 24, 16))
_TOP = np.uint32(0x7E)  # code of the largest magnitude

INT8, BFLOAT16, FLOAT32 = 1, 2, 4
"""Kinds of values, by their bytes."""


@inner
def load(
    raw: np.ndarray,
    place: tuple[int, int, int, int, int],
    scales: np.ndarray,
    source: tuple[int, int, int],
    line: np.ndarray,
    own: np.ndarray,
    part: np.ndarray,
) -> None:
    """Load rows of a block in float32; lanes and rows beyond it become zeros.

    Args:
        raw: All values, as bytes.
        place: Offset of the first value; bytes of a row; bytes of a value; rows, at most `PART`;
            columns, at most `LANES`.
        scales: `f32[group, all columns]`, for int8.
        source: First row and column; rows that share a row of scales.
        line: Scratch, `u8[2 * BLOCK]`.
        own: Scratch for a row of scales, `f32[LANES]`.
        part: Filled, `f32[PART * LANES]`.
    """
    at, pitch, size, rows, columns = place
    if columns < LANES:
        part[:] = _NIL
        line[:] = np.uint8(0)
        own[:] = _NIL
    octets, row = part.view(np.uint8), source[0]
    until = row  # the first row beyond those that share the scales in `own`
    for k in range(0, rows, ROWS):
        count = min(ROWS, rows - k)
        begin, form = at + k * pitch, (size, count, columns)
        if size == FLOAT32:
            _fetch(raw, begin, pitch, form, octets[k * LANES * size :])
            continue
        _fetch(raw, begin, pitch, form, line)
        if size == BFLOAT16:
            _widen(line, k * LANES, part)
        elif row + k + count <= until:
            _multiply(line, own, k * LANES, part)
        else:
            until = _straddle(line, scales, source, (k, count, columns), own, part)
    part[rows * LANES : -(-rows // ROWS) * BLOCK] = _NIL


@inner
def _fetch(
    raw: np.ndarray, begin: int, pitch: int, form: tuple[int, int, int], to: np.ndarray
) -> None:
    """Copy values of up to four rows, one row after another.

    Args:
        raw: All values, as bytes.
        begin: Offset of the first value.
        pitch: Bytes of a row.
        form: Bytes of a value; rows; columns.
        to: Filled, as bytes.
    """
    size, rows, columns = form
    for i in range(rows):
        if columns == LANES:
            for n in range(0, size * LANES, LINE):
                copy_line(raw, begin + i * pitch + n, to, i * size * LANES + n)
        else:
            copy(raw, begin + i * pitch, to, i * size * LANES, columns * size)


@inner
def _widen(line: np.ndarray, at: int, part: np.ndarray) -> None:
    """Convert four rows of bfloat16."""
    halves, bits = line.view(np.uint16), part.view(np.uint32)[at : at + BLOCK]
    for n in range(BLOCK):
        bits[n] = np.uint32(np.uint32(halves[n]) << _HALF)


@inner
def _multiply(line: np.ndarray, own: np.ndarray, at: int, part: np.ndarray) -> None:
    """Multiply four rows of int8 by the scales that they share."""
    codes, block = line.view(np.int8), part[at : at + BLOCK]
    for lane in range(LANES):
        scale = own[lane]
        for i in range(ROWS):
            block[i * LANES + lane] = np.float32(codes[i * LANES + lane]) * scale


@inner
def _straddle(
    line: np.ndarray,
    scales: np.ndarray,
    source: tuple[int, int, int],
    place: tuple[int, int, int],
    own: np.ndarray,
    part: np.ndarray,
) -> int:
    """Multiply rows of int8 of which the first scales are not held yet, or not all are the same.

    Args:
        line: The codes of up to four rows.
        scales: As `load` takes them.
        source: Likewise.
        place: First of the rows in the part; rows; columns.
        own: Filled with the scales of the last row.
        part: Filled from the first of the rows on.

    Returns:
        The first row beyond those that share the scales of the last.
    """
    row, column, per_group = source
    first, rows, columns = place
    codes = line.view(np.int8)
    until = row + first
    for i in range(rows):
        if row + first + i >= until:
            group = (row + first + i) // per_group
            until = (group + 1) * per_group
            for lane in range(columns):
                own[lane] = scales[group, column + lane]
        for lane in range(LANES):
            part[(first + i) * LANES + lane] = np.float32(codes[i * LANES + lane]) * own[lane]
    return until


@inner
def raise_peaks(bits: np.ndarray, peaks: np.ndarray) -> None:
    """Raise the bits of the largest magnitude of each lane, `u32[LANES]`; NaN is beyond infinity.

    Args:
        bits: Bits of whole blocks of rows, `u32[rows * LANES]`.
        peaks: Raised.
    """
    for at in range(0, len(bits), BLOCK):
        block = bits[at : at + BLOCK]
        for lane in range(LANES):
            peak = peaks[lane]
            for i in range(ROWS):
                one = np.uint32(block[i * LANES + lane] & _MAGNITUDE)
                peak = one if one > peak else peak  # noqa: FURB136
            peaks[lane] = peak


@inner
def add_errors(bits: np.ndarray, steps: np.ndarray, errors: np.ndarray) -> None:
    """Add the squared errors of a step for each lane, both `f32[LANES]`."""
    u32 = np.uint32
    for at in range(0, len(bits), BLOCK):
        block = bits[at : at + BLOCK]
        for lane in range(LANES):
            step, total = steps[lane], errors[lane]
            for i in range(ROWS):
                x = u32(block[i * LANES + lane] & _MAGNITUDE).view(np.float32)
                t = np.divide(x, step)
                t = t if t < LARGEST else LARGEST  # noqa: FURB136
                power = u32(np.float32(t).view(np.uint32) & _EXPONENT)
                power = u32(max(_LEAST, power))
                shifted = u32(power + _SHIFT).view(np.float32)
                rounded = np.float32(np.float32(t + shifted) - shifted)
                e = x - rounded * step
                total += e * e
            errors[lane] = total


@inner
def encode(bits: np.ndarray, choice: np.ndarray, tally: np.ndarray, octets: np.ndarray) -> None:
    """Encode four rows.

    LLVM compares at most so many arrays for overlap, so that steps and sums are in one.

    Args:
        bits: Bits of their values, `u32[BLOCK]`.
        choice: Step of each lane, and sums of x*x, e*e and x*e, which are raised,
            `f32[4 * LANES]`.
        tally: Raised by codes of the largest magnitude, and values that became zero,
            `i32[2 * LANES]`.
        octets: Filled with codes, `u8[BLOCK]`.
    """
    u32 = np.uint32
    for lane in range(LANES):
        step = choice[lane]
        xx, ee, xe = choice[LANES + lane], choice[2 * LANES + lane], choice[3 * LANES + lane]
        ends, gone = tally[lane], tally[LANES + lane]
        for i in range(ROWS):
            own = bits[i * LANES + lane]
            x = u32(own & _MAGNITUDE).view(np.float32)
            t = np.divide(x, step)
            t = t if t < LARGEST else LARGEST  # noqa: FURB136
            power = u32(np.float32(t).view(np.uint32) & _EXPONENT)
            power = u32(max(_LEAST, power))
            shifted = u32(power + _SHIFT)
            total = np.float32(t + shifted.view(np.float32))
            code = u32(u32(total.view(np.uint32) - shifted) + u32(u32(power >> _DROPPED) - _BIAS))
            e = x - np.float32(total - shifted.view(np.float32)) * step
            xx += x * x
            ee += e * e
            xe += x * e
            ends = np.int32(ends + np.int32(1)) if code == _TOP else ends
            gone = np.int32(gone + np.int32(1)) if (code == u32(0)) & (x != _NIL) else gone
            octets[i * LANES + lane] = np.uint8(u32(code | u32(u32(own >> _TO_SIGN) & _SIGN)))
        choice[LANES + lane], choice[2 * LANES + lane], choice[3 * LANES + lane] = xx, ee, xe
        tally[lane], tally[LANES + lane] = ends, gone


@inner
def store(
    octets: np.ndarray,
    out: np.ndarray,
    goal: tuple[int, int, int, int],
    raw: np.ndarray,
    ahead: tuple[int, int, int],
) -> None:
    """Copy the codes of up to four rows, and prefetch the values of the next block.

    Args:
        octets: The codes, `u8[BLOCK]`.
        out: All codes, as bytes.
        goal: Offset of the first code; bytes of a row; rows; columns.
        raw: All values, as bytes.
        ahead: Offset of the next block's values; bytes of a row; bytes of a line of it.
    """
    to, pitch, rows, columns = goal
    begin, stride, nbytes = ahead
    for i in range(rows):
        for n in range(0, nbytes, LINE):
            prefetch(raw, begin + i * stride + n)
        if columns == LANES:
            for n in range(0, LANES, LINE):
                copy_line(octets, i * LANES + n, out, to + i * pitch + n)
        else:
            copy(octets, i * LANES, out, to + i * pitch, columns)


@inner
def fold(lanes: np.ndarray) -> None:
    """Add halves of the lanes until the first is their sum, `f32[LANES]`."""
    half = LANES // 2
    while half > 0:
        for lane in range(half):
            lanes[lane] += lanes[half + lane]
        half //= 2
