"""Searches for the scales of K-quants and IQ4: ggml's, with errors that are weighted.

Arrays are `f32[sub-block, weight, column]` for weights `x` and what their errors count `w`, and
`f32[sub-block, column]` for scales. Results are written into arrays that the caller gives.
Arithmetic is float32 in the order of ggml-quants.c; what it makes of infinities is kept as well.
The compiled twins are in `kernels.compiled._ggml.k_search`.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels._ggml.blocks_of_32 import farthest, in_order, nearest
from grokpack.kernels._ggml.k_arrays import (
    join_fields,
    load_block,
    measure,
    place,
    requantize,
    source_of,
    weigh_sizes,
    weigh_squares,
)

__all__ = [
    "LEVELS",
    "MIDDLES",
    "OFFSETS",
    "PASSES",
    "SHIFTS",
    "TINY",
    "TRIES",
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
TINY = np.float32(1e-15)
"""Below this a sub-block counts as zero; ggml-quants.c: GROUP_MAX_EPS."""
LEVELS = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)
"""Values of the sixteen codes of IQ4; ggml-common.h: kvalues_iq4nl."""
MIDDLES = (LEVELS[1:] + LEVELS[:-1]) / 2
"""From each of these on, a value is nearer to the next level."""
OFFSETS = np.array([n for n in range(-9, 10) if n], np.float32) * np.float32(0.1)
"""Summands of the number of steps in a sub-block's range, try by try."""
SHIFTS = np.array([n for n in range(-4, 5) if n], np.float32) * np.float32(0.1)
"""Summands of the largest number, likewise."""
PASSES = 5
"""Times that each code in turn is moved to where it fits best."""
TRIES = 7
"""Levels that the farthest value of an IQ4 sub-block may be away from the last."""


def _codes(y: np.ndarray, low: int, high: int) -> np.ndarray:
    """Round to codes within bounds, as float32."""
    made: np.ndarray = np.clip(nearest(y), low, high).astype(np.float32)
    return made


def _rows(values: np.ndarray) -> np.ndarray:
    """Lay values of sub-blocks against their weights: `f32[sub-block, 1, column]`."""
    return values[:, None]


def _farthest(x: np.ndarray) -> np.ndarray:
    """Return the first value of largest magnitude, with its sign; skip NaN."""
    far = np.zeros((len(x), x.shape[2]), np.float32)
    for row in np.moveaxis(x, 1, 0):
        far = np.where(np.abs(row) > np.abs(far), row, far)
    return far


def affine(
    x: np.ndarray,
    w: np.ndarray,
    steps: np.ndarray,
    absolute: bool,  # noqa: FBT001
    codes: np.ndarray,
    scale: np.ndarray,
    least: np.ndarray,
) -> None:
    """Search scale and minimum of codes from 0 on: `make_qkx2_quants` and `make_qkx3_quants`.

    Args:
        x: Weights.
        w: What their errors count.
        steps: Numbers of steps in a sub-block's range: the largest code, then those to be tried.
        absolute: True to minimize absolute instead of squared errors.
        codes: Receives codes, `i8`.
        scale: Receives scales.
        least: Receives minima, negated.
    """
    top = int(steps[0])

    def error(k: np.ndarray, d: np.ndarray, m: np.ndarray) -> np.ndarray:
        e = (_rows(d) * k + _rows(m)) - x
        return in_order(w * (np.abs(e) if absolute else e * e))

    low, high = x[:, 0], x[:, 0]
    for row in np.moveaxis(x, 1, 0)[1:]:
        low, high = np.where(row < low, row, low), np.where(row > high, row, high)
    low = np.where(low > 0, np.float32(0), low)
    sum_w, sum_x = in_order(w), in_order(w * x)
    flat = high == low
    multiplier = steps[0] / (high - low)
    d = np.where(flat, np.float32(0), np.float32(1) / multiplier)
    kept = np.where(
        _rows(flat), np.float32(0), _codes(_rows(multiplier) * (x - _rows(low)), 0, top)
    )
    best = np.where(flat, np.float32(-1), error(kept, d, low))
    for step in steps[1:]:
        k = _codes(_rows(step / (high - low)) * (x - _rows(low)), 0, top)
        wk = w * k
        sum_l, sum_l2, sum_xl = in_order(wk), in_order(wk * k), in_order(wk * x)
        det = sum_w * sum_l2 - sum_l * sum_l
        this = (sum_w * sum_xl - sum_x * sum_l) / det
        m = (sum_l2 * sum_x - sum_l * sum_xl) / det
        above = m > 0
        this, m = np.where(above, sum_xl / sum_l2, this), np.where(above, np.float32(0), m)
        found = error(k, this, m)
        better = (det > 0) & (found < best)
        kept, best = np.where(_rows(better), k, kept), np.where(better, found, best)
        d, low = np.where(better, this, d), np.where(better, m, low)
    codes[...], scale[...], least[...] = kept, d, -low


