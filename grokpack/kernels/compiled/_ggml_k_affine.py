# min and max treat NaN differently from these comparisons
"""Search for scale and minimum of K-quants, compiled: `grokpack.kernels._ggml_k_search.affine`.

Codes of the best trial are not kept: its multiplier and base are, and give them again.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.compiled._ggml_blocks_of_32 import ONE, ZERO, I, Scalar, pick
from grokpack.kernels.compiled._ggml_k_lanes import (
    BASE,
    BEST,
    FAR,
    FOUND,
    HIGH,
    KEPT,
    KEPT_SCALE,
    LEAST,
    LOW,
    SCALE,
    SUM,
    SUM_2,
    SUM_3,
    SUM_W,
    SUM_X,
    TRY,
    WIDTH,
    code,
    load,
    scratch,
)


@inner
def _survey(x: np.ndarray, w: np.ndarray, lanes: np.ndarray) -> None:
    """Find the range, and the weighted sums that no trial changes."""
    for c in range(WIDTH):
        lanes[LOW + c] = lanes[HIGH + c] = x[0, c]
        lanes[SUM_W + c] = lanes[SUM_X + c] = ZERO
    for r in range(len(x)):
        line, weights = x[r], w[r]
        for c in range(WIDTH):
            v, low, high = line[c], lanes[LOW + c], lanes[HIGH + c]
            lanes[LOW + c], lanes[HIGH + c] = pick(v < low, v, low), pick(v > high, v, high)
            lanes[SUM_W + c] += weights[c]
            lanes[SUM_X + c] += weights[c] * v
    for c in range(WIDTH):
        lanes[LOW + c] = pick(lanes[LOW + c] > ZERO, ZERO, lanes[LOW + c])


@inner
def _find_codes(
    x: np.ndarray, w: np.ndarray, top: Scalar, k: np.ndarray, lanes: np.ndarray
) -> None:
    """Make codes above LOW by TRY, with sums for least squares in SUM, SUM_2 and SUM_3."""
    for c in range(WIDTH):
        lanes[SUM + c] = lanes[SUM_2 + c] = lanes[SUM_3 + c] = ZERO
    for r in range(len(x)):
        line, weights, codes = x[r], w[r], k[r]
        for c in range(WIDTH):
            v = line[c]
            found = code(lanes[TRY + c] * (v - lanes[LOW + c]), I(0), top)
            codes[c] = found
            weighted = weights[c] * found
            lanes[SUM + c] += weighted
            lanes[SUM_2 + c] += weighted * found
            lanes[SUM_3 + c] += weighted * v


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
    for r in range(len(x)):
        line, weights, codes = x[r], w[r], k[r]
        for c in range(WIDTH):
            e = (lanes[SCALE + c] * codes[c] + lanes[LEAST + c]) - line[c]
            lanes[FOUND + c] += weights[c] * (abs(e) if absolute else e * e)


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
        lanes[BEST + c] = pick(better, lanes[FOUND + c], lanes[BEST + c])
        lanes[KEPT + c] = pick(better, lanes[TRY + c], lanes[KEPT + c])
        lanes[BASE + c] = pick(better, low, lanes[BASE + c])
        lanes[LOW + c] = pick(better, lanes[LEAST + c], low)
        lanes[KEPT_SCALE + c] = pick(better, lanes[SCALE + c], lanes[KEPT_SCALE + c])


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
    top = I(steps[0])
    _survey(x, w, lanes)
    for c in range(WIDTH):
        low, high = lanes[LOW + c], lanes[HIGH + c]
        multiplier = np.divide(steps[0], high - low)
        lanes[TRY + c] = lanes[KEPT + c] = ZERO if high == low else multiplier
        lanes[SCALE + c] = lanes[KEPT_SCALE + c] = (
            ZERO if high == low else np.divide(ONE, multiplier)
        )
        lanes[BASE + c] = lanes[LEAST + c] = low
    _find_codes(x, w, top, k, lanes)
    _find_error(x, w, absolute, k, lanes)
    for c in range(WIDTH):
        lanes[BEST + c] = -ONE if lanes[HIGH + c] == lanes[LOW + c] else lanes[FOUND + c]
    for step in steps[1:]:
        for c in range(WIDTH):
            lanes[TRY + c] = np.divide(step, lanes[HIGH + c] - lanes[LOW + c])
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
            _search(xs[:rows], ws[:rows], steps, absolute, k, lanes)
            for r in range(rows):
                for c in range(width):
                    y = lanes[KEPT + c] * (xs[r, c] - lanes[BASE + c])
                    codes[sub, r, left + c] = np.int8(code(y, I(0), I(steps[0])))
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
