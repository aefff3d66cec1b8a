# min and max treat NaN differently from these comparisons
"""Searches for K-quants and IQ4, compiled: twins of `grokpack.kernels._ggml.k_search`.

Those here work on strips of 64 columns (lanes) of one sub-block, which is copied first.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels._ggml import k_search as spec
from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._ggml.blocks_of_32 import ONE, ZERO, F, I, Scalar, pick
from grokpack.kernels.compiled._ggml.k_affine import affine
from grokpack.kernels.compiled._ggml.k_arrays import (
    farthest,
    join_fields,
    load_block,
    measure,
    place,
    requantize,
    source_of,
    weigh_sizes,
    weigh_squares,
)
from grokpack.kernels.compiled._ggml.k_lanes import (
    BEST,
    FAR,
    FOUR,
    KEPT,
    NEXT,
    NEXT_2,
    NEXT_3,
    ROWS,
    SCALE,
    SUM,
    SUM_2,
    TRY,
    WIDTH,
    find_farthest,
    load,
    scratch,
)
from grokpack.kernels.compiled._ggml.k_symmetric import descent, symmetric

__all__ = [
    "affine",
    "descent",
    "farthest",
    "join_fields",
    "level_codes",
    "levels",
    "load_block",
    "measure",
    "place",
    "positive",
    "requantize",
    "source_of",
    "symmetric",
    "weigh_sizes",
    "weigh_squares",
]
_TINY, _TRIES = F(spec.TINY), spec.TRIES
_LEVELS, _MIDDLES, _FIRST = spec.LEVELS, spec.MIDDLES, F(spec.LEVELS[0])


@inner
def _keep_larger(lanes: np.ndarray) -> None:
    """Keep the trial in columns where it removes more of the squares."""
    for c in range(WIDTH):
        sum_lx, sum_l2, best = lanes[SUM + c], lanes[SUM_2 + c], lanes[BEST + c]
        better = (sum_l2 > ZERO) & (sum_lx * sum_lx > best * sum_l2)
        scale = pick(better, np.divide(sum_lx, sum_l2), lanes[SCALE + c])
        lanes[NEXT + c] = pick(better, lanes[TRY + c], lanes[KEPT + c])
        lanes[NEXT_2 + c], lanes[NEXT_3 + c] = scale, pick(better, scale * sum_lx, best)
    for c in range(WIDTH):
        lanes[KEPT + c], lanes[SCALE + c] = lanes[NEXT + c], lanes[NEXT_2 + c]
        lanes[BEST + c] = lanes[NEXT_3 + c]


@inner
def _put_scales(lanes: np.ndarray, scale: np.ndarray) -> None:
    """Store the scales of a strip; 0 where all weights are zero."""
    for c in range(len(scale)):
        scale[c] = ZERO if abs(lanes[FAR + c]) < _TINY else lanes[SCALE + c]


positive = spec.positive
"""There is one value for 16 or 32 weights: numpy is fast enough."""


@inner
def _level(y: Scalar) -> Scalar:
    """Return the nearest level; of NaN the last."""
    q = F(_LEVELS[15])
    for n in range(15):
        q = F(_LEVELS[14 - n]) if y < _MIDDLES[14 - n] else q
    return q


@inner
def _level_sums(x: np.ndarray, w: np.ndarray, lanes: np.ndarray) -> None:
    """Sum products of weights and levels by TRY in SUM, of levels and levels in SUM_2."""
    for c in range(WIDTH):
        lanes[SUM + c] = lanes[SUM_2 + c] = ZERO
    for at in range(0, len(x), FOUR):
        rows, weights = x[at : at + FOUR], w[at : at + FOUR]
        for c in range(WIDTH):
            multiplier, sum_qx, sum_q2 = lanes[TRY + c], lanes[SUM + c], lanes[SUM_2 + c]
            for i in range(ROWS):
                v, weight = rows[i * WIDTH + c], weights[i * WIDTH + c]
                q = _level(multiplier * v)
                sum_qx += weight * q * v
                sum_q2 += weight * q * q
            lanes[SUM + c], lanes[SUM_2 + c] = sum_qx, sum_q2


@compiled
def _search_levels(
    x: np.ndarray, w: np.ndarray, scale: np.ndarray, work: tuple[np.ndarray, ...]
) -> None:
    xs, ws, lanes = work[0], work[1], work[4]
    count = x.shape[1] * WIDTH
    for sub in range(len(x)):
        for left in range(0, x.shape[2], WIDTH):
            right = left + load(x[sub], left, xs)
            load(w[sub], left, ws)
            find_farthest(xs[:count], lanes)
            for c in range(WIDTH):
                lanes[TRY + c] = np.divide(ONE, np.divide(-lanes[FAR + c], _FIRST))
            _level_sums(xs[:count], ws[:count], lanes)
            for c in range(WIDTH):
                sum_qx, sum_q2 = lanes[SUM + c], lanes[SUM_2 + c]
                lanes[SCALE + c] = np.divide(sum_qx, sum_q2) if sum_q2 > ZERO else ZERO
                lanes[BEST + c] = lanes[SCALE + c] * sum_qx
            for move in range(-_TRIES, _TRIES + 1):
                for c in range(WIDTH):
                    lanes[TRY + c] = np.divide(F(move) + _FIRST, lanes[FAR + c])
                _level_sums(xs[:count], ws[:count], lanes)
                _keep_larger(lanes)
            _put_scales(lanes, scale[sub, left:right])


def levels(x: np.ndarray, w: np.ndarray, scale: np.ndarray) -> None:
    """Call the compiled twin of `_ggml.k_search.levels`."""
    _search_levels(x, w, scale, scratch())


@compiled
def level_codes(x: np.ndarray, multiplier: np.ndarray, codes: np.ndarray) -> None:
    """Compiled twin of `_ggml.k_search.level_codes`."""
    for sub in range(len(x)):
        for r in range(x.shape[1]):
            for c in range(x.shape[2]):
                y = multiplier[sub, c] * x[sub, r, c]
                found = I(15)
                for n in range(15):
                    found = I(14 - n) if y < _MIDDLES[14 - n] else found
                codes[sub, r, c] = np.int8(found)
