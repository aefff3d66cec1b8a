# min and max treat NaN differently from these comparisons
"""Searched scales, compiled: the arithmetic of `grokpack.kernels._ggml.search`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from grokpack.kernels._ggml import search as spec
from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml.block_fits import (
    code_q4_0,
    codes_q4_1,
    encode_q4_0,
    fit_q4_1,
    head_q4_0,
    is_near,
    scale_q4_0,
)
from grokpack.kernels.compiled._ggml.blocks_of_32 import (
    BASE,
    BLOCK,
    END,
    ERROR,
    FAR,
    HALF,
    HEAD,
    HEAD_M,
    HIGH,
    INVERSE,
    LOW,
    ONE,
    RAW,
    RAW_M,
    ROWS,
    SUM,
    SUM_2,
    SUM_3,
    WIDTH,
    ZERO,
    D,
    F,
    M,
    Scalar,
    invert,
    pick,
    round_head,
)
from grokpack.kernels.compiled._vectors.float_vectors import (
    LANES,
    Floats,
    add_product,
    all_of,
    choose,
    fill,
    keep_rolled,
    magnitude,
    rounded,
    store,
    vector,
)

_DIVISORS, _SPANS, _REFINEMENTS = spec.DIVISORS_Q4_0, spec.SPANS_Q4_1, spec.REFINEMENTS
Known: TypeAlias = tuple[np.ndarray, bool]
"""Weights of rows; True if all are one, and products of values and codes exact in float32."""
_HALF_SPAN, _EIGHT = F(7.5), F(8)
_LEAST, _MOST = F(-8), F(7)
_INSIDE = F(7.4)  # codes of candidates with divisors below it are within these bounds
_SMALL, _LARGE = F(1e-30), F(1e30)  # farthest values between which nothing overflows
_FIT = (D, M, HEAD, INVERSE, ERROR)
_ALL = END  # of the second set of lanes: sum of the weights


@inner
def _code(y: Floats, low: Floats, high: Floats) -> Floats:
    """Round to a code within bounds; NaN becomes the upper one."""
    whole = rounded(y)
    whole = choose(whole < high, whole, high)
    return choose(whole > low, whole, low)


@inner
def _find_error(x: np.ndarray, w: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Sum the squared error in ERROR."""
    for c in range(WIDTH):
        lanes[ERROR + c] = ZERO
    for r in range(0, BLOCK, ROWS):
        for c in range(WIDTH):
            d, m, error = lanes[D + c], lanes[M + c], lanes[ERROR + c]
            for i in range(ROWS):
                e = x[r + i, c] - (d * F(q[r + i, c]) + m)
                error += e * e * w[r + i]
            lanes[ERROR + c] = error


@inner
def _keep_better(q: np.ndarray, lanes: np.ndarray, other_q: np.ndarray, other: np.ndarray) -> None:
    """Take the other fit in the columns where its error is less."""
    for r in range(BLOCK):
        codes, others = q[r], other_q[r]
        for c in range(WIDTH):
            codes[c] = pick(other[ERROR + c] < lanes[ERROR + c], others[c], codes[c])
    for c in range(WIDTH):
        better = other[ERROR + c] < lanes[ERROR + c]
        lanes[D + c] = pick(better, other[D + c], lanes[D + c])
        lanes[M + c] = pick(better, other[M + c], lanes[M + c])
        lanes[HEAD + c] = pick(better, other[HEAD + c], lanes[HEAD + c])
        lanes[HEAD_M + c] = pick(better, other[HEAD_M + c], lanes[HEAD_M + c])
        lanes[ERROR + c] = pick(better, other[ERROR + c], lanes[ERROR + c])


@inner
def _inverted(d: Floats) -> Floats:
    """Return `1 / d`, and zero for zero."""
    return choose(d == fill(ZERO), fill(ZERO), fill(ONE) / d)


@inner
def _sum_any(x: np.ndarray, w: np.ndarray, inverse: Floats, column: int) -> tuple[Floats, Floats]:
    """Sum products of values and codes, and of codes and codes, of a candidate."""
    sum_xk = sum_kk = fill(ZERO)
    for r in range(BLOCK):
        v, weight = vector(x, r * WIDTH + column), fill(w[r])
        k = _code(v * inverse, fill(_LEAST), fill(_MOST))
        sum_xk += v * k * weight
        sum_kk += k * k * weight
        keep_rolled()
    return sum_xk, sum_kk


