"""Passes over magnitudes that become four-bit floats: the arithmetic of `grokpack.kernels.fp4`.

What a lane has once lies in one flat array, in rows of `LANES` that begin at the constants here.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels import fp4_blocks as spec
from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml.blocks_of_32 import F, I, Scalar, pick
from grokpack.kernels.compiled._small_floats.magnitudes import BLOCK, LANES, NOTHING, ROWS, ZERO

SCALE, SUMS, HALF, FAR, INVERSE, RATIO, ERROR, LEAST, PLAIN = (
    row * LANES for row in (0, 1, 4, 5, 6, 7, 8, 9, 10)
)
"""Scale of the block; sums of x*x, e*e and x*e; half the scale; largest magnitude; 1 / the scale
that is tried, it over the plain rule's, and its error; least error; 1 / the plain rule's number."""
COUNT = 11 * LANES

_ZERO, _ONE, _SIX, _HALF = F(0), F(1), F(6), F(0.5)
_LARGEST_NUMBER, _LEAST_NORMAL, _SMALL = F(448), F(2.0**-6), F(2.0**-9)
_EXPONENT, _LEAST_POWER, _SHIFT = (
    np.uint32(n) for n in (spec.EXPONENT_BITS, spec.LEAST_POWER, spec.SHIFT)
)
_DROPPED, _BIAS = np.uint32(spec.DROPPED_BITS), np.uint8(-spec.BIAS % 256)
_TOP, _NEGATIVE = np.uint8(7), np.uint8(8)
_TO_SIGN, _FOUR_BITS, _TIE = np.uint8(4), np.uint8(4), np.uint32(1)
_TIE_1, _TIE_2, _TIE_3 = F(0.75), F(1.75), F(3.5)  # middles whose upper level has the even code


@inner
def find_largest(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the largest magnitude of each lane in FAR; skip NaN."""
    lanes[FAR : FAR + LANES] = _ZERO
    for at in range(0, len(x), BLOCK):
        block = x[at : at + BLOCK]
        for lane in range(LANES):
            far = lanes[FAR + lane]
            for i in range(ROWS):
                size = block[i * LANES + lane]
                far = size if size > far else far  # noqa: FURB136  # max treats NaN differently
            lanes[FAR + lane] = far


@inner
def _exponent(largest: Scalar) -> Scalar:
    bits = I(F(largest).view(np.int32) + I(0x200000))
    return min(max(I(I(bits >> I(23)) - I(2)), I(0)), I(spec.LARGEST_EXPONENT))


@inner
def _floor_exponent(largest: Scalar) -> Scalar:
    if largest == _ZERO:
        return I(0)
    logarithm = np.floor(F(np.log2(np.float64(largest)))) + F(125)
    return I(min(max(logarithm, _ZERO), F(spec.LARGEST_EXPONENT)))


@inner
def _to_e4m3(value: Scalar) -> Scalar:
    bits = F(value).view(np.int32)
    rounded = I(bits + I(0x7FFFF) + I(I(bits >> I(20)) & I(1)))
    normal = I(I(rounded >> I(20)) - I(960))
    small = I(np.rint(min(value, _ONE) * F(512)))
    return small if value < _LEAST_NORMAL else normal


@inner
def _step(largest: Scalar, unit: Scalar) -> Scalar:
    code = _to_e4m3(min(unit * (largest / _SIX), _LARGEST_NUMBER))
    return I(spec.SMALL_STEP) if code == I(0) else code


@inner
def choose(lanes: np.ndarray, micro: bool, ggml: bool, unit: Scalar, chosen: np.ndarray) -> None:  # noqa: FBT001
    """Choose the byte of each lane's scale by the plain rule, from FAR."""
    for lane in range(LANES):
        largest = lanes[FAR + lane]
        if not micro:
            chosen[lane] = _step(largest, unit)
        elif ggml:
            chosen[lane] = _floor_exponent(largest)
        else:
            chosen[lane] = _exponent(largest)


