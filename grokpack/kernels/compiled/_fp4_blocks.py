"""Four-bit floats, compiled: the arithmetic of `grokpack.kernels.fp4` on a strip of 64 columns.

Lanes are as in `_ggml_blocks_of_32`: what a column has once lies in one flat array.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels import fp4 as spec
from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml_blocks_of_32 import WIDTH, F, I, Scalar, pick

FAR, SCALE, TRIAL, LEAST, ERROR = 0, 64, 128, 192, 256
SUM, SUM_2, SUM_3, SUM_4, SUM_5 = 320, 384, 448, 512, 576
LANES = 640
_ZERO, _ONE, _TWO, _FOUR, _SIX, _HALF = F(0), F(1), F(2), F(4), F(6), F(0.5)
_BY_HALVES, _BY_ONES, _BY_TWOS = (F(rounder) for rounder in spec.ROUNDERS)
_TOP = I(spec.TOP)
_LARGEST_NUMBER, _LEAST_NORMAL, _SMALL = F(448), F(2.0**-6), F(2.0**-9)


@inner
def find_largest(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the largest magnitude of each column in FAR; skip NaN. Rows are taken in fours."""
    for c in range(WIDTH):
        lanes[FAR + c] = _ZERO
    for r in range(0, len(x), 4):
        for c in range(WIDTH):
            far = lanes[FAR + c]
            for i in range(4):
                size = abs(x[r + i, c])
                far = size if size > far else far  # noqa: FURB136  # max treats NaN differently
            lanes[FAR + c] = far


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
    """Choose the byte of each column's scale by the plain rule, from FAR."""
    for c in range(WIDTH):
        largest = lanes[FAR + c]
        if not micro:
            chosen[c] = _step(largest, unit)
        elif ggml:
            chosen[c] = _floor_exponent(largest)
        else:
            chosen[c] = _exponent(largest)


@inner
def set_trial(chosen: np.ndarray, micro: bool, unit: Scalar, lanes: np.ndarray) -> None:  # noqa: FBT001
    """Set TRIAL to the scales that bytes stand for."""
    for c in range(WIDTH):
        code = chosen[c]
        if micro:
            bits = pick(code == I(0), I(0x00400000), I(code << I(23)))
            lanes[TRIAL + c] = I(bits).view(np.float32)
        else:
            normal = I(I(code + I(960)) << I(20)).view(np.float32)
            number = pick(code < I(8), F(code) * _SMALL, normal)
            lanes[TRIAL + c] = np.divide(number, unit)


@inner
def take_trial(lanes: np.ndarray) -> None:
    """Make the trial the scales of the block."""
    for c in range(WIDTH):
        lanes[SCALE + c] = lanes[TRIAL + c]


@inner
def _find_error(x: np.ndarray, w: np.ndarray, lanes: np.ndarray) -> None:
    """Sum the weighted squared error of the trial in ERROR."""
    for c in range(WIDTH):
        lanes[ERROR + c] = _ZERO
    for r in range(len(x)):
        line, weight = x[r], w[r]
        for c in range(WIDTH):
            scale, size = lanes[TRIAL + c], abs(line[c])
            y = np.divide(size, scale)
            rounder = pick(y < _TWO, _BY_HALVES, pick(y < _FOUR, _BY_ONES, _BY_TWOS))
            level = (y + rounder) - rounder
            level = _SIX if level > _SIX else level  # noqa: FURB136  # min treats NaN differently
            e = size - level * scale
            lanes[ERROR + c] += e * e * weight


@inner
def search(  # noqa: PLR0913, PLR0917
    x: np.ndarray,
    w: np.ndarray,
    lanes: np.ndarray,
    micro: bool,  # noqa: FBT001
    unit: Scalar,
    trials: np.ndarray,
    chosen: np.ndarray,
    other: np.ndarray,
) -> None:
    """Replace bytes and scales where a trial has less error; those of the plain rule are TRIAL."""
    least = I(0) if micro else I(1)
    last = I(spec.LARGEST_EXPONENT) if micro else I(spec.LARGEST_STEP)
    _find_error(x, w, lanes)
    for c in range(WIDTH):
        lanes[LEAST + c] = lanes[ERROR + c]
        other[WIDTH + c] = chosen[c]
    for trial in trials:
        for c in range(WIDTH):
            other[c] = min(max(I(other[WIDTH + c] + trial), least), last)
        set_trial(other, micro, unit, lanes)
        _find_error(x, w, lanes)
        for c in range(WIDTH):
            better = lanes[ERROR + c] < lanes[LEAST + c]
            chosen[c] = pick(better, other[c], chosen[c])
            lanes[SCALE + c] = pick(better, lanes[TRIAL + c], lanes[SCALE + c])
            lanes[LEAST + c] = pick(better, lanes[ERROR + c], lanes[LEAST + c])


@inner
def encode(
    x: np.ndarray,
    lanes: np.ndarray,
    middles: np.ndarray,
    ggml: bool,  # noqa: FBT001
    q: np.ndarray,
    packed: np.ndarray,
) -> None:
    """Make codes as doubled levels, and their bits, two in a byte, `i8[in / 2, WIDTH]`."""
    half = len(x) // 2
    m0, m1, m2, m3 = middles[0], middles[1], middles[2], middles[3]
    m4, m5, m6 = middles[4], middles[5], middles[6]
    for r in range(len(x)):
        line, to = x[r], q[r]
        for c in range(WIDTH):
            v = line[c]
            y = np.divide(abs(v), lanes[SCALE + c])
            level = I(y > m0) + I(y > m1) + I(y > m2) + I(y > m3)
            level = I(level + I(y > m4) + I(y > m5) + I(y > m6))
            to[c] = np.int8(I(level | I(I(v < _ZERO) << I(3))))
    for r in range(half):
        low, high = (q[r], q[half + r]) if ggml else (q[2 * r], q[2 * r + 1])
        to = packed[r]
        for c in range(WIDTH):
            one, two = I(low[c]), I(high[c])
            if ggml:
                one = I(0) if one == I(8) else one
                two = I(0) if two == I(8) else two
            to[c] = np.int8(I(one | I(two << I(4))))
    for r in range(len(x)):
        to = q[r]
        for c in range(WIDTH):
            bits = I(to[c])
            level = I(bits & I(7))
            doubled = max(level, I(I(level << I(1)) - I(4)), I(I(level << I(2)) - I(16)))
            to[c] = np.int8(-doubled if bits > I(7) else doubled)


@inner
def account(
    x: np.ndarray, q: np.ndarray, lanes: np.ndarray, sums: np.ndarray, counts: np.ndarray
) -> None:
    """Fill sums `f32[3, width]` and counts `i32[2, width]` of a strip's blocks."""
    lanes[SUM : SUM_5 + WIDTH] = _ZERO
    for r in range(len(x)):
        line, codes = x[r], q[r]
        for c in range(WIDTH):
            v, code = line[c], I(codes[c])
            restored = lanes[SCALE + c] * _HALF * F(code) + _ZERO
            e = v - restored
            lanes[SUM + c] += v * v
            lanes[SUM_2 + c] += e * e
            lanes[SUM_3 + c] += v * e
            lanes[SUM_4 + c] += _ONE if (code <= -_TOP) | (code >= _TOP) else _ZERO
            lanes[SUM_5 + c] += _ONE if (v != _ZERO) & (restored == _ZERO) else _ZERO
    for c in range(sums.shape[1]):
        sums[0, c], sums[1, c], sums[2, c] = lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c]
        counts[0, c], counts[1, c] = I(lanes[SUM_4 + c]), I(lanes[SUM_5 + c])