@inner
def _sum_exact(x: np.ndarray, inverse: Floats, bounded: bool, column: int) -> tuple[Floats, Floats]:  # noqa: FBT001
    """Do so without weights, where products are exact; `bounded` if codes need bounds."""
    sum_xk = sum_kk = fill(ZERO)
    for r in range(BLOCK):
        v = vector(x, r * WIDTH + column)
        k = rounded(v * inverse)
        if bounded:
            k = _code(k, fill(_LEAST), fill(_MOST))
        sum_xk, sum_kk = add_product(sum_xk, v, k), add_product(sum_kk, k, k)
        keep_rolled()
    return sum_xk, sum_kk


@inner
def _scale_q4_0(x: np.ndarray, known: Known, far: Floats, column: int) -> Floats:
    """Return the scale of the candidate that removes most of the squares, for some columns."""
    size, zero = magnitude(far), fill(ZERO)
    usual = (size == zero) | ((size > fill(_SMALL)) & (size < fill(_LARGE)))
    w, plain = known
    exact = plain and all_of(usual)
    gain = scale = zero
    for divisor in _DIVISORS:
        inverse = _inverted(far / fill(divisor))
        if exact:
            sum_xk, sum_kk = _sum_exact(x, inverse, abs(divisor) > _INSIDE, column)
        else:
            sum_xk, sum_kk = _sum_any(x, w, inverse, column)
        d = sum_xk / sum_kk
        found = d * sum_xk
        better = found > gain
        scale, gain = choose(better, d, scale), choose(better, found, gain)
    return scale


@inner
def _judge_q4_0(x: np.ndarray, known: Known, own: np.ndarray, column: int) -> tuple[Floats, Floats]:
    """Return the squared error of a fit, and the scale that has the least for its codes."""
    w, plain = known
    inverse, d, m = vector(own, INVERSE + column), vector(own, D + column), vector(own, M + column)
    near = is_near(vector(own, FAR + column), inverse)
    error = sum_xk = sum_kk = fill(ZERO)
    for r in range(BLOCK):
        v = vector(x, r * WIDTH + column)
        code = code_q4_0(v, inverse, near)
        k, e = code - fill(_EIGHT), v - add_product(m, d, code)
        if plain:
            error += e * e
            sum_xk, sum_kk = add_product(sum_xk, v, k), add_product(sum_kk, k, k)
        else:
            weight = fill(w[r])
            error += e * e * weight
            sum_xk, sum_kk = sum_xk + v * k * weight, sum_kk + k * k * weight
        keep_rolled()
    return error, sum_xk / sum_kk


@inner
def best_q4_0(
    x: np.ndarray, known: Known, q: np.ndarray, lanes: np.ndarray, other: np.ndarray
) -> None:
    """Compiled twin of `_ggml.search.best_q4_0`, with sums of errors and GONE."""
    scale_q4_0(x, lanes)
    for c in range(0, WIDTH, LANES):
        far = vector(lanes, FAR + c)
        error, _scale = _judge_q4_0(x, known, lanes, c)
        store(error, lanes, ERROR + c)
        store(_scale_q4_0(x, known, far, c), other, RAW + c)
        store(far, other, FAR + c)
        keep_rolled()
    for _ in range(_REFINEMENTS):
        head_q4_0(other)
        for c in range(WIDTH):
            other[INVERSE + c] = invert(other[D + c])
        for c in range(0, WIDTH, LANES):
            error, scale = _judge_q4_0(x, known, other, c)
            store(error, other, ERROR + c)
            store(scale, other, RAW + c)
            better = error < vector(lanes, ERROR + c)
            for part in _FIT:
                chosen = choose(better, vector(other, part + c), vector(lanes, part + c))
                store(chosen, lanes, part + c)
            keep_rolled()
    encode_q4_0(x, q, lanes)


@inner
def _round_then_invert(own: np.ndarray) -> None:
    """Round scale and minimum to float16, and derive the multiplier from them."""
    round_head(own, RAW, HEAD, D)
    round_head(own, RAW_M, HEAD_M, M)
    for c in range(WIDTH):
        own[RAW + c], own[RAW_M + c] = own[D + c], own[M + c]
        own[INVERSE + c] = invert(own[D + c])
        own[BASE + c] = own[M + c]


