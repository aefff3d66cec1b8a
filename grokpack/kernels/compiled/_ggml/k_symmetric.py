"""Searches for the scale of codes around zero, compiled.

They are the twins of `symmetric` and `descent` of `grokpack.kernels._ggml.k_search`. Codes of the
best trial are not kept: its multiplier is, and gives them again.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from grokpack.kernels._ggml import k_search as spec
from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._ggml.blocks_of_32 import ONE, ZERO, F, Scalar
from grokpack.kernels.compiled._ggml.k_lanes import scratch
from grokpack.kernels.compiled._vectors.float_vectors import (
    LANES,
    Floats,
    Mask,
    all_of,
    any_of,
    choose,
    clip,
    fill,
    gather,
    keep_rolled,
    magnitude,
    nearest_by_bits,
    rounded,
    store,
    store_bytes,
    vector,
)

Weights: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Weights of a sub-block in rows of a vector, what their errors count, and the products of both."""
Bounds: TypeAlias = tuple[Floats, Floats]
"""Least and largest code."""
_TINY, _PASSES, _OFFSETS = F(spec.TINY), spec.PASSES, spec.OFFSETS


@inner
def _find_farthest(x: np.ndarray) -> tuple[Floats, Mask]:
    """Find the first value of largest magnitude; skip NaN. The mask is True if all are finite."""
    far = rest = fill(ZERO)
    for at in range(0, len(x), LANES):
        v = vector(x, at)
        far = choose(magnitude(v) > magnitude(far), v, far)
        rest += v - v
    return far, rest == fill(ZERO)


@inner
def _code(y: Floats, bounds: Bounds) -> Floats:
    """Round to a code within bounds; NaN becomes 0."""
    return clip(choose(y == y, rounded(y), fill(ZERO)), *bounds)  # noqa: PLR0124  # false for NaN


@inner
def _sum(known: Weights, multiplier: Floats, bounds: Bounds, sound: bool) -> tuple[Floats, Floats]:  # noqa: FBT001
    """Sum products of weights and codes, and of codes and codes; `sound` excludes NaN."""
    x, w, wx = known
    sum_lx = sum_l2 = fill(ZERO)
    for at in range(0, len(x), LANES):
        y = multiplier * vector(x, at)
        k = clip(rounded(y), *bounds) if sound else _code(y, bounds)
        sum_lx += vector(wx, at) * k
        sum_l2 += vector(w, at) * k * k
        keep_rolled()
    return sum_lx, sum_l2


@inner
def _search_symmetric(known: Weights, top: Scalar) -> tuple[Floats, Floats, Floats]:
    """Run `make_qx_quants` for the columns of a vector.

    Returns:
        The farthest weight, the scale, and the multiplier that gives the codes.
    """
    bounds, zero = (fill(-top), fill(top - ONE)), fill(ZERO)
    far, finite = _find_farthest(known[0])
    sound = all_of(finite & (magnitude(far) > fill(_TINY)))
    kept = fill(-top) / far
    sum_lx, sum_l2 = _sum(known, kept, bounds, sound)
    scale = choose(sum_l2 == zero, zero, sum_lx / sum_l2)
    best = scale * sum_lx
    for offset in _OFFSETS:
        multiplier = fill(-(top + offset)) / far
        sum_lx, sum_l2 = _sum(known, multiplier, bounds, sound)
        better = (sum_l2 > zero) & (sum_lx * sum_lx > best * sum_l2)
        kept, scale = choose(better, multiplier, kept), choose(better, sum_lx / sum_l2, scale)
        best = choose(better, scale * sum_lx, best)
    return far, scale, kept


@inner
def _multiply(x: np.ndarray, w: np.ndarray, to: np.ndarray) -> None:
    for at in range(0, len(x), LANES):
        store(vector(w, at) * vector(x, at), to, at)


