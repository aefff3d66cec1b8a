"""Errors of groups added up, compiled: the twin of `grokpack.kernels.group_errors`."""

from __future__ import annotations

from typing import Any

import numpy as np

from grokpack.kernels.compiled import compiled, inner
from grokpack.kernels.group_errors import (
    FIRST_QUARTER,
    FRACTION_BITS,
    HISTOGRAM_BINS,
    QUARTER_BITS,
)

_FRACTION = np.uint32((1 << FRACTION_BITS) - 1)
_LEADING = 1 << FRACTION_BITS
_SHIFT, _QUARTERS, _NOT_FINITE = (np.uint32(n) for n in (FRACTION_BITS, QUARTER_BITS, 255))


@compiled
def tally_groups(
    sums: np.ndarray,
    counts: np.ndarray,
    powers: np.ndarray,
    totals: np.ndarray,
    worst: np.ndarray,
    histogram: np.ndarray,
) -> None:
    """Compiled twin of `group_errors.tally_groups`."""
    _, groups, columns = sums.shape
    bits = sums.view(np.uint32)
    largest = worst[0]
    for g in range(groups):
        for column in range(columns):
            totals[0] += 1
            if not _add(bits[:, g, column], powers):
                totals[3] += 1
                continue
            totals[4] += counts[0, g, column]
            totals[5] += counts[1, g, column]
            signal, error = sums[0, g, column], sums[1, g, column]
            if signal == np.float32(0):
                totals[1] += 1
            elif error == np.float32(0):
                totals[2] += 1
            else:
                ratio = np.divide(error, signal)
                largest = max(largest, ratio)
                quarter: Any = np.int64(np.float32(ratio).view(np.uint32) >> _QUARTERS)
                histogram[min(max(quarter - FIRST_QUARTER + 1, 0), HISTOGRAM_BINS - 1)] += 1
    worst[0] = largest


@inner
def _add(bits: np.ndarray, powers: np.ndarray) -> bool:
    """Add the integers of three finite sums; return False if one is not finite."""
    for k in range(3):
        if (bits[k] >> _SHIFT) & _NOT_FINITE == _NOT_FINITE:
            return False
    for k in range(3):
        exponent: Any = np.int64((bits[k] >> _SHIFT) & _NOT_FINITE)
        mantissa: Any = np.int64(bits[k] & _FRACTION)
        if exponent > 0:
            mantissa += _LEADING
        powers[k, max(exponent, 1)] += -mantissa if bits[k] >> np.uint32(31) else mantissa
    return True
