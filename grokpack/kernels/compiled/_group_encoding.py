"""Encoding of a group: packed codes, and sums of errors; see `_lanes` for the form of loops."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._byte_copies import LINE, copy, copy_line, prefetch
from grokpack.kernels.compiled._lanes import BLOCK, LANES

CHOICE_ROWS = 5
"""Rows of the array that `encode` takes and fills: step; zero point as a signed code; sums of x*x,
e*e and x*e; codes at either end; values that became zero. Float32 holds such counts exactly,
because a group has fewer than 2**24 inputs."""

_ZERO, _ONE = np.float32(0), np.float32(1)
_XX, _EE, _XE = (k * LANES for k in range(2, CHOICE_ROWS))

_ROUNDER = np.float32(1.5 * 2**23)  # c + this has round(c) in its lowest bits
_NIBBLES = np.uint32(0x11111111)
# Excess of adding the bits of eight such sums, each four higher; codes count from zero.
_EXCESS = np.uint32((0x88888888 - sum(0x4B400000 << 4 * i for i in range(8))) % 2**32)
_EIGHT, _LAST = np.uint32(8), np.uint32(28)


@inner
def _others(bits: np.uint32) -> np.uint32:
    """Count the nonzero nibbles of a word."""
    u32 = np.uint32
    bits = u32(bits | u32(u32(bits >> u32(1)) & u32(0x77777777)))
    bits = u32(u32(bits | u32(u32(bits >> u32(2)) & u32(0x33333333))) & _NIBBLES)
    return u32(u32(bits * _NIBBLES) >> _LAST)


@inner
def encode(  # noqa: C901, PLR0913, PLR0917  # calls cost more than what they would hold
    group: np.ndarray,
    bits: int,
    choice: np.ndarray,
    tally: np.ndarray,
    line: np.ndarray,
    out: np.ndarray,
    goal: tuple[int, int, int],
    raw: np.ndarray,
    ahead: tuple[int, int],
) -> None:
    """Write the codes of a group, and sum its errors.

    Args:
        group: `f32[row * LANES]`.
        bits: 4 or 8.
        choice: `f32[CHOICE_ROWS * LANES]`.
        tally: `i32[2 * LANES]`, filled with codes at either end, and values that became zero.
        line: Scratch, `u8[BLOCK]`.
        out: All codes, as bytes.
        goal: Offset of the group's first code; bytes of a row; bytes of these columns.
        raw: All values, as bytes.
        ahead: Offset of the next group's values; bytes of a row. They are prefetched.
    """
    to, step, width = goal
    half = np.float32(1 << (bits - 1))
    low, high = -half, half - _ONE
    words = line.view(np.uint32)
    rows = 1 if bits == 4 else 8  # noqa: PLR2004
    whole = width * rows == bits * BLOCK // 8
    for k in range(len(group) // BLOCK):
        for i in range(8):
            prefetch(raw, ahead[0] + (8 * k + i) * ahead[1])
        block = group[k * BLOCK : k * BLOCK + BLOCK]
        own = to + k * rows * step
        if bits == 4:  # noqa: PLR2004
            _encode_4(block, choice, tally, low, high, words)
            if whole:
                for i in range(4):
                    copy_line(line, i * LINE, out, own + i * LINE)
        else:
            _encode_8(block, choice, tally, low, high, line)
            if whole:
                for i in range(8):
                    copy_line(line, i * LINE, out, own + i * step)
        if not whole:
            for i in range(rows):
                copy(line, i * LINE, out, own + i * step, width)


@inner
def _encode_4(
    block: np.ndarray,
    choice: np.ndarray,
    tally: np.ndarray,
    low: np.float32,
    high: np.float32,
    words: np.ndarray,
) -> None:
    """Encode eight rows to a word; ends and zeros of all eight codes are counted at once."""
    u32 = np.uint32
    for lane in range(LANES):
        step, shift = choice[lane], choice[LANES + lane]
        xx, ee, xe = choice[_XX + lane], choice[_EE + lane], choice[_XE + lane]
        word, nothing = u32(0), np.int32(0)
        rounder = _ROUNDER + shift  # exact: both are integers
        for i in range(8):
            x = block[i * LANES + lane]
            t = np.divide(x, step) + shift
            c = t if t > low else low  # noqa: FURB136
            c = c if c < high else high  # noqa: FURB136
            sum_ = np.float32(c + _ROUNDER)
            e = x - (sum_ - rounder) * step
            xx += x * x
            ee += e * e
            xe += x * e
            nothing = np.int32(nothing + np.int32(1)) if x == _ZERO else nothing
            word = u32(word + u32(np.float32(sum_).view(np.uint32) << u32(4 * i)))
        choice[_XX + lane], choice[_EE + lane], choice[_XE + lane] = xx, ee, xe
        word = u32(word + _EXCESS)
        words[lane] = word
        inner = _others(u32(u32(word ^ u32(word >> u32(1))) & u32(0x77777777)))
        zero = u32(u32(np.int32(shift - low)) * _NIBBLES)
        moved = _others(u32(word ^ zero))
        tally[lane] += np.int32(_EIGHT - inner)
        tally[LANES + lane] += np.int32(np.int32(_EIGHT - moved) - nothing)


@inner
def _encode_8(
    block: np.ndarray,
    choice: np.ndarray,
    tally: np.ndarray,
    low: np.float32,
    high: np.float32,
    octets: np.ndarray,
) -> None:
    """Encode a byte for each row."""
    for lane in range(LANES):
        step, shift = choice[lane], choice[LANES + lane]
        xx, ee, xe = choice[_XX + lane], choice[_EE + lane], choice[_XE + lane]
        ends, gone = tally[lane], tally[LANES + lane]
        for i in range(8):
            x = block[i * LANES + lane]
            t = np.divide(x, step) + shift
            c = t if t > low else low  # noqa: FURB136
            c = c if c < high else high  # noqa: FURB136
            q = np.rint(c)
            e = x - (q - shift) * step
            xx += x * x
            ee += e * e
            xe += x * e
            ends = np.int32(ends + np.int32(1)) if (q == low) | (q == high) else ends
            gone = np.int32(gone + np.int32(1)) if (q == shift) & (x != _ZERO) else gone
            octets[i * LANES + lane] = np.uint8(np.int32(q - low))
        choice[_XX + lane], choice[_EE + lane], choice[_XE + lane] = xx, ee, xe
        tally[lane], tally[LANES + lane] = ends, gone
