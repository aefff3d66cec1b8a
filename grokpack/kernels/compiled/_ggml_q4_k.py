# min and max treat NaN differently from these comparisons
"""Q4_K, compiled: the arithmetic of `grokpack.kernels._ggml_q4_k`, 64 columns at a time."""

from __future__ import annotations

import numpy as np

from grokpack.kernels import _ggml_q4_k as spec
from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml_blocks_of_32 import (
    BASE,
    BLOCK,
    ERROR,
    HIGH,
    INFINITE,
    LANES,
    LOW,
    MAGIC,
    ONE,
    SUM,
    SUM_2,
    SUM_3,
    SUM_4,
    SUM_5,
    WIDTH,
    ZERO,
    D,
    F,
    I,
    M,
    Scalar,
    from_f16,
    pair_up,
    pick,
    to_f16,
)

SUBS, SUPER = 8, 256
_STEPS = spec.STEPS
_TOP4, _TOP6, _COUNT = F(15), F(63), F(32)
# Lanes of a sub-block's search, in slots that only other fits use.
_TRY, _SCALE, _KEPT, _THIS, _LEAST = 64, 128, 192, 320, 384
_SUM_W, _SUM_X = SUM_4, SUM_5
_NEXT, _NEXT_2, _NEXT_3, _NEXT_4, _NEXT_5 = LANES, LANES + 64, LANES + 128, LANES + 192, LANES + 256
"""Lanes for what is chosen between a trial and what is kept; `_ggml_k_lanes` says why."""
K_LANES = LANES + 320
# Values of sub-blocks: rows of `subs f32[8 * SUBS, WIDTH]` from here on.
SCALES, MINIMA, KEPT, BASES = 0, SUBS, 2 * SUBS, 3 * SUBS
SIX, SIX_M = 4 * SUBS, 5 * SUBS  # their 6-bit numbers
READ, READ_M = 6 * SUBS, 7 * SUBS  # their decoded values, as float32


@inner
def nearest(y: Scalar) -> Scalar:
    """Compiled twin of `_ggml_q4_k.nearest`."""
    bits = F(y + MAGIC).view(np.int32)
    whole = I(I(bits & I(0x7FFFFF)) - I(0x400000))
    return whole if y == y else I(0)  # noqa: PLR0124  # false for NaN alone


@inner
def _code(y: Scalar) -> Scalar:
    whole = (y + MAGIC) - MAGIC
    whole = max(ZERO, whole)
    return min(_TOP4, whole)


@inner
def _find_error(x: np.ndarray, w: np.ndarray, k: np.ndarray, lanes: np.ndarray) -> None:
    """Sum the weighted error of codes with _THIS and _LEAST in SUM."""
    for c in range(WIDTH):
        lanes[SUM + c] = ZERO
    for r in range(BLOCK):
        line, weights, codes = x[r], w[r], k[r]
        for c in range(WIDTH):
            e = (lanes[_THIS + c] * codes[c] + lanes[_LEAST + c]) - line[c]
            lanes[SUM + c] += weights[c] * (e * e)


@inner
def _find_codes(x: np.ndarray, w: np.ndarray, k: np.ndarray, lanes: np.ndarray) -> None:
    """Make codes above LOW by _TRY, with the sums for least squares in SUM, SUM_2 and SUM_3."""
    for c in range(WIDTH):
        lanes[SUM + c] = lanes[SUM_2 + c] = lanes[SUM_3 + c] = ZERO
    for r in range(BLOCK):
        line, weights, codes = x[r], w[r], k[r]
        for c in range(WIDTH):
            v = line[c]
            code = _code(lanes[_TRY + c] * (v - lanes[LOW + c]))
            codes[c] = code
            weighted = weights[c] * code
            lanes[SUM + c] += weighted
            lanes[SUM_2 + c] += weighted * code
            lanes[SUM_3 + c] += weighted * v


