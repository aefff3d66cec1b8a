# min and max treat NaN differently from these comparisons
"""Fits of blocks of 32 weights, compiled: scales, codes and errors, of 16 columns at a time.

The codes and sums of usual columns are made in one pass, without what only infinities, NaN and
scales out of range need; other columns are done again.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._ggml.blocks_of_32 import (
    BASE,
    BLOCK,
    FAR,
    GONE,
    HALF,
    HEAD,
    HEAD_M,
    HIGH,
    INFINITE,
    INVERSE,
    LOW,
    ONE,
    RAW,
    RAW_M,
    SUM,
    SUM_2,
    SUM_3,
    WIDTH,
    ZERO,
    D,
    F,
    M,
    invert,
    round_head,
)
from grokpack.kernels.compiled._vectors.float_vectors import (
    LANES,
    Floats,
    Mask,
    add_product,
    all_of,
    choose,
    clip,
    fill,
    int8s,
    keep_rolled,
    magnitude,
    store,
    store_bytes,
    truncated,
    vector,
    with_sign,
)

Sums: TypeAlias = tuple[Floats, Floats, Floats, Floats]
"""Sums of x*x, e*e and x*e, and the number of weights that became zero."""
_LARGEST = F(np.finfo(np.float32).max)
_CAST_LIMIT = F(1024)
_NEAR = F(1000)  # far enough below it
_TOP4, _TOP8 = F(15), F(127)
_BELOW_HALF = np.nextafter(HALF, ZERO)
"""Summand with which a cast rounds halves away from zero; half itself would also raise the number
below one half."""
_LEAST_DIVISOR, _EIGHT_HALF = F(-8), F(8.5)


@inner
def find_farthest(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the first value of largest magnitude in each column; skip NaN."""
    for c in range(0, WIDTH, LANES):
        far = fill(ZERO)
        for r in range(BLOCK):
            v = vector(x, r * WIDTH + c)
            far = choose(magnitude(v) > magnitude(far), v, far)
        store(far, lanes, FAR + c)


