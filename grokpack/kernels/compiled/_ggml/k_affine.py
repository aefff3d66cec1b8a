"""Search for scale and minimum of K-quants, compiled: `grokpack.kernels._ggml.k_search.affine`.

Codes of the best trial are not kept: its multiplier and base are, and give them again.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._ggml.blocks_of_32 import INFINITE, ONE, ZERO, F
from grokpack.kernels.compiled._ggml.k_lanes import scratch
from grokpack.kernels.compiled._vectors.float_vectors import (
    LANES,
    Floats,
    Mask,
    Scalar,
    all_of,
    any_of,
    choose,
    clip,
    fill,
    gather,
    keep_rolled,
    magnitude,
    rounded,
    store,
    store_bytes,
    vector,
)

Weights: TypeAlias = tuple[np.ndarray, np.ndarray, int]
"""Weights of a sub-block in rows of a vector, what their errors count, and how many they are."""
Fit: TypeAlias = tuple[Floats, Floats, Floats, Floats]
"""Scale and minimum; the multiplier and base that give the codes."""
Survey: TypeAlias = tuple[Floats, Floats, Floats, Floats]
"""Least and largest weight; sums of what errors count, and of that times weights."""
Sums: TypeAlias = tuple[Floats, Floats, Floats]
"""Weighted sums of codes, of their squares, of codes times weights."""
_BELOW_HALF = F(0.49)  # of a step, far enough for the rounding of a product


@inner
def _survey(known: Weights) -> Survey:
    """Find what no trial changes."""
    x, w, count = known
    low = high = vector(x, 0)
    sum_w = sum_x = fill(ZERO)
    for at in range(0, count, LANES):
        v, weight = vector(x, at), vector(w, at)
        low, high = choose(v < low, v, low), choose(v > high, v, high)
        sum_w += weight
        sum_x += weight * v
    return low, high, sum_w, sum_x


@inner
def affine_code(v: Floats, multiplier: Floats, base: Floats, top: Floats) -> Floats:
    """Round to a code from 0 on; NaN becomes 0."""
    return clip(rounded(multiplier * (v - base)), fill(ZERO), top)


@inner
def _multiplier(steps: Scalar, span: Floats) -> Floats:
    """Return steps per unit of a range; 0 where they are infinitely many.

    ggml's `nearest_int` makes code 0 of infinity.
    """
    found = fill(steps) / span
    return choose(magnitude(found) < fill(INFINITE), found, fill(ZERO))


@inner
def _find_codes(
    known: Weights,
    trial: tuple[Floats, Floats],
    bounds: tuple[Floats, Floats],
    inside: bool,  # noqa: FBT001
    k: np.ndarray,
) -> Sums:
    """Make the codes of a trial, and their sums for least squares.

    Args:
        known: The sub-block.
        trial: Multiplier and base.
        bounds: Least and largest code.
        inside: True if no code is beyond them.
        k: Receives codes.
    """
    x, w, count = known
    multiplier, low = trial
    sum_l = sum_l2 = sum_xl = fill(ZERO)
    for at in range(0, count, LANES):
        v = vector(x, at)
        found = rounded(multiplier * (v - low))
        if not inside:
            found = clip(found, *bounds)
        store(found, k, at)
        weighted = vector(w, at) * found
        sum_l += weighted
        sum_l2 += weighted * found
        sum_xl += weighted * v
        keep_rolled()
    return sum_l, sum_l2, sum_xl


@inner
def _find_error(
    known: Weights,
    scale: Floats,
    least: Floats,
    absolute: bool,  # noqa: FBT001
    k: np.ndarray,
) -> Floats:
    """Sum the weighted error of a trial's codes."""
    x, w, count = known
    found = fill(ZERO)
    for at in range(0, count, LANES):
        e = (scale * vector(k, at) + least) - vector(x, at)
        found += vector(w, at) * (magnitude(e) if absolute else e * e)
    return found


@inner
def _are_within(ends: tuple[Floats, Floats], top: Floats) -> Mask:
    """Return the lanes where values between these ends are rounded to codes."""
    one, other = ends
    least, most = fill(-_BELOW_HALF), top + fill(_BELOW_HALF)
    return (one > least) & (other > least) & (one < most) & (other < most)


@inner
def search_affine(
    known: Weights,
    survey: Survey,
    steps: np.ndarray,
    absolute: bool,  # noqa: FBT001
    k: np.ndarray,
) -> Fit:
    """Run `make_qkx2_quants`, or `make_qkx3_quants`, for the columns of a vector."""
    top = fill(steps[0])
    zero = top - top  # not to be known when this is compiled: bounds of zero take two instructions
    first, high, sum_w, sum_x = survey
    low = choose(first > zero, zero, first)
    flat, sound = high == low, sum_x == sum_x  # noqa: PLR0124  # false for NaN alone
    scale = choose(flat, zero, fill(ONE) / (top / (high - low)))
    kept, base = choose(flat, zero, _multiplier(steps[0], high - low)), low
    _find_codes(known, (kept, low), (zero, top), False, k)  # noqa: FBT003
    best = choose(flat, fill(-ONE), _find_error(known, scale, low, absolute, k))
    for step in steps[1:]:
        multiplier = _multiplier(step, high - low)
        ends = multiplier * (first - low), multiplier * (high - low)
        inside = all_of(sound & _are_within(ends, top))
        sum_l, sum_l2, sum_xl = _find_codes(known, (multiplier, low), (zero, top), inside, k)
        det = sum_w * sum_l2 - sum_l * sum_l
        this = (sum_w * sum_xl - sum_x * sum_l) / det
        least = (sum_l2 * sum_x - sum_l * sum_xl) / det
        above = least > zero
        if any_of(above):
            this, least = choose(above, sum_xl / sum_l2, this), choose(above, zero, least)
        found = _find_error(known, this, least, absolute, k)
        better = (det > zero) & (found < best)
        best, scale = choose(better, found, best), choose(better, this, scale)
        kept, base = choose(better, multiplier, kept), choose(better, low, base)
        low = choose(better, least, low)
    return scale, low, kept, base


@compiled
def _affine(
    x: np.ndarray,
    w: np.ndarray,
    steps: np.ndarray,
    absolute: bool,  # noqa: FBT001
    codes: np.ndarray,
    values: tuple[np.ndarray, np.ndarray],
    work: tuple[np.ndarray, ...],
) -> None:
    xs, ws, k = work[:3]
    (scales, minima), top = values, fill(steps[0])
    rows, columns = x.shape[1], x.shape[2]
    for sub in range(len(x)):
        for left in range(0, columns, LANES):
            start, count = sub * rows * columns + left, rows * LANES
            gather(x, start, columns, xs[:count])
            gather(w, start, columns, ws[:count])
            known = xs, ws, count
            scale, least, kept, base = search_affine(known, _survey(known), steps, absolute, k)
            store(scale, scales, sub * columns + left)
            store(fill(-ONE) * least, minima, sub * columns + left)
            for r in range(rows):
                code = affine_code(vector(xs, r * LANES), kept, base, top)
                store_bytes(code, codes, start + r * columns)


def affine(
    x: np.ndarray,
    w: np.ndarray,
    steps: np.ndarray,
    absolute: bool,  # noqa: FBT001
    codes: np.ndarray,
    scale: np.ndarray,
    least: np.ndarray,
) -> None:
    """Call the compiled twin of `_ggml.k_search.affine`."""
    _affine(x, w, steps, absolute, codes, (scale, least), scratch())
