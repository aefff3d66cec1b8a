"""Four-bit floats, compiled: the arithmetic of `grokpack.kernels.fp4` on a strip of 64 columns.

Lanes are as in `_ggml_blocks_of_32`: what a column has once lies in one flat array.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels import fp4_blocks as spec
from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml_blocks_of_32 import WIDTH, F, I, Scalar, pick

FAR, SCALE, TRIAL, LEAST, ERROR = 0, 64, 128, 192, 256
SUM, SUM_2, SUM_3, SUM_4, SUM_5, INVERSE = 320, 384, 448, 512, 576, 640
LANES = 704
_ZERO, _ONE, _TWO, _FOUR, _SIX, _HALF = F(0), F(1), F(2), F(4), F(6), F(0.5)
_BY_HALVES, _BY_ONES, _BY_TWOS = (F(rounder) for rounder in spec.ROUNDERS)
_FIVE, _SEVEN, _SIXTEEN = F(5), F(7), F(16)
_TIE_1, _TIE_2, _TIE_3 = F(0.75), F(1.75), F(3.5)  # middles whose upper level has the even code
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
def _nearest(y: Scalar) -> Scalar:
    """Return the level nearest to a magnitude, ties to even, without the bound of 6."""
    rounder = pick(y < _TWO, _BY_HALVES, pick(y < _FOUR, _BY_ONES, _BY_TWOS))
    return (y + rounder) - rounder


@inner
def _find_error(x: np.ndarray, w: np.ndarray, lanes: np.ndarray) -> None:
    """Sum the weighted squared error of the trial in ERROR. Rows are taken in fours."""
    for c in range(WIDTH):
        lanes[ERROR + c] = _ZERO
        lanes[INVERSE + c] = np.divide(_ONE, lanes[TRIAL + c])
    for r in range(0, len(x), 4):
        for c in range(WIDTH):
            scale, inverse, total = lanes[TRIAL + c], lanes[INVERSE + c], lanes[ERROR + c]
            for i in range(4):
                size = abs(x[r + i, c])
                level = _nearest(size * inverse)
                level = _SIX if level > _SIX else level  # noqa: FURB136  # min treats NaN differently
                e = size - level * scale
                total += e * e * w[r + i]
            lanes[ERROR + c] = total


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
def encode(x: np.ndarray, lanes: np.ndarray, ggml: bool, q: np.ndarray) -> None:  # noqa: FBT001
    """Make the bits of codes; negative zeros as well."""
    for r in range(len(x)):
        line, to = x[r], q[r]
        for c in range(WIDTH):
            v = line[c]
            y = np.divide(abs(v), lanes[SCALE + c])
            level = pick(y > _FIVE, _SIX, _nearest(y))
            code = min(level * _TWO, level + _TWO, level * _HALF + _FOUR)
            lower = (y == _TIE_1) | (y == _TIE_2) | (y == _TIE_3)
            code = pick(ggml & lower, code - _ONE, code)
            code = pick(y >= _ZERO, code, _ZERO)  # zero for NaN
            to[c] = np.int8(I(code + pick(v < _ZERO, F(8), _ZERO)))


@inner
def pack(q: np.ndarray, ggml: bool, packed: np.ndarray) -> None:  # noqa: FBT001
    """Pack two codes in each byte, `i8[in / 2, WIDTH]`; ggml has no negative zero."""
    half = len(q) // 2
    for r in range(half):
        low, high = (q[r], q[half + r]) if ggml else (q[2 * r], q[2 * r + 1])
        to = packed[r]
        for c in range(WIDTH):
            one, two = I(low[c]), I(high[c])
            one = pick(ggml & (one == I(8)), I(0), one)
            two = pick(ggml & (two == I(8)), I(0), two)
            to[c] = np.int8(I(one | I(two << I(4))))


@inner
def account(
    x: np.ndarray, q: np.ndarray, lanes: np.ndarray, sums: np.ndarray, counts: np.ndarray
) -> None:
    """Fill sums `f32[3, width]` and counts `i32[2, width]` of a strip's blocks."""
    lanes[SUM : SUM_5 + WIDTH] = _ZERO
    for r in range(len(x)):
        line, codes = x[r], q[r]
        for c in range(WIDTH):
            v, code = line[c], F(I(I(codes[c]) & I(7)))
            doubled = max(code, code * _TWO - _FOUR, code * _FOUR - _SIXTEEN)
            half = lanes[SCALE + c] * _HALF
            restored = half * pick(v < _ZERO, -doubled, doubled) + _ZERO
            e = v - restored
            lanes[SUM + c] += v * v
            lanes[SUM_2 + c] += e * e
            lanes[SUM_3 + c] += v * e
            lanes[SUM_4 + c] += pick(code == _SEVEN, _ONE, _ZERO)
            lanes[SUM_5 + c] += pick((v != _ZERO) & (restored == _ZERO), _ONE, _ZERO)
    for c in range(sums.shape[1]):
        sums[0, c], sums[1, c], sums[2, c] = lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c]
        counts[0, c], counts[1, c] = I(lanes[SUM_4 + c]), I(lanes[SUM_5 + c])
