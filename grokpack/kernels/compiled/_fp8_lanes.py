"""Passes over rows of FP8, 128 columns and four rows at a time; see `_lanes` for the form of loops.

What takes one byte of a value is done apart from what takes four, so that each pass fills vector
registers: signs and zeros go by as marks, and codes are counted once they are bytes.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._byte_copies import LINE, copy, copy_line
from grokpack.kernels.compiled._byte_transposition import SIDE, transpose_square
from grokpack.kernels.fp8 import BIAS, DROPPED_BITS, EXPONENT_BITS, LANES, LEAST_POWER, SHIFT

ROWS = 4  # rows of an unrolled loop; LLVM leaves one of eight as it is, and then has no vectors
BLOCK = ROWS * LANES
PART = 128  # rows whose codes are held before they are stored; int8 of as many is fetched at once

_NIL = np.float32(0)
_MAGNITUDE, _HALF_MAGNITUDE = np.uint32(0x7FFFFFFF), np.uint16(0x7FFF)
_EXPONENT, _LEAST, _SHIFT = (np.uint32(n) for n in (EXPONENT_BITS, LEAST_POWER, SHIFT))
_DROPPED, _TO_SIGN, _HALF = (np.uint32(n) for n in (DROPPED_BITS, 24, 16))
_SIGN, _ZERO, _NOTHING = np.uint8(0x80), np.uint8(1), np.uint8(0)
"""Marks of a value: its sign where its code has it, and that it is zero."""
_BIAS = np.uint8(-BIAS % 256)
_TOP = np.uint8(0x7E)
"""Code of the largest magnitude."""

INT8, BFLOAT16, FLOAT32 = 1, 2, 4
"""Kinds of values, by their bytes."""


@inner
def fetch(
    raw: np.ndarray, place: tuple[int, int, int, int], columns: int, part: np.ndarray
) -> None:
    """Copy rows side by side; what is missing of the columns, and of fours of rows, becomes zero.

    Rows of a matrix lie far apart, and often in the same few sets of the first-level cache.

    Args:
        raw: All values, as bytes.
        place: Offset of the first value; bytes of a row; bytes of a value; rows.
        columns: Columns, at most `LANES`.
        part: Filled, as bytes.
    """
    at, pitch, size, rows = place
    whole = size * LANES
    part[rows * whole : -(-rows // ROWS) * ROWS * whole] = _NOTHING
    if columns < LANES:
        part[: rows * whole] = _NOTHING
        for i in range(rows):
            copy(raw, at + i * pitch, part, i * whole, columns * size)
        return
    for i in range(rows):
        for n in range(0, whole, LINE):
            copy_line(raw, at + i * pitch + n, part, i * whole + n)


@inner
def take_scales(
    scales: np.ndarray,
    source: tuple[int, int, int],
    place: tuple[int, int],
    own: np.ndarray,
    marks: np.ndarray,
) -> int:
    """Copy the scales of four rows of int8.

    Args:
        scales: `f32[group, all columns]`.
        source: First row and column; rows that share a row of scales.
        place: Rows, at most four; columns, at most `LANES`.
        own: Filled with magnitudes, `f32[BLOCK]`, zero where there is no scale.
        marks: Filled with their marks, `u8[BLOCK]`.

    Returns:
        The first row beyond those that the same scales hold for.
    """
    row, column, per_group = source
    rows, columns = place
    if columns < LANES:
        own[:] = _NIL
    last = (row + rows - 1) // per_group
    for i in range(ROWS):
        group = min((row + i) // per_group, last)
        for lane in range(columns):
            own[i * LANES + lane] = scales[group, column + lane]
    bits = own.view(np.uint32)
    for n in range(BLOCK):
        sign = np.uint8(np.uint8(bits[n] >> _TO_SIGN) & _SIGN)
        marks[n] = np.uint8(sign | np.uint8(own[n] == _NIL))
        own[n] = np.abs(own[n])
    return (last + 1) * per_group if row // per_group == last else row


@inner
def scale_codes(
    line: np.ndarray, own: np.ndarray, marks: np.ndarray, x: np.ndarray, found: np.ndarray
) -> None:
    """Make magnitudes `x`, `f32[BLOCK]`, and marks `found`, `u8[BLOCK]`, of int8 in a line."""
    codes = line.view(np.int8)
    for n in range(BLOCK):
        x[n] = np.abs(np.float32(codes[n])) * own[n]
    for n in range(BLOCK):
        sign = np.uint8(np.uint8(line[n] & _SIGN) ^ marks[n])
        found[n] = np.uint8(sign | np.uint8(line[n] == _NOTHING))


@inner
def widen(line: np.ndarray, x: np.ndarray, found: np.ndarray) -> None:
    """Make magnitudes and marks likewise, of bfloat16."""
    halves, bits = line.view(np.uint16), x.view(np.uint32)
    for n in range(BLOCK):
        bits[n] = np.uint32(np.uint32(halves[n] & _HALF_MAGNITUDE) << _HALF)
    for n in range(BLOCK):
        zero = np.uint8(np.uint16(halves[n] & _HALF_MAGNITUDE) == np.uint16(0))
        found[n] = np.uint8(np.uint8(np.uint8(halves[n] >> np.uint16(8)) & _SIGN) | zero)


@inner
def split(line: np.ndarray, x: np.ndarray, found: np.ndarray) -> None:
    """Make magnitudes and marks likewise, of float32."""
    own, bits = line.view(np.uint32), x.view(np.uint32)
    for n in range(BLOCK):
        magnitude = np.uint32(own[n] & _MAGNITUDE)
        sign = np.uint8(np.uint8(own[n] >> _TO_SIGN) & _SIGN)
        bits[n] = magnitude
        found[n] = np.uint8(sign | np.uint8(magnitude == np.uint32(0)))


@inner
def raise_codes(codes: np.ndarray, largest: np.ndarray) -> None:
    """Raise the largest magnitude in each lane, `u8[LANES]`, by rows of int8 as bytes."""
    u8 = np.uint8
    for at in range(0, len(codes), LANES):
        row = codes[at : at + LANES]
        for lane in range(LANES):
            code = row[lane]
            size = u8(_NOTHING - code) if u8(code & _SIGN) == _SIGN else code
            largest[lane] = size if size > largest[lane] else largest[lane]  # noqa: FURB136


@inner
def scale_largest(largest: np.ndarray, scales: np.ndarray, peaks: np.ndarray) -> None:
    """Raise the bits of the largest magnitudes, `u32[LANES]`, by those of int8 times scales."""
    for lane in range(len(scales)):
        product = np.float32(largest[lane]) * np.abs(scales[lane])
        bits = np.float32(product).view(np.uint32)
        peaks[lane] = bits if bits > peaks[lane] else peaks[lane]  # noqa: FURB136


@inner
def raise_halves(halves: np.ndarray, peaks: np.ndarray) -> None:
    """Raise the bits of the largest magnitudes by those of whole fours of rows of bfloat16."""
    for at in range(0, len(halves), BLOCK):
        block = halves[at : at + BLOCK]
        for lane in range(LANES):
            peak = peaks[lane]
            for i in range(ROWS):
                one = np.uint32(np.uint32(block[i * LANES + lane] & _HALF_MAGNITUDE) << _HALF)
                peak = one if one > peak else peak  # noqa: FURB136
            peaks[lane] = peak


@inner
def raise_words(words: np.ndarray, peaks: np.ndarray) -> None:
    """Raise the bits of the largest magnitudes likewise, by those of float32.

    Bits are in the order of magnitudes, with NaN beyond infinity.
    """
    for at in range(0, len(words), BLOCK):
        block = words[at : at + BLOCK]
        for lane in range(LANES):
            peak = peaks[lane]
            for i in range(ROWS):
                one = np.uint32(block[i * LANES + lane] & _MAGNITUDE)
                peak = one if one > peak else peak  # noqa: FURB136
            peaks[lane] = peak


@inner
def add_errors(x: np.ndarray, steps: np.ndarray, errors: np.ndarray) -> None:
    """Add the squared errors of a step for each lane, both `f32[LANES]`."""
    u32 = np.uint32
    for at in range(0, len(x), BLOCK):
        block = x[at : at + BLOCK]
        for lane in range(LANES):
            step, total = steps[lane], errors[lane]
            for i in range(ROWS):
                own = block[i * LANES + lane]
                t = np.divide(own, step)
                power = u32(max(_LEAST, u32(np.float32(t).view(np.uint32) & _EXPONENT)))
                shifted = u32(power + _SHIFT).view(np.float32)
                rounded = np.float32(np.float32(t + shifted) - shifted)
                e = own - rounded * step
                total += e * e
            errors[lane] = total


@inner
def encode(x: np.ndarray, choice: np.ndarray, words: np.ndarray) -> None:
    """Encode magnitudes.

    LLVM compares at most so many arrays for overlap, so that steps and sums are in one.

    Args:
        x: The magnitudes, `f32[rows * LANES]`.
        choice: Step of each lane, and sums of x*x, e*e and x*e, which are raised,
            `f32[4 * LANES]`.
        words: Filled, `u32[rows * LANES]`: the lowest byte of each is the code plus `BIAS`.
    """
    u32 = np.uint32
    for at in range(0, len(x), BLOCK):
        block, made = x[at : at + BLOCK], words[at : at + BLOCK]
        for lane in range(LANES):
            step = choice[lane]
            xx, ee, xe = choice[LANES + lane], choice[2 * LANES + lane], choice[3 * LANES + lane]
            for i in range(ROWS):
                own = block[i * LANES + lane]
                t = np.divide(own, step)
                power = u32(max(_LEAST, u32(np.float32(t).view(np.uint32) & _EXPONENT)))
                shifted = u32(power + _SHIFT).view(np.float32)  # nothing in its lowest bits
                total = np.float32(t + shifted)
                made[i * LANES + lane] = u32(total.view(np.uint32) + u32(power >> _DROPPED))
                e = own - np.float32(total - shifted) * step
                xx += own * own
                ee += e * e
                xe += own * e
            choice[LANES + lane], choice[2 * LANES + lane], choice[3 * LANES + lane] = xx, ee, xe


@inner
def finish(words: np.ndarray, marks: np.ndarray, tally: np.ndarray, octets: np.ndarray) -> None:
    """Make codes of what `encode` left, and count them.

    Args:
        words: As `encode` fills it.
        marks: Marks of the values, `u8[rows * LANES]`.
        tally: Raised by codes of the largest magnitude, and values that became zero,
            `u8[2 * LANES]`: enough for 255 rows.
        octets: Filled with codes, `u8[rows * LANES]`.
    """
    u8 = np.uint8
    for n in range(len(octets)):
        octets[n] = u8(words[n])
    for at in range(0, len(octets), BLOCK):
        block, own = octets[at : at + BLOCK], marks[at : at + BLOCK]
        for lane in range(LANES):
            ends, gone = tally[lane], tally[LANES + lane]
            for i in range(ROWS):
                code, mark = u8(block[i * LANES + lane] + _BIAS), own[i * LANES + lane]
                ends = u8(ends + u8(code == _TOP))
                gone = u8(gone + u8(u8(code | u8(mark & _ZERO)) == _NOTHING))
                block[i * LANES + lane] = u8(code | u8(mark & _SIGN))
            tally[lane], tally[LANES + lane] = ends, gone


@inner
def put(octets: np.ndarray, out: np.ndarray, goal: tuple[int, int, int, int]) -> None:
    """Copy the codes of a part to offset, pitch, rows and columns of the output."""
    to, pitch, rows, columns = goal
    for i in range(rows):
        if columns == LANES:
            for n in range(0, LANES, LINE):
                copy_line(octets, i * LANES + n, out, to + i * pitch + n)
        else:
            copy(octets, i * LANES, out, to + i * pitch, columns)


@inner
def put_turned(
    octets: np.ndarray, tile: np.ndarray, out: np.ndarray, goal: tuple[int, int, int, int]
) -> None:
    """Copy likewise, columns as rows: offset, pitch, and before that rows and columns."""
    to, pitch, rows, columns = goal
    for c in range(0, columns, SIDE):
        for r in range(0, rows, SIDE):
            transpose_square(octets, r * LANES + c, LANES, tile, r, PART)
        for k in range(min(SIDE, columns - c)):
            at = to + (c + k) * pitch
            if rows == PART:
                for n in range(0, PART, LINE):
                    copy_line(tile, k * PART + n, out, at + n)
            else:
                copy(tile, k * PART, out, at, rows)


@inner
def fold(lanes: np.ndarray) -> None:
    """Add halves of the lanes until the first is their sum, `f32[LANES]`."""
    half = LANES // 2
    while half > 0:
        for lane in range(half):
            lanes[lane] += lanes[half + lane]
        half //= 2