@inner
def _survey(x: np.ndarray, w: np.ndarray, lanes: np.ndarray) -> None:
    """Find the range of a sub-block, the weights of its errors, and its weighted sums."""
    for c in range(WIDTH):
        lanes[LOW + c] = lanes[HIGH + c] = x[0, c]
        lanes[SUM + c] = lanes[_SUM_W + c] = lanes[_SUM_X + c] = ZERO
    for r in range(0, BLOCK, 4):  # in fours, as in `find_farthest`
        for c in range(WIDTH):
            low, high, squares = lanes[LOW + c], lanes[HIGH + c], lanes[SUM + c]
            for i in range(4):
                v = x[r + i, c]
                squares += v * v
                low = min(low, v)
                high = max(high, v)
            lanes[LOW + c], lanes[HIGH + c], lanes[SUM + c] = low, high, squares
    for c in range(WIDTH):
        lanes[SUM + c] = np.sqrt(lanes[SUM + c] / _COUNT)
        lanes[LOW + c] = pick(lanes[LOW + c] > ZERO, ZERO, lanes[LOW + c])
    for r in range(BLOCK):
        line, weights = x[r], w[r]
        for c in range(WIDTH):
            weight = lanes[SUM + c] + abs(line[c])
            weights[c] = weight
            lanes[_SUM_W + c] += weight
            lanes[_SUM_X + c] += weight * line[c]


@inner
def _finite(multiplier: Scalar) -> Scalar:
    return multiplier if multiplier < INFINITE else ZERO


@inner
def _regress(lanes: np.ndarray) -> None:
    """Solve the least squares for _THIS and _LEAST; D is positive if there is a solution."""
    for c in range(WIDTH):
        sum_l, sum_l2, sum_xl = lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c]
        sum_w, sum_x = lanes[_SUM_W + c], lanes[_SUM_X + c]
        det = sum_w * sum_l2 - sum_l * sum_l
        this = np.divide(sum_w * sum_xl - sum_x * sum_l, det)
        least = np.divide(sum_l2 * sum_x - sum_l * sum_xl, det)
        above = least > ZERO
        lanes[_THIS + c] = np.divide(sum_xl, sum_l2) if above else this
        lanes[_LEAST + c] = ZERO if above else least
        lanes[D + c] = det


@inner
def _keep_better(lanes: np.ndarray) -> None:
    """Keep the trial in columns where it has less weighted error."""
    for c in range(WIDTH):
        found, error, low = lanes[SUM + c], lanes[ERROR + c], lanes[LOW + c]
        better = (lanes[D + c] > ZERO) & (found < error)
        lanes[_NEXT + c] = pick(better, lanes[_TRY + c], lanes[_KEPT + c])
        lanes[_NEXT_2 + c] = pick(better, low, lanes[BASE + c])
        lanes[_NEXT_3 + c] = pick(better, lanes[_THIS + c], lanes[_SCALE + c])
        lanes[_NEXT_4 + c] = pick(better, found, error)
        lanes[_NEXT_5 + c] = pick(better, lanes[_LEAST + c], low)
    for c in range(WIDTH):
        lanes[_KEPT + c], lanes[BASE + c] = lanes[_NEXT + c], lanes[_NEXT_2 + c]
        lanes[_SCALE + c], lanes[ERROR + c] = lanes[_NEXT_3 + c], lanes[_NEXT_4 + c]
        lanes[LOW + c] = lanes[_NEXT_5 + c]


@inner
def search(x: np.ndarray, w: np.ndarray, k: np.ndarray, lanes: np.ndarray) -> None:
    """Run `make_qkx2_quants` for a sub-block; _KEPT and BASE give its codes again."""
    _survey(x, w, lanes)
    for c in range(WIDTH):
        low, high = lanes[LOW + c], lanes[HIGH + c]
        multiplier = np.divide(_TOP4, high - low)
        scale = ZERO if high == low else np.divide(ONE, multiplier)
        lanes[_TRY + c] = _finite(multiplier)
        lanes[_KEPT + c] = ZERO if high == low else lanes[_TRY + c]
        lanes[BASE + c], lanes[_LEAST + c] = low, low
        lanes[_SCALE + c], lanes[_THIS + c] = scale, scale
    _find_codes(x, w, k, lanes)
    _find_error(x, w, k, lanes)
    for c in range(WIDTH):
        lanes[ERROR + c] = -ONE if lanes[HIGH + c] == lanes[LOW + c] else lanes[SUM + c]
    for step in _STEPS:
        for c in range(WIDTH):
            lanes[_TRY + c] = _finite(np.divide(step, lanes[HIGH + c] - lanes[LOW + c]))
        _find_codes(x, w, k, lanes)
        _regress(lanes)
        _find_error(x, w, k, lanes)
        _keep_better(lanes)