@compiled
def _symmetric(
    x: np.ndarray,
    w: np.ndarray,
    top: Scalar,
    codes: np.ndarray,
    scales: np.ndarray,
    work: tuple[np.ndarray, ...],
) -> None:
    rows, columns, zero = x.shape[1], x.shape[2], fill(ZERO)
    xs, ws, products = work[0][: rows * LANES], work[1][: rows * LANES], work[2][: rows * LANES]
    for sub in range(len(x)):
        for left in range(0, columns, LANES):
            start = sub * rows * columns + left
            gather(x, start, columns, xs)
            gather(w, start, columns, ws)
            _multiply(xs, ws, products)
            far, scale, kept = _search_symmetric((xs, ws, products), top)
            empty = magnitude(far) < fill(_TINY)
            store(choose(empty, zero, scale), scales, sub * columns + left)
            for r in range(rows):
                k = _code(kept * vector(xs, r * LANES), (fill(-top), fill(top - ONE)))
                store_bytes(choose(empty, zero, k + fill(top)), codes, start + r * columns)


def symmetric(x: np.ndarray, w: np.ndarray, top: int, codes: np.ndarray, scale: np.ndarray) -> None:
    """Call the compiled twin of `_ggml.k_search.symmetric`."""
    _symmetric(x, w, F(top), codes, scale, scratch())


@inner
def _move(
    known: Weights, k: np.ndarray, bounds: Bounds, sums: tuple[Floats, Floats]
) -> tuple[Floats, Floats, Mask]:
    """Move each code in turn; return the sums, and where some code was moved."""
    x, w, wx = known
    sum_lx, sum_l2 = sums
    zero, one = fill(ZERO), fill(ONE)
    changed = zero > one
    for at in range(0, len(x), LANES):
        v, weight, product, own = vector(x, at), vector(w, at), vector(wx, at), vector(k, at)
        lx, l2 = sum_lx - product * own, sum_l2 - weight * own * own
        y = v * l2 / lx
        moved = clip(choose(y == y, nearest_by_bits(y), zero), *bounds)  # noqa: PLR0124  # as above
        new_lx, new_l2 = lx + product * moved, l2 + weight * moved * moved
        better = (lx > zero) & (moved != own) & (new_l2 > zero)
        better &= new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2
        store(choose(better, moved, own), k, at)
        sum_lx, sum_l2 = choose(better, new_lx, sum_lx), choose(better, new_l2, sum_l2)
        changed |= better
    return sum_lx, sum_l2, changed


@inner
def _search_descent(known: Weights, k: np.ndarray, top: Scalar) -> tuple[Floats, Floats]:
    """Run `make_q3_quants` for the columns of a vector; return the farthest weight and scale."""
    x, w, wx = known
    bounds, zero = (fill(-top), fill(top - ONE)), fill(ZERO)
    far, _finite = _find_farthest(x)
    multiplier = fill(-top) / far
    sum_lx = sum_l2 = zero
    for at in range(0, len(x), LANES):
        v = vector(x, at)
        own, weight = _code(multiplier * v, bounds), v * v
        store(own, k, at)
        store(weight, w, at)
        store(weight * v, wx, at)
        sum_lx += weight * v * own
        sum_l2 += weight * own * own
    for _ in range(_PASSES):
        sum_lx, sum_l2, changed = _move(known, k, bounds, (sum_lx, sum_l2))
        if not any_of(changed):
            break
    return far, choose(sum_l2 > zero, sum_lx / sum_l2, zero)


@compiled
def _descent(
    x: np.ndarray,
    top: Scalar,
    codes: np.ndarray,
    scales: np.ndarray,
    work: tuple[np.ndarray, ...],
) -> None:
    rows, columns, zero = x.shape[1], x.shape[2], fill(ZERO)
    count = rows * LANES
    xs, ws, products, k = work[0][:count], work[1][:count], work[2][:count], work[3][:count]
    for sub in range(len(x)):
        for left in range(0, columns, LANES):
            start = sub * rows * columns + left
            gather(x, start, columns, xs)
            far, scale = _search_descent((xs, ws, products), k, top)
            empty = magnitude(far) < fill(_TINY)
            store(choose(empty, zero, scale), scales, sub * columns + left)
            for r in range(rows):
                code = vector(k, r * LANES) + fill(top)
                store_bytes(choose(empty, zero, code), codes, start + r * columns)


def descent(x: np.ndarray, top: int, codes: np.ndarray, scale: np.ndarray) -> None:
    """Call the compiled twin of `_ggml.k_search.descent`."""
    _descent(x, F(top), codes, scale, scratch())
