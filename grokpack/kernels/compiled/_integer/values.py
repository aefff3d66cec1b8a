"""Values of a group: rows copied side by side, codes times their scales, and extremes.

Extremes of codes are found in bytes, a cache line of columns at a time, before any is multiplied.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._integer.lanes import BLOCK, LANES
from grokpack.kernels.compiled._vectors.byte_copies import copy, copy_line

_HIGH_BIT = np.int32(-(1 << 31))
_LEAST, _MOST = np.int8(-128), np.int8(127)


@inner
def copy_rows(raw: np.ndarray, place: tuple[int, int, int], codes: np.ndarray) -> None:
    """Copy the codes of a group side by side.

    Args:
        raw: All codes, as bytes.
        place: Offset of the group's first code; bytes of a row; columns, at most `LANES`.
        codes: Filled, `i8[row * LANES]`; lanes beyond the last column are undefined.
    """
    at, pitch, width = place
    octets = codes.view(np.uint8)
    for k in range(len(codes) // LANES):
        if width == LANES:
            copy_line(raw, at + k * pitch, octets, k * LANES)
        else:
            copy(raw, at + k * pitch, octets, k * LANES, width)


@inner
def scale_rows(
    codes: np.ndarray,
    scales: np.ndarray,
    source: tuple[int, int, int, int],
    group: np.ndarray,
) -> None:
    """Multiply the codes of a group by their scales.

    Args:
        codes: `i8[row * LANES]`.
        scales: `f32[source group, all columns]`.
        source: First input and column of the group; columns, at most `LANES`; inputs that share a
            scale.
        group: Filled, `f32[row * LANES]`; lanes beyond the last column are undefined.
    """
    row, column, width, per_group = source
    for k in range(0, len(group) // LANES, 8):
        own, block = codes[k * LANES : k * LANES + BLOCK], group[k * LANES : k * LANES + BLOCK]
        first, last = (row + k) // per_group, (row + k + 7) // per_group
        if first == last:
            scale = scales[first, column : column + width]
            for lane in range(width):
                for i in range(8):
                    block[i * LANES + lane] = np.float32(own[i * LANES + lane]) * scale[lane]
        else:
            _straddle(own, scales, (row + k, column, width, per_group), block)


@inner
def _straddle(
    codes: np.ndarray, scales: np.ndarray, source: tuple[int, int, int, int], block: np.ndarray
) -> None:
    """Multiply eight rows that do not share one scale."""
    row, column, width, per_group = source
    for i in range(8):
        scale = scales[(row + i) // per_group, column : column + width]
        for lane in range(width):
            block[i * LANES + lane] = np.float32(codes[i * LANES + lane]) * scale[lane]


@inner
def scaled_extremes(
    codes: np.ndarray,
    scales: np.ndarray,
    source: tuple[int, int, int, int],
    most: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Find what `extremes` finds, from codes: a product with a finite scale is monotonic.

    Args:
        codes: `i8[row * LANES]`.
        scales: `f32[source group, all columns]`, finite.
        source: First input and column of the group; columns, at most `LANES`; inputs that share a
            scale, a multiple of eight as the first input is.
        most: Scratch, `i8[2 * LANES]`.
        ends: `i32[2 * LANES]`, zeros.
    """
    row, column, width, per_group = source
    k, rows = 0, len(codes) // LANES
    while k < rows:
        number = (row + k) // per_group
        end = min(rows, (number + 1) * per_group - row)
        most[:LANES] = _LEAST
        most[LANES:] = _MOST
        _extend(codes[k * LANES : end * LANES], most)
        _scale_ends(most, scales[number, column : column + width], ends)
        k = end


@inner
def _extend(codes: np.ndarray, most: np.ndarray) -> None:
    """Extend the largest and the least code of each lane."""
    for at in range(0, len(codes), BLOCK):
        block = codes[at : at + BLOCK]
        for lane in range(LANES):
            high, low = most[lane], most[LANES + lane]
            for i in range(8):
                code = block[i * LANES + lane]
                high = code if code > high else high  # noqa: FURB136
                low = code if code < low else low  # noqa: FURB136
            most[lane], most[LANES + lane] = high, low


@inner
def _scale_ends(most: np.ndarray, scale: np.ndarray, ends: np.ndarray) -> None:
    """Extend magnitudes above and below zero by codes times their scales."""
    for lane in range(len(scale)):
        high, low = ends[lane], ends[LANES + lane]
        for k in range(2):
            one = np.float32(np.float32(most[k * LANES + lane]) * scale[lane]).view(np.int32)
            other = np.int32(one ^ _HIGH_BIT)
            high = one if one > high else high  # noqa: FURB136
            low = other if other > low else low  # noqa: FURB136
        ends[lane], ends[LANES + lane] = high, low


@inner
def extremes(bits: np.ndarray, ends: np.ndarray) -> None:
    """Find the bits of the largest magnitudes above and below zero.

    Args:
        bits: Bits of the group, `i32[row * LANES]`; as integers, those of positive floats are in
            the order of their values, with NaN beyond infinity.
        ends: `i32[2 * LANES]`, zeros, for the magnitudes above and below.
    """
    for at in range(0, len(bits), BLOCK):
        block = bits[at : at + BLOCK]
        for lane in range(LANES):
            high, low = ends[lane], ends[LANES + lane]
            for i in range(8):
                one = block[i * LANES + lane]
                other = np.int32(one ^ _HIGH_BIT)
                high = one if one > high else high  # noqa: FURB136
                low = other if other > low else low  # noqa: FURB136
            ends[lane], ends[LANES + lane] = high, low
