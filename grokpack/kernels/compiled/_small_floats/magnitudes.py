"""Magnitudes of values, and marks of their signs and zeros: 128 columns, four rows at a time.

What takes one byte of a value is done apart from what takes four, so that each loop fills vector
registers. `_integer.lanes` has the form of loops.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._vectors.byte_copies import LINE, copy, copy_line

LANES = 128
ROWS = 4  # rows of an unrolled loop; LLVM leaves one of eight as it is, and then has no vectors
BLOCK = ROWS * LANES

INT8, BFLOAT16, FLOAT32 = 1, 2, 4
"""Kinds of values, by their bytes."""

SIGN, ZERO, NOTHING = np.uint8(0x80), np.uint8(1), np.uint8(0)
"""Marks of a value: its sign, and that it is zero."""

_NIL = np.float32(0)
_MAGNITUDE, _HALF_MAGNITUDE = np.uint32(0x7FFFFFFF), np.uint16(0x7FFF)
_INFINITE, _NAN = np.uint32(0x7F800000), np.uint32(0x7FC00000)
_TO_SIGN, _HALF = np.uint32(24), np.uint32(16)


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
    part[rows * whole : -(-rows // ROWS) * ROWS * whole] = NOTHING
    if columns < LANES:
        part[: rows * whole] = NOTHING
        for i in range(rows):
            copy(raw, at + i * pitch, part, i * whole, columns * size)
        return
    for i in range(rows):
        for n in range(0, whole, LINE):
            copy_line(raw, at + i * pitch + n, part, i * whole + n)


@inner
def load(  # noqa: PLR0913, PLR0917
    part: np.ndarray,
    size: int,
    scales: np.ndarray,
    source: tuple[int, int, int, int],
    place: tuple[int, int],
    own: np.ndarray,
    signs: np.ndarray,
    x: np.ndarray,
    marks: np.ndarray,
) -> int:
    """Make magnitudes and marks of rows that were fetched.

    Args:
        part: The values, as bytes.
        size: Bytes of a value.
        scales: `f32[group, all columns]`, by which int8 is multiplied.
        source: First row and column; rows that share a row of scales; the row until which `own` and
            `signs` hold.
        place: Rows; columns, at most `LANES`.
        own: Scales of four rows, `f32[BLOCK]`.
        signs: Their marks, `u8[BLOCK]`.
        x: Filled with magnitudes, `f32[rows * LANES]`.
        marks: Filled with marks, `u8[rows * LANES]`.

    Returns:
        The row until which `own` and `signs` hold now.
    """
    row, column, per_group, until = source
    rows, columns = place
    for k in range(0, rows, ROWS):
        at, held = k * LANES, min(ROWS, rows - k)
        line = part[at * size : (at + BLOCK) * size]
        to, found = x[at : at + BLOCK], marks[at : at + BLOCK]
        if size == BFLOAT16:
            _widen(line, to, found)
        elif size == FLOAT32:
            _split(line, to, found)
        else:
            if row + k + held > until:
                where = (row + k, column, per_group)
                until = _take_scales(scales, where, (held, columns), own, signs)
            _scale_codes(line, own, signs, to, found)
    return until


@inner
def _take_scales(
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
        sign = np.uint8(np.uint8(bits[n] >> _TO_SIGN) & SIGN)
        marks[n] = np.uint8(sign | np.uint8(own[n] == _NIL))
        own[n] = np.abs(own[n])
    return (last + 1) * per_group if row // per_group == last else row


@inner
def _scale_codes(
    line: np.ndarray, own: np.ndarray, marks: np.ndarray, x: np.ndarray, found: np.ndarray
) -> None:
    """Make magnitudes `x`, `f32[BLOCK]`, and marks `found`, `u8[BLOCK]`, of int8 in a line."""
    codes = line.view(np.int8)
    for n in range(BLOCK):
        x[n] = np.abs(np.float32(codes[n])) * own[n]
    for n in range(BLOCK):
        sign = np.uint8(np.uint8(line[n] & SIGN) ^ marks[n])
        found[n] = np.uint8(sign | np.uint8(line[n] == NOTHING))


@inner
def _widen(line: np.ndarray, x: np.ndarray, found: np.ndarray) -> None:
    """Make magnitudes and marks likewise, of bfloat16."""
    halves, bits = line.view(np.uint16), x.view(np.uint32)
    for n in range(BLOCK):
        bits[n] = np.uint32(np.uint32(halves[n] & _HALF_MAGNITUDE) << _HALF)
    for n in range(BLOCK):
        zero = np.uint8(np.uint16(halves[n] & _HALF_MAGNITUDE) == np.uint16(0))
        found[n] = np.uint8(np.uint8(np.uint8(halves[n] >> np.uint16(8)) & SIGN) | zero)


@inner
def _split(line: np.ndarray, x: np.ndarray, found: np.ndarray) -> None:
    """Make magnitudes and marks likewise, of float32; NaN becomes the quiet one without sign."""
    own, bits = line.view(np.uint32), x.view(np.uint32)
    for n in range(BLOCK):
        magnitude = np.uint32(own[n] & _MAGNITUDE)
        sign = np.uint8(np.uint8(own[n] >> _TO_SIGN) & SIGN)
        number = magnitude <= _INFINITE
        sign = sign if number else NOTHING
        bits[n] = magnitude if number else _NAN
        found[n] = np.uint8(sign | np.uint8(magnitude == np.uint32(0)))