@inner
def _find_largest(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the largest magnitude in each column; skip NaN."""
    for c in range(0, WIDTH, LANES):
        far = fill(ZERO)
        for r in range(BLOCK):
            size = magnitude(vector(x, r * WIDTH + c))
            far = choose(size > far, size, far)
        store(far, lanes, FAR + c)


@inner
def find_range(x: np.ndarray, lanes: np.ndarray) -> None:
    """Find the least and largest value of each column; skip NaN."""
    for c in range(0, WIDTH, LANES):
        low, high = fill(_LARGEST), fill(-_LARGEST)
        for r in range(BLOCK):
            v = vector(x, r * WIDTH + c)
            low, high = choose(v < low, v, low), choose(v > high, v, high)
        store(low, lanes, LOW + c)
        store(high, lanes, HIGH + c)


@inner
def head_q4_0(lanes: np.ndarray) -> None:
    """Make the head from RAW."""
    round_head(lanes, RAW, HEAD, D)
    for c in range(WIDTH):
        lanes[M + c] = lanes[D + c] * _LEAST_DIVISOR


@inner
def _four_bits(values: Floats) -> Floats:
    """Cast to codes of four bits; values beyond any code become 0."""
    y = choose(values < fill(_CAST_LIMIT), values, fill(ZERO))
    y = choose(y > fill(ZERO), y, fill(ZERO))
    return truncated(choose(y < fill(_TOP4), y, fill(_TOP4)))


@inner
def fit_q8_0(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Compiled twin of `_ggml.blocks_of_32.fit_q8_0`, with sums of errors and GONE."""
    _find_largest(x, lanes)
    for c in range(WIDTH):
        d = lanes[FAR + c] / _TOP8
        lanes[RAW + c], lanes[M + c] = d, ZERO
        lanes[INVERSE + c] = invert(d)
    round_head(lanes, RAW, HEAD, D)
    for c in range(0, WIDTH, LANES):
        inverse, d = vector(lanes, INVERSE + c), vector(lanes, D + c)
        sums = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
        for r in range(BLOCK):
            at = r * WIDTH + c
            v = vector(x, at)
            y = v * inverse
            code = truncated(y + with_sign(fill(_BELOW_HALF), y))
            store_bytes(code, q, at)
            sums = added(sums, v, d * code)
            keep_rolled()
        if all_of(_usual(sums[0], d, inverse)):
            keep(sums, lanes, c)
        else:
            _code_any_q8_0(x, q, lanes, c)
            measure(x, q, lanes, c)


@inner
def _usual(vv: Floats, d: Floats, inverse: Floats) -> Mask:
    """Tell where no value and neither scale is infinite, NaN, or zero in float16."""
    infinite, zero = fill(INFINITE), fill(ZERO)
    scales = (d != zero) & (magnitude(d) < infinite) & (magnitude(inverse) < infinite)
    return scales & (vv < infinite)


@inner
def added(sums: Sums, v: Floats, restored: Floats) -> Sums:
    """Add a row of values, and of what is restored of them, to the sums."""
    vv, ee, ve, gone = sums
    e = v - restored
    is_gone = (v != fill(ZERO)) & (restored == fill(ZERO))
    return vv + v * v, ee + e * e, ve + v * e, gone + choose(is_gone, fill(ONE), fill(ZERO))


@inner
def keep(sums: Sums, lanes: np.ndarray, c: int) -> None:
    """Store the sums of x*x, e*e, x*e, and GONE."""
    vv, ee, ve, gone = sums
    store(vv, lanes, SUM + c)
    store(ee, lanes, SUM_2 + c)
    store(ve, lanes, SUM_3 + c)
    store(gone, lanes, GONE + c)


@inner
def _code_any_q8_0(x: np.ndarray, q: np.ndarray, lanes: np.ndarray, c: int) -> None:
    """Make codes, of whatever values."""
    inverse = vector(lanes, INVERSE + c)
    for r in range(BLOCK):
        y = vector(x, r * WIDTH + c) * inverse
        y += with_sign(fill(_BELOW_HALF), y)
        fits = magnitude(y) < fill(_CAST_LIMIT)
        store_bytes(truncated(choose(fits, y, fill(ZERO))), q, r * WIDTH + c)


@inner
def is_near(far: Floats, inverse: Floats) -> bool:
    """Tell if no value is so far away that it has no code; NaN has none either way."""
    near: bool = all_of(magnitude(far * inverse) < fill(_NEAR))
    return near


@inner
def code_q4_0(v: Floats, inverse: Floats, near: bool) -> Floats:  # noqa: FBT001
    """Make codes; where all are `near`, none is of a value that no code is made of."""
    y = v * inverse + fill(_EIGHT_HALF)
    return truncated(clip(y, fill(ZERO), fill(_TOP4))) if near else _four_bits(y)


@inner
def scale_q4_0(x: np.ndarray, lanes: np.ndarray) -> None:
    """Make the head that ggml makes, and INVERSE."""
    find_farthest(x, lanes)
    for c in range(WIDTH):
        d = lanes[FAR + c] / _LEAST_DIVISOR
        lanes[RAW + c], lanes[INVERSE + c] = d, invert(d)
    head_q4_0(lanes)


@inner
def fit_q4_0(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Compiled twin of `_ggml.blocks_of_32.fit_q4_0`, with sums of errors and GONE."""
    scale_q4_0(x, lanes)
    encode_q4_0(x, q, lanes)


@inner
def encode_q4_0(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Make codes by INVERSE, sums of errors, and GONE."""
    for c in range(0, WIDTH, LANES):
        inverse, d, m = vector(lanes, INVERSE + c), vector(lanes, D + c), vector(lanes, M + c)
        near = is_near(vector(lanes, FAR + c), inverse)
        sums = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
        for r in range(BLOCK):
            at = r * WIDTH + c
            v = vector(x, at)
            code = code_q4_0(v, inverse, near)
            store_bytes(code, q, at)
            sums = added(sums, v, add_product(m, d, code))
            keep_rolled()
        keep(sums, lanes, c)


@inner
def codes_q4_1(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Make heads from RAW and RAW_M, and codes above BASE by INVERSE."""
    round_head(lanes, RAW, HEAD, D)
    round_head(lanes, RAW_M, HEAD_M, M)
    for c in range(0, WIDTH, LANES):
        inverse, base = vector(lanes, INVERSE + c), vector(lanes, BASE + c)
        for r in range(BLOCK):
            y = (vector(x, r * WIDTH + c) - base) * inverse + fill(HALF)
            store_bytes(_four_bits(y), q, r * WIDTH + c)


@inner
def fit_q4_1(x: np.ndarray, q: np.ndarray, lanes: np.ndarray) -> None:
    """Compiled twin of `_ggml.blocks_of_32.fit_q4_1`."""
    find_range(x, lanes)
    for c in range(WIDTH):
        low = lanes[LOW + c]
        d = (lanes[HIGH + c] - low) / _TOP4
        lanes[RAW + c], lanes[RAW_M + c], lanes[BASE + c] = d, low, low
        lanes[INVERSE + c] = invert(d)
    codes_q4_1(x, q, lanes)


@inner
def measure(x: np.ndarray, q: np.ndarray, lanes: np.ndarray, c: int) -> None:
    """Sum the errors of 16 columns, and count weights that became zero."""
    d, m = vector(lanes, D + c), vector(lanes, M + c)
    sums = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
    for r in range(BLOCK):
        at = r * WIDTH + c
        v = vector(x, at)
        sums = added(sums, v, add_product(m, d, int8s(q, at)))
        keep_rolled()
    keep(sums, lanes, c)
