"""Passes over magnitudes that become FP8, and over their codes."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._small_floats.magnitudes import (
    BLOCK,
    LANES,
    NOTHING,
    ROWS,
    SIGN,
    ZERO,
)
from grokpack.kernels.fp8 import BIAS, DROPPED_BITS, EXPONENT_BITS, LEAST_POWER, SHIFT

_NIL = np.float32(0)
_MAGNITUDE, _HALF_MAGNITUDE = np.uint32(0x7FFFFFFF), np.uint16(0x7FFF)
_EXPONENT, _LEAST, _SHIFT = (np.uint32(n) for n in (EXPONENT_BITS, LEAST_POWER, SHIFT))
_DROPPED, _HALF = np.uint32(DROPPED_BITS), np.uint32(16)
_BIAS = np.uint8(-BIAS % 256)
_TOP = np.uint8(0x7E)
"""Code of the largest magnitude."""


@inner
def raise_codes(codes: np.ndarray, largest: np.ndarray) -> None:
    """Raise the largest magnitude in each lane, `u8[LANES]`, by rows of int8 as bytes."""
    u8 = np.uint8
    for at in range(0, len(codes), LANES):
        row = codes[at : at + LANES]
        for lane in range(LANES):
            code = row[lane]
            size = u8(NOTHING - code) if u8(code & SIGN) == SIGN else code
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
                gone = u8(gone + u8(u8(code | u8(mark & ZERO)) == NOTHING))
                block[i * LANES + lane] = u8(code | u8(mark & SIGN))
            tally[lane], tally[LANES + lane] = ends, gone


@inner
def fold(lanes: np.ndarray) -> None:
    """Add halves of the lanes until the first is their sum, `f32[LANES]`."""
    half = LANES // 2
    while half > 0:
        for lane in range(half):
            lanes[lane] += lanes[half + lane]
        half //= 2
