"""Errors of groups add up exactly, in whatever parts and order they come."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grokpack.kernels import group_errors
from grokpack.kernels.dispatch import twin
from tests.support.integer_quantization import implementations
from tests.support.kernel_arrays import floats


def empty_tally() -> tuple[np.ndarray, ...]:
    return (
        np.zeros((3, 256), np.int64),
        np.zeros(6, np.int64),
        np.zeros(1, np.float32),
        np.zeros(group_errors.HISTOGRAM_BINS, np.int64),
    )


@st.composite
def sums_and_counts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    groups, columns = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    sums = draw(floats((3, groups, columns)))
    sums[:2] = np.abs(sums[:2])
    if draw(st.booleans()):
        sums[0, 0, 0] = 0
    if draw(st.booleans()):
        sums[1, 0, -1] = 0
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return sums, rng.integers(0, 99, (2, groups, columns)).astype(np.int32)


def exactly(row: np.ndarray) -> Fraction:
    return sum(
        (Fraction(m) * Fraction(2) ** (e - 150) for e, m in enumerate(row.tolist())), Fraction()
    )


@implementations
@given(sums_and_counts())
def test_tallies_are_exact(implementation: Any, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    sums, counts = drawn
    powers, totals, worst, histogram = empty_tally()
    twin(group_errors.tally_groups, implementation)(sums, counts, powers, totals, worst, histogram)
    finite = np.isfinite(sums).all(axis=0)
    for row, values in zip(powers, sums, strict=True):
        assert exactly(row) == sum(map(Fraction, values[finite].tolist()), Fraction())
    xx, ee = sums[0, finite], sums[1, finite]
    some = (xx > 0) & (ee > 0)
    wanted = [sums[0].size, (xx == 0).sum(), ((xx > 0) & (ee == 0)).sum(), (~finite).sum()]
    assert totals.tolist() == [*wanted, *counts[:, finite].sum(axis=1)]
    with np.errstate(over="ignore", under="ignore"):
        ratios = ee[some] / xx[some]
    assert worst[0] == ratios.max(initial=0)
    edges = np.array(group_errors.HISTOGRAM_EDGES)
    bins = np.searchsorted(edges, ratios.astype(np.float64), side="right") - 1
    wanted_bins = np.bincount(np.minimum(bins, len(edges) - 2), minlength=len(edges) - 1)
    assert histogram.tolist() == wanted_bins.tolist()


@implementations
@given(sums_and_counts(), st.data())
def test_tallies_of_parts_in_any_order_are_the_tally_of_the_whole(
    implementation: Any, drawn: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    sums, counts = drawn
    tally = twin(group_errors.tally_groups, implementation)
    whole = empty_tally()
    group_errors.tally_groups(sums, counts, *whole)
    cut = data.draw(st.integers(0, sums.shape[2]))
    pieces = data.draw(st.permutations([np.s_[:, :, :cut], np.s_[:, :, cut:]]))
    one, other = empty_tally(), empty_tally()
    for piece, into in zip(pieces, (one, other), strict=True):
        tally(np.ascontiguousarray(sums[piece]), np.ascontiguousarray(counts[piece]), *into)
    merged = (one[0] + other[0], one[1] + other[1], np.maximum(one[2], other[2]), one[3] + other[3])
    assert all(a.tobytes() == b.tobytes() for a, b in zip(merged, whole, strict=True))
