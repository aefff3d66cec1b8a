"""The codes of a group, packed, and the sums of its account; see `_lanes` for the form of loops."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled
from grokpack.kernels.compiled._lanes import BLOCK, LANES

CHOICE_ROWS = 7
"""Rows of what `encode_4` and `encode_8` take and fill: step; zero point as a signed code; sums of
x*x, e*e and x*e; codes at either end; values that became zero. Float32 holds such counts exactly:
a group has fewer than 2**24 inputs."""

_ZERO, _ONE = np.float32(0), np.float32(1)
_XX, _EE, _XE, _ENDS, _GONE = (k * LANES for k in range(2, CHOICE_ROWS))

_ROUNDER = np.float32(1.5 * 2**23)  # c + this has round(c) in its lowest bits
_NIBBLES = np.uint32(0x11111111)
# What adding the bits of eight such sums, each four higher, leaves too much; codes from zero on.
_EXCESS = np.uint32((0x88888888 - sum(0x4B400000 << 4 * i for i in range(8))) % 2**32)
_EIGHT, _LAST = np.uint32(8), np.uint32(28)


@compiled
def _others(bits: np.uint32) -> np.uint32:
    """How many nibbles of a word are not zero."""
    u32 = np.uint32
    bits = u32(bits | u32(u32(bits >> u32(1)) & u32(0x77777777)))
    bits = u32(u32(bits | u32(u32(bits >> u32(2)) & u32(0x33333333))) & _NIBBLES)
    return u32(u32(bits * _NIBBLES) >> _LAST)


@compiled
def encode_4(
    group: np.ndarray, choice: np.ndarray, low: np.float32, high: np.float32, words: np.ndarray
) -> None:
    """Eight rows to a word. Ends and zeros are counted in words, all eight codes at once.

    Args:
        group: `f32[row * LANES]`.
        choice: `f32[CHOICE_ROWS * LANES]`.
        low: -8. An argument, like the next: were it known, LLVM would compare and blend.
        high: 7.
        words: Receives them, `u32[row / 8, LANES]`.
    """
    u32 = np.uint32
    for k in range(len(words)):
        block, line = group[k * BLOCK : k * BLOCK + BLOCK], words[k]
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
                nothing = np.int32(nothing + np.int32(x == _ZERO))
                word = u32(word + u32(np.float32(sum_).view(np.uint32) << u32(4 * i)))
            choice[_XX + lane], choice[_EE + lane], choice[_XE + lane] = xx, ee, xe
            word = u32(word + _EXCESS)
            line[lane] = word
            inner = _others(u32(u32(word ^ u32(word >> u32(1))) & u32(0x77777777)))
            zero = u32(u32(np.int32(shift - low)) * _NIBBLES)
            moved = _others(u32(word ^ zero))
            choice[_ENDS + lane] += np.float32(np.int32(_EIGHT - inner))
            choice[_GONE + lane] += np.float32(np.int32(np.int32(_EIGHT - moved) - nothing))


@compiled
def encode_8(
    group: np.ndarray, choice: np.ndarray, low: np.float32, high: np.float32, octets: np.ndarray
) -> None:
    """Codes to bytes, `octets u8[row / 8, 8 * LANES]`, from -128 to 127; otherwise alike."""
    for k in range(len(octets)):
        block, line = group[k * BLOCK : k * BLOCK + BLOCK], octets[k]
        for lane in range(LANES):
            step, shift = choice[lane], choice[LANES + lane]
            xx, ee, xe = choice[_XX + lane], choice[_EE + lane], choice[_XE + lane]
            ends, gone = choice[_ENDS + lane], choice[_GONE + lane]
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
                ends += _ONE if (q == low) | (q == high) else _ZERO
                gone += _ONE if (q == shift) & (x != _ZERO) else _ZERO
                line[i * LANES + lane] = np.uint8(np.int32(q - low))
            choice[_XX + lane], choice[_EE + lane], choice[_XE + lane] = xx, ee, xe
            choice[_ENDS + lane], choice[_GONE + lane] = ends, gone
