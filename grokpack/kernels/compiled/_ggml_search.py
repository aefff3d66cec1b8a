# min and max treat NaN differently from these comparisons
"""Searched scales, compiled: the arithmetic of `grokpack.kernels._ggml_search`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from grokpack.kernels import _ggml_search as spec
from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml_blocks_of_32 import (
    BASE,
    BLOCK,
    ERROR,
    FAR,
    HALF,
    HEAD,
    HEAD_M,
    HIGH,
    INVERSE,
    LOW,
    MAGIC,
    RAW,
    RAW_M,
    SUM,
    SUM_2,
    SUM_3,
    SUM_4,
    WIDTH,
    ZERO,
    D,
    F,
    M,
    Scalar,
    codes_q4_0,
    codes_q4_1,
    fit_q4_0,
    fit_q4_1,
    invert,
    pick,
    round_heads,
)

_DIVISORS, _SPANS, _REFINEMENTS = spec.DIVISORS_Q4_0, spec.SPANS_Q4_1, spec.REFINEMENTS
Known: TypeAlias = tuple[np.ndarray, bool]
"""Weights of rows, and whether any of them is not one."""
_HALF_SPAN, _EIGHT = F(7.5), F(8)
_GAIN, _ALL = ERROR, SUM_4  # of the second set of lanes: best gain, and sum of the weights
_NEXT, _NEXT_2, _NEXT_3 = D, M, HEAD  # for what is chosen; `_ggml_k_lanes` says why


@inner
def _clip(y: Scalar, low: Scalar, high: Scalar) -> Scalar:
    whole = (y + MAGIC) - MAGIC
    whole = min(high, whole)
    return max(low, whole)


@inner
def _find_error(x: np.ndarray, w: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Sum the squared error in ERROR."""
    for c in range(WIDTH):
        lanes[ERROR + c] = ZERO
    for r in range(BLOCK):
        line, codes = x[r], q[r]
        for c in range(WIDTH):
            e = line[c] - (lanes[D + c] * F(codes[c]) + lanes[M + c])
            lanes[ERROR + c] += e * e * w[r]


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
def _sum_q4_0(x: np.ndarray, w: np.ndarray, q: np.ndarray, own: np.ndarray) -> None:
    """Sum x * k and k * k of existing codes."""
    for c in range(WIDTH):
        own[SUM + c] = own[SUM_2 + c] = ZERO
    for r in range(BLOCK):
        line, codes = x[r], q[r]
        for c in range(WIDTH):
            k = F(codes[c]) - _EIGHT
            own[SUM + c] += line[c] * k * w[r]
            own[SUM_2 + c] += k * k * w[r]


@inner
def _try_q4_0(x: np.ndarray, known: Known, own: np.ndarray, divisor: Scalar) -> None:
    """Try one candidate: its scale becomes RAW where it removes more of the squares."""
    w, weighted = known
    for c in range(WIDTH):
        own[INVERSE + c] = invert(own[FAR + c] / divisor)
        own[SUM + c] = own[SUM_2 + c] = ZERO
    for r in range(BLOCK):
        line = x[r]
        if weighted:
            for c in range(WIDTH):
                k = _clip(line[c] * own[INVERSE + c], F(-8), F(7))
                own[SUM + c] += line[c] * k * w[r]
                own[SUM_2 + c] += k * k * w[r]
        else:
            for c in range(WIDTH):
                k = _clip(line[c] * own[INVERSE + c], F(-8), F(7))
                own[SUM + c] += line[c] * k
                own[SUM_2 + c] += k * k
    for c in range(WIDTH):
        d = np.divide(own[SUM + c], own[SUM_2 + c])
        gain = d * own[SUM + c]
        better = gain > own[_GAIN + c]
        own[_NEXT + c] = pick(better, d, own[RAW + c])
        own[_NEXT_2 + c] = pick(better, gain, own[_GAIN + c])
    for c in range(WIDTH):
        own[RAW + c], own[_GAIN + c] = own[_NEXT + c], own[_NEXT_2 + c]


