"""Errors of groups of quantized weights, added up exactly."""

from __future__ import annotations

import numpy as np

OCTAVES = (-32, 4)
HISTOGRAM_BINS = 4 * (OCTAVES[1] - OCTAVES[0]) + 2
"""Bins of a ratio: below the octaves, four in each, and beyond them."""
HISTOGRAM_EDGES = (
    0.0,
    *(2.0**k * (1 + n / 4) for k in range(*OCTAVES) for n in range(4)),
    2.0 ** OCTAVES[1],
    float("inf"),
)
"""Start of bin i and, in the next element, its end."""

FRACTION_BITS = 23
QUARTER_BITS = 21  # bits of float32 below those that count quarters of an octave
FIRST_QUARTER = 4 * (127 + OCTAVES[0])
_NOT_FINITE = 255


def tally_groups(
    sums: np.ndarray,
    counts: np.ndarray,
    powers: np.ndarray,
    totals: np.ndarray,
    worst: np.ndarray,
    histogram: np.ndarray,
) -> None:
    """Add up the errors of groups exactly, so that order and partition do not matter.

    A float32 is m * 2**(max(e, 1) - 150) with the biased exponent e of its bits; for each e there
    is one sum of the integers m, which are below 2**24: 2**39 groups fit.

    Args:
        sums: `f32[3, group, column]`, as kernels that quantize fill them.
        counts: `i32[2, group, column]`.
        powers: `i64[3, 256]`, for each of the sums its m by max(e, 1); signed for the third.
        totals: `i64[6]`: groups, those whose sum of x*x is zero, those without error among the
            others, those with a sum that is not finite, which are in nothing else, codes at an end,
            and values that became zero.
        worst: `f32[1]`, largest ratio of the sums of e*e and x*x.
        histogram: `i64[HISTOGRAM_BINS]` of the ratios, without zero groups and groups without
            error.
    """
    flat = sums.reshape(3, -1)
    finite = np.isfinite(flat).all(axis=0)
    kept = flat[:, finite]
    for row, values in zip(powers, kept, strict=True):
        bits = values.view(np.uint32)
        exponents = (bits >> FRACTION_BITS) & _NOT_FINITE
        fractions = (bits & ((1 << FRACTION_BITS) - 1)).astype(np.int64)
        mantissas = fractions + ((exponents > 0).astype(np.int64) << FRACTION_BITS)
        np.add.at(row, np.maximum(exponents, 1), np.where(values < 0, -mantissas, mantissas))
    some = kept[0] > 0
    with np.errstate(over="ignore", under="ignore"):
        ratios = kept[1, some] / kept[0, some]
    worst[0] = max(worst[0], ratios.max(initial=0))
    ends, gone = counts.reshape(2, -1)[:, finite].sum(axis=1, dtype=np.int64).tolist()
    exact = np.count_nonzero(kept[1, some] == 0)
    totals += [finite.size, np.count_nonzero(~some), exact, (~finite).sum(), ends, gone]
    quarters = (ratios[kept[1, some] > 0].view(np.uint32) >> QUARTER_BITS).astype(np.int64)
    bins = np.clip(quarters - FIRST_QUARTER + 1, 0, HISTOGRAM_BINS - 1)
    histogram += np.bincount(bins, minlength=HISTOGRAM_BINS)