@inner
def _sum_q4_1(x: np.ndarray, w: np.ndarray, q: np.ndarray, own: np.ndarray) -> None:
    """Sum k, k * k and x * k of existing codes."""
    for c in range(WIDTH):
        own[SUM + c] = own[SUM_2 + c] = own[SUM_3 + c] = ZERO
    for r in range(0, BLOCK, ROWS):
        for c in range(WIDTH):
            sum_k, sum_kk, sum_xk = own[SUM + c], own[SUM_2 + c], own[SUM_3 + c]
            for i in range(ROWS):
                k = F(q[r + i, c])
                sum_k += k * w[r + i]
                sum_kk += k * k * w[r + i]
                sum_xk += x[r + i, c] * k * w[r + i]
            own[SUM + c], own[SUM_2 + c], own[SUM_3 + c] = sum_k, sum_kk, sum_xk


@inner
def _line_q4_1(
    x: np.ndarray, w: np.ndarray, own: np.ndarray, n: Scalar, column: int
) -> tuple[Floats, Floats]:
    """Return scale and minimum of the best candidate, for some columns."""
    total, weight = vector(own, _ALL + column), fill(n)
    low, high = vector(own, LOW + column), vector(own, HIGH + column)
    middle = low + (high - low) * fill(HALF)
    bounds = fill(ZERO), fill(F(15))
    gain = scale = least = fill(ZERO)
    for span in _SPANS:
        inverse = _inverted((high - low) / fill(span))
        sum_k = sum_kk = sum_xk = fill(ZERO)
        for r in range(BLOCK):
            v, own_weight = vector(x, r * WIDTH + column), fill(w[r])
            k = _code((v - middle) * inverse + fill(_HALF_SPAN), *bounds)
            sum_k += k * own_weight
            sum_kk += k * k * own_weight
            sum_xk += v * k * own_weight
            keep_rolled()
        shared = weight * sum_xk - total * sum_k
        d = shared / (weight * sum_kk - sum_k * sum_k)
        found = d * shared
        better = found > gain
        scale, gain = choose(better, d, scale), choose(better, found, gain)
        least = choose(better, (total - d * sum_k) / weight, least)
    return scale, least


@inner
def _shared(own: np.ndarray, n: Scalar, c: int) -> Scalar:
    return n * own[SUM_3 + c] - own[_ALL + c] * own[SUM + c]


@inner
def _slope(own: np.ndarray, n: Scalar, c: int, shared: Scalar) -> Scalar:
    sk = own[SUM + c]
    return np.divide(shared, n * own[SUM_2 + c] - sk * sk)


@inner
def _intercept(own: np.ndarray, n: Scalar, c: int, d: Scalar) -> Scalar:
    return np.divide(own[_ALL + c] - d * own[SUM + c], n)


@inner
def _total(w: np.ndarray) -> Scalar:
    """Sum the weights in order."""
    n = ZERO
    for r in range(BLOCK):
        n += w[r]
    return n


@inner
def _sum_all(x: np.ndarray, w: np.ndarray, own: np.ndarray) -> None:
    """Add the weighted sum of x to _ALL."""
    for r in range(BLOCK):
        line = x[r]
        for c in range(WIDTH):
            own[_ALL + c] += line[c] * w[r]


@inner
def best_q4_1(
    x: np.ndarray,
    w: np.ndarray,
    q: np.ndarray,
    lanes: np.ndarray,
    other_q: np.ndarray,
    other: np.ndarray,
) -> None:
    """Compiled twin of `_ggml.search.best_q4_1`."""
    fit_q4_1(x, q, lanes)
    _find_error(x, w, q, lanes)
    n = _total(w)
    other[...] = ZERO
    for c in range(WIDTH):
        other[LOW + c], other[HIGH + c] = lanes[LOW + c], lanes[HIGH + c]
    _sum_all(x, w, other)
    for c in range(0, WIDTH, LANES):
        scale, least = _line_q4_1(x, w, other, n, c)
        store(scale, other, RAW + c)
        store(least, other, RAW_M + c)
    for again in range(_REFINEMENTS):
        if again:
            _sum_q4_1(x, w, other_q, other)
            for c in range(WIDTH):
                d = _slope(other, n, c, _shared(other, n, c))
                other[RAW + c], other[RAW_M + c] = d, _intercept(other, n, c, d)
        _round_then_invert(other)
        codes_q4_1(x, other_q, other)
        _find_error(x, w, other_q, other)
        _keep_better(q, lanes, other_q, other)