def symmetric(x: np.ndarray, w: np.ndarray, top: int, codes: np.ndarray, scale: np.ndarray) -> None:
    """Search the scale of codes around `top`, from 0 to `2 * top - 1`: `make_qx_quants`.

    Args:
        x: Weights.
        w: What their squared errors count.
        top: The code of zero.
        codes: Receives codes, `i8`; 0 throughout a sub-block of zeros.
        scale: Receives scales, of either sign.
    """
    far = _farthest(x)

    def tried(steps: np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        k = _codes(_rows(-steps / far) * x, -top, top - 1)
        return k, in_order(w * x * k), in_order(w * k * k)

    kept, sum_lx, sum_l2 = tried(np.float32(top))
    d = np.where(sum_l2 != 0, sum_lx / sum_l2, np.float32(0))
    best = d * sum_lx
    for offset in OFFSETS:
        k, sum_lx, sum_l2 = tried(np.float32(top) + offset)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        kept, d = np.where(_rows(better), k, kept), np.where(better, sum_lx / sum_l2, d)
        best = np.where(better, d * sum_lx, best)
    zero = np.abs(far) < TINY
    codes[...] = np.where(_rows(zero), 0, kept + top)
    scale[...] = np.where(zero, np.float32(0), d)


def descent(x: np.ndarray, top: int, codes: np.ndarray, scale: np.ndarray) -> None:
    """Move codes around `top` one by one, from those of the farthest weight: `make_q3_quants`.

    Args:
        x: Weights; a squared error counts as their square.
        top: The code of zero.
        codes: Receives codes, `i8`; 0 throughout a sub-block of zeros.
        scale: Receives scales, of either sign.
    """
    far, w = _farthest(x), x * x
    k = _codes(_rows(np.float32(-top) / far) * x, -top, top - 1)
    sum_lx, sum_l2 = in_order(w * x * k), in_order(w * k * k)
    for _ in range(PASSES):
        for row in range(x.shape[1]):
            own, weight, code = x[:, row], w[:, row], k[:, row]
            lx, l2 = sum_lx - weight * own * code, sum_l2 - weight * code * code
            moved = _codes(own * l2 / lx, -top, top - 1)
            new_lx, new_l2 = lx + weight * own * moved, l2 + weight * moved * moved
            better = (lx > 0) & (moved != code) & (new_l2 > 0)
            better &= new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2
            k[:, row] = np.where(better, moved, code)
            sum_lx, sum_l2 = np.where(better, new_lx, sum_lx), np.where(better, new_l2, sum_l2)
    zero = np.abs(far) < TINY
    codes[...] = np.where(_rows(zero), 0, k + top)
    scale[...] = np.where(zero | ~(sum_l2 > 0), np.float32(0), sum_lx / sum_l2)


def positive(
    values: np.ndarray, w: np.ndarray, top: int, numbers: np.ndarray, step: np.ndarray
) -> None:
    """Search the step of numbers from 0 to `top` for scales or minima: `make_qp_quants`.

    Args:
        values: Scales or minima, `f32[sub-block, column]`.
        w: What their squared errors count.
        top: The largest number.
        numbers: Receives numbers, `u8[sub-block, column]`.
        step: Receives steps, `f32[column]`.
    """
    largest = np.zeros(values.shape[1], np.float32)
    for row in values:
        largest = np.where(largest > row, largest, row)
    multiplier = np.float32(top) / largest
    k = (nearest(multiplier * values) & 255).astype(np.float32)
    e = values - np.float32(1) / multiplier * k
    best = in_order(w * e * e)
    for shift in SHIFTS:
        this = (shift + np.float32(top)) / largest
        e = values - np.float32(1) / this * np.minimum(nearest(this * values), top).astype(
            np.float32
        )
        found = in_order(w * e * e)
        better = found < best
        best, multiplier = np.where(better, found, best), np.where(better, this, multiplier)
    k = np.minimum(nearest(multiplier * values), top).astype(np.float32)
    sum_lx, sum_l2 = in_order(w * values * k), in_order(w * k * k)
    kept = k.astype(np.int32).astype(np.uint8)
    for _ in range(PASSES):
        for row, (own, weight) in enumerate(zip(values, w, strict=True)):
            code = kept[row].astype(np.float32)
            lx, l2 = sum_lx - weight * own * code, sum_l2 - weight * code * code
            moved = np.minimum(nearest(own * l2 / lx), top).astype(np.float32)
            new_lx, new_l2 = lx + weight * own * moved, l2 + weight * moved * moved
            better = (lx > 0) & (l2 > 0) & (moved != code)
            better &= new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2
            kept[row] = np.where(better, moved.astype(np.int32).astype(np.uint8), kept[row])
            sum_lx, sum_l2 = np.where(better, new_lx, sum_lx), np.where(better, new_l2, sum_l2)
    zero = largest < TINY
    numbers[...] = np.where(zero, np.uint8(0), kept)
    step[...] = np.where(zero | ~(sum_l2 > 0), np.float32(0), sum_lx / sum_l2)


def levels(x: np.ndarray, w: np.ndarray, scale: np.ndarray) -> None:
    """Search the scale of IQ4's levels: `quantize_row_iq4_nl_impl`.

    Args:
        x: Weights.
        w: What their squared errors count.
        scale: Receives scales, of either sign.
    """
    far = _farthest(x)

    def tried(multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        q = LEVELS[_nearest_levels(x, multiplier)]
        return in_order(w * q * x), in_order(w * q * q)

    sum_qx, sum_q2 = tried(np.float32(1) / (-far / LEVELS[0]))
    d = np.where(sum_q2 > 0, sum_qx / sum_q2, np.float32(0))
    best = d * sum_qx
    for move in range(-TRIES, TRIES + 1):
        sum_qx, sum_q2 = tried((np.float32(move) + LEVELS[0]) / far)
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        d = np.where(better, sum_qx / sum_q2, d)
        best = np.where(better, d * sum_qx, best)
    scale[...] = np.where(np.abs(far) < TINY, np.float32(0), d)


def _nearest_levels(x: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """Return the codes of the nearest levels, `i64`; NaN becomes the last."""
    made: np.ndarray = np.searchsorted(MIDDLES, _rows(multiplier) * x, side="right")
    return made


def level_codes(x: np.ndarray, multiplier: np.ndarray, codes: np.ndarray) -> None:
    """Fill codes `i8` of the levels nearest to `multiplier * x`."""
    codes[...] = _nearest_levels(x, multiplier)
