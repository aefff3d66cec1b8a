# min and max treat NaN differently from these comparisons
"""Search for scale and minimum of K-quants, compiled: `grokpack.kernels._ggml_k_search.affine`.

Codes of the best trial are not kept: its multiplier and base are, and give them again.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._ggml_blocks_of_32 import (
    INFINITE,
    MAGIC,
    ONE,
    ZERO,
    Scalar,
    pick,
)
from grokpack.kernels.compiled._ggml_k_lanes import (
    BASE,
    BEST,
    FAR,
    FOUND,
    FOUR,
    HIGH,
    KEPT,
    KEPT_SCALE,
    LEAST,
    LOW,
    NEXT,
    NEXT_2,
    NEXT_3,
    NEXT_4,
    NEXT_5,
    ROWS,
    SCALE,
    SUM,
    SUM_2,
    SUM_3,
    SUM_W,
    SUM_X,
    TRY,
    WIDTH,
    load,
    scratch,
)


@inner
def _survey(x: np.ndarray, w: np.ndarray, lanes: np.ndarray) -> None:
    """Find the range, and the weighted sums that no trial changes."""
    for c in range(WIDTH):
        lanes[LOW + c] = lanes[HIGH + c] = x[c]
        lanes[SUM_W + c] = lanes[SUM_X + c] = ZERO
    for at in range(0, len(x), FOUR):
        rows, weights = x[at : at + FOUR], w[at : at + FOUR]
        for c in range(WIDTH):
            low, high = lanes[LOW + c], lanes[HIGH + c]
            sum_w, sum_x = lanes[SUM_W + c], lanes[SUM_X + c]
            for i in range(ROWS):
                v, weight = rows[i * WIDTH + c], weights[i * WIDTH + c]
                low, high = pick(v < low, v, low), pick(v > high, v, high)
                sum_w += weight
                sum_x += weight * v
            lanes[LOW + c], lanes[HIGH + c] = low, high
            lanes[SUM_W + c], lanes[SUM_X + c] = sum_w, sum_x
    for c in range(WIDTH):
        lanes[LOW + c] = pick(lanes[LOW + c] > ZERO, ZERO, lanes[LOW + c])


@inner
def _code(y: Scalar, top: Scalar) -> Scalar:
    """Round to a code from 0 on; NaN becomes 0."""
    whole = (y + MAGIC) - MAGIC
    whole = max(ZERO, whole)
    return min(top, whole)


@inner
def _multiplier(steps: Scalar, span: Scalar) -> Scalar:
    """Return steps per unit of a range; 0 where they are infinitely many.

    ggml's `nearest_int` makes code 0 of infinity.
    """
    found = np.divide(steps, span)
    return found if abs(found) < INFINITE else ZERO


@inner
def _find_codes(
    x: np.ndarray, w: np.ndarray, top: Scalar, k: np.ndarray, lanes: np.ndarray
) -> None:
    """Make codes above LOW by TRY, with sums for least squares in SUM, SUM_2 and SUM_3."""
    for c in range(WIDTH):
        lanes[SUM + c] = lanes[SUM_2 + c] = lanes[SUM_3 + c] = ZERO
    for at in range(0, len(x), FOUR):
        rows, weights, codes = x[at : at + FOUR], w[at : at + FOUR], k[at : at + FOUR]
        for c in range(WIDTH):
            multiplier, low = lanes[TRY + c], lanes[LOW + c]
            sum_l, sum_l2, sum_xl = lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c]
            for i in range(ROWS):
                v = rows[i * WIDTH + c]
                found = _code(multiplier * (v - low), top)
                codes[i * WIDTH + c] = found
                weighted = weights[i * WIDTH + c] * found
                sum_l += weighted
                sum_l2 += weighted * found
                sum_xl += weighted * v
            lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c] = sum_l, sum_l2, sum_xl


@inner
def _find_error(
    x: np.ndarray,
    w: np.ndarray,
    absolute: bool,  # noqa: FBT001
    k: np.ndarray,
    lanes: np.ndarray,
) -> None:
    """Sum the weighted error of codes with SCALE and LEAST in FOUND."""
    for c in range(WIDTH):
        lanes[FOUND + c] = ZERO
    for at in range(0, len(x), FOUR):
        rows, weights, codes = x[at : at + FOUR], w[at : at + FOUR], k[at : at + FOUR]
        for c in range(WIDTH):
            scale, least, found = lanes[SCALE + c], lanes[LEAST + c], lanes[FOUND + c]
            for i in range(ROWS):
                e = (scale * codes[i * WIDTH + c] + least) - rows[i * WIDTH + c]
                found += weights[i * WIDTH + c] * (abs(e) if absolute else e * e)
            lanes[FOUND + c] = found


@inner
def _regress(lanes: np.ndarray) -> None:
    """Solve the least squares for SCALE and LEAST; HIGH is kept, FAR receives the determinant."""
    for c in range(WIDTH):
        sum_l, sum_l2, sum_xl = lanes[SUM + c], lanes[SUM_2 + c], lanes[SUM_3 + c]
        sum_w, sum_x = lanes[SUM_W + c], lanes[SUM_X + c]
        det = sum_w * sum_l2 - sum_l * sum_l
        this = np.divide(sum_w * sum_xl - sum_x * sum_l, det)
        least = np.divide(sum_l2 * sum_x - sum_l * sum_xl, det)
        above = least > ZERO
        lanes[SCALE + c] = np.divide(sum_xl, sum_l2) if above else this
        lanes[LEAST + c] = ZERO if above else least
        lanes[FAR + c] = det


@inner
def _keep_better(lanes: np.ndarray) -> None:
    """Keep the trial in columns where it has less weighted error."""
    for c in range(WIDTH):
        better = (lanes[FAR + c] > ZERO) & (lanes[FOUND + c] < lanes[BEST + c])
        low = lanes[LOW + c]
        lanes[NEXT + c] = pick(better, lanes[FOUND + c], lanes[BEST + c])
        lanes[NEXT_2 + c] = pick(better, lanes[TRY + c], lanes[KEPT + c])
        lanes[NEXT_3 + c] = pick(better, low, lanes[BASE + c])
        lanes[NEXT_4 + c] = pick(better, lanes[LEAST + c], low)
        lanes[NEXT_5 + c] = pick(better, lanes[SCALE + c], lanes[KEPT_SCALE + c])
    for c in range(WIDTH):
        lanes[BEST + c], lanes[KEPT + c] = lanes[NEXT + c], lanes[NEXT_2 + c]
        lanes[BASE + c], lanes[LOW + c] = lanes[NEXT_3 + c], lanes[NEXT_4 + c]
        lanes[KEPT_SCALE + c] = lanes[NEXT_5 + c]


@inner
def _search(
    x: np.ndarray,
    w: np.ndarray,
    steps: np.ndarray,
    absolute: bool,  # noqa: FBT001
    k: np.ndarray,
    lanes: np.ndarray,
) -> None:
    """Leave what gives the best codes in KEPT and BASE, scale and minimum in KEPT_SCALE and LOW."""
    top = steps[0]
    _survey(x, w, lanes)
    for c in range(WIDTH):
        low, high = lanes[LOW + c], lanes[HIGH + c]
        multiplier = ZERO if high == low else _multiplier(top, high - low)
        lanes[TRY + c] = lanes[KEPT + c] = multiplier
        lanes[SCALE + c] = lanes[KEPT_SCALE + c] = (
            ZERO if high == low else np.divide(ONE, np.divide(top, high - low))
        )
        lanes[BASE + c] = lanes[LEAST + c] = low
    _find_codes(x, w, top, k, lanes)
    _find_error(x, w, absolute, k, lanes)
    for c in range(WIDTH):
        lanes[BEST + c] = -ONE if lanes[HIGH + c] == lanes[LOW + c] else lanes[FOUND + c]
    for step in steps[1:]:
        for c in range(WIDTH):
            lanes[TRY + c] = _multiplier(step, lanes[HIGH + c] - lanes[LOW + c])
        _find_codes(x, w, top, k, lanes)
        _regress(lanes)
        _find_error(x, w, absolute, k, lanes)
        _keep_better(lanes)


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
    xs, ws, k, lanes = work
    rows, (scale, least) = x.shape[1], values
    for sub in range(len(x)):
        for left in range(0, x.shape[2], WIDTH):
            width = load(x[sub], left, xs)
            load(w[sub], left, ws)
            _search(xs[: rows * WIDTH], ws[: rows * WIDTH], steps, absolute, k, lanes)
            for r in range(rows):
                for c in range(width):
                    y = lanes[KEPT + c] * (xs[r * WIDTH + c] - lanes[BASE + c])
                    codes[sub, r, left + c] = np.int8(_code(y, steps[0]))
            for c in range(width):
                scale[sub, left + c], least[sub, left + c] = lanes[KEPT_SCALE + c], -lanes[LOW + c]


def affine(
    x: np.ndarray,
    w: np.ndarray,
    steps: np.ndarray,
    absolute: bool,  # noqa: FBT001
    codes: np.ndarray,
    scale: np.ndarray,
    least: np.ndarray,
) -> None:
    """Call the compiled twin of `_ggml_k_search.affine`."""
    _affine(x, w, steps, absolute, codes, (scale, least), scratch())