@inner
def best_q4_0(
    x: np.ndarray,
    known: Known,
    q: np.ndarray,
    lanes: np.ndarray,
    other_q: np.ndarray,
    other: np.ndarray,
) -> None:
    """Compiled twin of `_ggml_search.best_q4_0`."""
    w, _weighted = known
    fit_q4_0(x, q, lanes)
    _find_error(x, w, q, lanes)
    other[...] = ZERO
    for c in range(WIDTH):
        other[FAR + c] = lanes[FAR + c]
    for divisor in _DIVISORS:
        _try_q4_0(x, known, other, divisor)
    for again in range(_REFINEMENTS):
        if again:
            _sum_q4_0(x, w, other_q, other)
            for c in range(WIDTH):
                other[RAW + c] = np.divide(other[SUM + c], other[SUM_2 + c])
        _round_then_invert(other)
        codes_q4_0(x, other_q, other)
        _find_error(x, w, other_q, other)
        _keep_better(q, lanes, other_q, other)


@inner
def _round_then_invert(own: np.ndarray) -> None:
    """Round scale and minimum to float16, and derive the multiplier from them."""
    round_heads(own)
    for c in range(WIDTH):
        own[RAW + c], own[RAW_M + c] = own[D + c], own[M + c]
        own[INVERSE + c] = invert(own[D + c])
        own[BASE + c] = own[M + c]


@inner
def _sum_q4_1(x: np.ndarray, w: np.ndarray, q: np.ndarray, own: np.ndarray) -> None:
    """Sum k, k * k and x * k of existing codes."""
    for c in range(WIDTH):
        own[SUM + c] = own[SUM_2 + c] = own[SUM_3 + c] = ZERO
    for r in range(BLOCK):
        line, codes = x[r], q[r]
        for c in range(WIDTH):
            k = F(codes[c])
            own[SUM + c] += k * w[r]
            own[SUM_2 + c] += k * k * w[r]
            own[SUM_3 + c] += line[c] * k * w[r]


@inner
def _try_q4_1(x: np.ndarray, w: np.ndarray, own: np.ndarray, n: Scalar, span: Scalar) -> None:
    """Try one candidate; FAR holds the middle of the range here."""
    for c in range(WIDTH):
        own[INVERSE + c] = invert((own[HIGH + c] - own[LOW + c]) / span)
        own[SUM + c] = own[SUM_2 + c] = own[SUM_3 + c] = ZERO
    for r in range(BLOCK):
        line = x[r]
        for c in range(WIDTH):
            y = (line[c] - own[FAR + c]) * own[INVERSE + c]
            k = _clip(y + _HALF_SPAN, ZERO, F(15))
            own[SUM + c] += k * w[r]
            own[SUM_2 + c] += k * k * w[r]
            own[SUM_3 + c] += line[c] * k * w[r]
    for c in range(WIDTH):
        shared = _shared(own, n, c)
        d = _slope(own, n, c, shared)
        gain = d * shared
        better = gain > own[_GAIN + c]
        own[_NEXT + c] = pick(better, d, own[RAW + c])
        own[_NEXT_2 + c] = pick(better, gain, own[_GAIN + c])
        own[_NEXT_3 + c] = pick(better, _intercept(own, n, c, d), own[RAW_M + c])
    for c in range(WIDTH):
        own[RAW + c], own[_GAIN + c] = own[_NEXT + c], own[_NEXT_2 + c]
        own[RAW_M + c] = own[_NEXT_3 + c]


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
    """Compiled twin of `_ggml_search.best_q4_1`."""
    fit_q4_1(x, q, lanes)
    _find_error(x, w, q, lanes)
    n = _total(w)
    other[...] = ZERO
    for c in range(WIDTH):
        low, high = lanes[LOW + c], lanes[HIGH + c]
        other[LOW + c], other[HIGH + c] = low, high
        other[FAR + c] = low + (high - low) * HALF
    _sum_all(x, w, other)
    for span in _SPANS:
        _try_q4_1(x, w, other, n, span)
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