@inner
def _number(code: Scalar, micro: bool) -> Scalar:  # noqa: FBT001
    """Return the number that the byte of a scale stands for."""
    if micro:
        bits = pick(code == I(0), I(0x00400000), I(code << I(23)))
        return I(bits).view(np.float32)
    normal = I(I(code + I(960)) << I(20)).view(np.float32)
    return pick(code < I(8), F(code) * _SMALL, normal)


@inner
def decode(chosen: np.ndarray, micro: bool, unit: Scalar, lanes: np.ndarray) -> None:  # noqa: FBT001
    """Set SCALE to the scales that bytes stand for."""
    for lane in range(LANES):
        lanes[SCALE + lane] = np.divide(_number(chosen[lane], micro), unit)


@inner
def _find_error(x: np.ndarray, weights: np.ndarray, weighted: bool, lanes: np.ndarray) -> None:  # noqa: FBT001
    """Sum the squared error of magnitudes times INVERSE in ERROR."""
    lanes[ERROR : ERROR + LANES] = _ZERO
    for at in range(0, len(x), BLOCK):
        block, own = x[at : at + BLOCK], weights[at // LANES : at // LANES + ROWS]
        for lane in range(LANES):
            inverse, total = lanes[INVERSE + lane], lanes[ERROR + lane]
            for i in range(ROWS):
                y = block[i * LANES + lane] * inverse
                bits = np.uint32(max(_LEAST_POWER, F(y).view(np.uint32)))
                rounder = np.uint32(bits + _SHIFT).view(np.float32)
                level = F(y + rounder) - rounder
                d = y - (_SIX if level > _SIX else level)  # noqa: FURB136  # as above
                total += d * d * own[i] if weighted else d * d
            lanes[ERROR + lane] = total


@inner
def search(
    x: np.ndarray,
    weights: np.ndarray,
    rules: tuple[bool, bool, Scalar, np.ndarray],
    lanes: np.ndarray,
    chosen: np.ndarray,
    other: np.ndarray,
) -> None:
    """Replace bytes of scales where a trial has less error.

    Args:
        x: Magnitudes of the block.
        weights: Importance of its rows.
        rules: True for weights that are not all one, and for MXFP4; the scale of the matrix; the
            trials.
        lanes: Scratch.
        chosen: Bytes of the plain rule, `i32[LANES]`.
        other: Scratch, `i32[2 * LANES]`.
    """
    weighted, micro, unit, trials = rules
    least = I(0) if micro else I(1)
    last = I(spec.LARGEST_EXPONENT) if micro else I(spec.LARGEST_STEP)
    for lane in range(LANES):
        other[LANES + lane] = chosen[lane]
        number = _number(chosen[lane], micro)
        lanes[PLAIN + lane] = np.divide(_ONE, number)
        lanes[INVERSE + lane] = np.divide(unit, number)
    _find_error(x, weights, weighted, lanes)
    for lane in range(LANES):
        lanes[LEAST + lane] = lanes[ERROR + lane]
    for trial in trials:
        for lane in range(LANES):
            code = min(max(I(other[LANES + lane] + trial), least), last)
            number = _number(code, micro)
            other[lane] = code
            lanes[INVERSE + lane] = np.divide(unit, number)
            lanes[RATIO + lane] = number * lanes[PLAIN + lane]
        _find_error(x, weights, weighted, lanes)
        for lane in range(LANES):
            ratio = lanes[RATIO + lane]
            error = lanes[ERROR + lane] * (ratio * ratio)
            better = error < lanes[LEAST + lane]
            chosen[lane] = pick(better, other[lane], chosen[lane])
            lanes[LEAST + lane] = pick(better, error, lanes[LEAST + lane])


@inner
def encode(x: np.ndarray, ggml: bool, lanes: np.ndarray, words: np.ndarray) -> None:  # noqa: FBT001
    """Encode magnitudes by SCALE, and sum their errors in SUMS.

    Of each word, `u32[rows * LANES]`, the lowest byte is the code plus `BIAS`.
    """
    u32 = np.uint32
    for lane in range(LANES):
        lanes[HALF + lane] = lanes[SCALE + lane] * _HALF
    lanes[SUMS : SUMS + 3 * LANES] = _ZERO
    for at in range(0, len(x), BLOCK):
        block, made = x[at : at + BLOCK], words[at : at + BLOCK]
        for lane in range(LANES):
            scale, half = lanes[SCALE + lane], lanes[HALF + lane]
            xx, ee = lanes[SUMS + lane], lanes[SUMS + LANES + lane]
            xe = lanes[SUMS + 2 * LANES + lane]
            for i in range(ROWS):
                own = block[i * LANES + lane]
                t = np.divide(own, scale)
                t = _SIX if t > _SIX else t  # noqa: FURB136  # NaN stays, and gets code 0
                bits = F(t).view(np.uint32)
                if ggml:
                    tie = (t == _TIE_1) | (t == _TIE_2) | (t == _TIE_3)
                    bits = u32(bits - (_TIE if tie else u32(0)))
                power = u32(max(_LEAST_POWER, u32(bits & _EXPONENT)))
                shifted = u32(power + _SHIFT).view(np.float32)  # nothing in its lowest bits
                total = F(u32(bits).view(np.float32) + shifted)
                made[i * LANES + lane] = u32(total.view(np.uint32) + u32(power >> _DROPPED))
                level = F(total - shifted)
                e = own - half * F(level + level)
                xx += own * own
                ee += e * e
                xe += own * e
            lanes[SUMS + lane], lanes[SUMS + LANES + lane] = xx, ee
            lanes[SUMS + 2 * LANES + lane] = xe


@inner
def finish(
    words: np.ndarray,
    marks: np.ndarray,
    ggml: bool,  # noqa: FBT001
    tally: np.ndarray,
    codes: np.ndarray,
) -> None:
    """Make codes with signs of what `encode` left, `u8[rows * LANES]`, and count them.

    Zero has no sign; ggml's has none either where a weight became zero.
    """
    u8 = np.uint8
    tally[:] = NOTHING
    for n in range(len(codes)):
        codes[n] = u8(words[n])
    for at in range(0, len(codes), BLOCK):
        block, own = codes[at : at + BLOCK], marks[at : at + BLOCK]
        for lane in range(LANES):
            ends, gone = tally[lane], tally[LANES + lane]
            for i in range(ROWS):
                code, mark = u8(block[i * LANES + lane] + _BIAS), own[i * LANES + lane]
                zero = u8(mark & ZERO)
                ends = u8(ends + u8(code == _TOP))
                gone = u8(gone + u8(u8(code | zero) == NOTHING))
                sign = u8(u8(mark >> _TO_SIGN) & _NEGATIVE)
                bare = (code == NOTHING) if ggml else (zero == ZERO)
                block[i * LANES + lane] = code if bare else u8(code | sign)
            tally[lane], tally[LANES + lane] = ends, gone


@inner
def pack(codes: np.ndarray, ggml: bool, packed: np.ndarray) -> None:  # noqa: FBT001
    """Pack two codes in each byte, `u8[rows / 2 * LANES]`: neighbours, or halves for ggml."""
    rows = len(codes) // LANES
    step, apart = (1, rows // 2) if ggml else (2, 1)
    for r in range(rows // 2):
        low = codes[r * step * LANES : (r * step + 1) * LANES]
        high = codes[(r * step + apart) * LANES : (r * step + apart + 1) * LANES]
        to = packed[r * LANES : (r + 1) * LANES]
        for lane in range(LANES):
            to[lane] = np.uint8(low[lane] | np.uint8(high[lane] << _FOUR_BITS))