@inner
def _six_bits(subs: np.ndarray, of: int, six: int, read: int, heads: np.ndarray) -> None:
    """Round sub-blocks' values to 63rds of the largest; `heads f32[WIDTH]` receives their bits."""
    for c in range(WIDTH):
        largest = ZERO
        for sub in range(SUBS):
            value = subs[of + sub, c]
            largest = max(largest, value)
        multiplier = np.divide(_TOP6, largest) if largest > ZERO else ZERO
        half = to_f16(largest / _TOP6)
        back = from_f16(half)
        heads[c] = F(half)
        for sub in range(SUBS):
            whole = I(nearest(multiplier * subs[of + sub, c]) & I(255))
            whole = min(I(63), whole)
            subs[six + sub, c] = F(whole)
            subs[read + sub, c] = back * F(whole)


@inner
def _final_codes(x: np.ndarray, q: np.ndarray, subs: np.ndarray, sub: int) -> None:
    """Make the codes for a sub-block's decoded scale; where that is 0, those of the search."""
    d, m, kept, base = subs[READ + sub], subs[READ_M + sub], subs[KEPT + sub], subs[BASES + sub]
    for r in range(BLOCK):
        line, codes = x[r], q[r]
        for c in range(WIDTH):
            v = line[c]
            whole = nearest(np.divide(v + m[c], d[c]))
            whole = min(I(15), whole)
            whole = max(I(0), whole)
            found = I(_code(kept[c] * (v - base[c])))
            codes[c] = np.int8(found if d[c] == ZERO else whole)


@inner
def fit_q4_k(
    x: np.ndarray,
    q: np.ndarray,
    w: np.ndarray,
    k: np.ndarray,
    subs: np.ndarray,
    heads: np.ndarray,
    lanes: np.ndarray,
) -> None:
    """Quantize `f32[256, WIDTH]` to codes, numbers of sub-blocks, and `heads f32[2, WIDTH]`."""
    for sub in range(SUBS):
        search(x[sub * BLOCK : (sub + 1) * BLOCK], w, k, lanes)
        for c in range(WIDTH):
            subs[SCALES + sub, c], subs[MINIMA + sub, c] = lanes[_SCALE + c], -lanes[LOW + c]
            subs[KEPT + sub, c], subs[BASES + sub, c] = lanes[_KEPT + c], lanes[BASE + c]
    _six_bits(subs, SCALES, SIX, READ, heads[0])
    _six_bits(subs, MINIMA, SIX_M, READ_M, heads[1])
    for sub in range(SUBS):
        rows = slice(sub * BLOCK, (sub + 1) * BLOCK)
        _final_codes(x[rows], q[rows], subs, sub)


@inner
def read_lanes(subs: np.ndarray, sub: int, lanes: np.ndarray) -> None:
    """Copy scale and minimum of a sub-block to the lanes of `measure`."""
    for c in range(WIDTH):
        lanes[D + c], lanes[M + c] = subs[READ + sub, c], -subs[READ_M + sub, c]


@inner
def pack_q4_k(q: np.ndarray, subs: np.ndarray, heads: np.ndarray, packed: np.ndarray) -> None:
    """Pack blocks of Q4_K, `i8[144, WIDTH]`."""
    for c in range(WIDTH):
        for head in range(2):
            bits = I(heads[head, c])
            packed[2 * head, c] = np.int8(bits & I(255))
            packed[2 * head + 1, c] = np.int8(bits >> I(8))
    for sub in range(SUBS // 2):
        for c in range(WIDTH):
            scale, later = I(subs[SIX + sub, c]), I(subs[SIX + 4 + sub, c])
            least, later_m = I(subs[SIX_M + sub, c]), I(subs[SIX_M + 4 + sub, c])
            packed[4 + sub, c] = np.int8(scale | ((later >> I(4)) << I(6)))
            packed[8 + sub, c] = np.int8(least | ((later_m >> I(4)) << I(6)))
            packed[12 + sub, c] = np.int8((later & I(15)) | ((later_m & I(15)) << I(4)))
        for r in range(BLOCK):
            first = sub * 2 * BLOCK + r
            pair_up(q[first], q[first + BLOCK], packed[16 + sub * BLOCK + r])
