"""Figures against float64 formulas written on their own, and against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.kernels.tally import CodeTally, FloatTally
from tests.support.kernel_arrays import codes, floats

if TYPE_CHECKING:
    from grokpack.kernels.dispatch import Implementation


def of_floats(values: np.ndarray, implementation: Implementation = "numpy") -> dict[str, Any]:
    tally = FloatTally(implementation)
    tally.add(values)
    return tally.summary()


def of_codes(
    values: np.ndarray, scales: np.ndarray, implementation: Implementation = "numpy"
) -> dict[str, Any]:
    """`i8[groups, rows, out]` and `f32[groups, out]`."""
    tally = CodeTally(implementation)
    for group, row in zip(values, scales, strict=True):
        tally.add(group, row)
    return tally.summary()


def exact_rms(values: list[Fraction]) -> float:
    """The root of a mean that is rounded once."""
    return math.sqrt(float(sum((v * v for v in values), Fraction()) / max(len(values), 1)))


@given(st.integers(0, 60).flatmap(floats))
def test_floats_of_any_bits_are_described_exactly(values: np.ndarray) -> None:
    got = of_floats(values)
    finite = values[np.isfinite(values)].astype(np.float64)
    tiny = float(np.finfo(np.float32).tiny)
    assert got["elements"] == values.size
    assert got["nan"] == np.isnan(values).sum()
    assert got["posinf"] == (values == np.inf).sum()
    assert got["neginf"] == (values == -np.inf).sum()
    assert got["zero"] == (values == 0).sum()
    assert got["negative"] == (finite < 0).sum()
    assert got["subnormal"] == ((finite != 0) & (np.abs(finite) < tiny)).sum()
    assert got["min"] == min(finite.tolist(), default=0.0)
    assert got["max"] == max(finite.tolist(), default=0.0)
    assert got["absmax"] == max(np.abs(finite).tolist(), default=0.0)
    assert got["rms"] == exact_rms([Fraction(v) for v in finite.tolist()])


@given(st.integers(0, 60).flatmap(floats))
def test_bins_of_floats_are_what_their_edges_say(values: np.ndarray) -> None:
    got = of_floats(values)["histogram"]
    magnitudes = np.abs(values[np.isfinite(values) & (values != 0)]).astype(np.float64)
    expected, _ = np.histogram(magnitudes, got["edges"])
    assert got["counts"] == expected.tolist()
    assert len(got["edges"]) == len(got["counts"]) + 1


@pytest.mark.parametrize("exponent", [-21, -20, -1, 0, 1, 2, 127])
def test_a_power_of_two_is_the_first_of_its_bin(exponent: int) -> None:
    value = np.float32(2.0**exponent)
    below = np.nextafter(value, np.float32(0))
    histogram = of_floats(np.array([value, below, 0], np.float32))["histogram"]
    filled = [i for i, count in enumerate(histogram["counts"]) for _ in range(count)]
    edges = histogram["edges"]
    assert len(filled) == 2  # zero is in no bin
    for bin_, single in zip(filled, (float(below), float(value)), strict=True):
        assert edges[bin_] <= single < edges[bin_ + 1]


@st.composite
def weights(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    groups, rows, out = draw(st.tuples(*[st.integers(1, 6)] * 3))
    return draw(codes((groups, rows, out))), draw(floats((groups, out)))


@given(weights())
def test_codes_with_any_scale_are_described_exactly(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    values, scales = drawn
    got = of_codes(values, scales)
    defined = np.broadcast_to(np.isfinite(scales)[:, None], values.shape)
    wide = np.where(np.isfinite(scales), scales, 0).astype(np.float64)[:, None]
    products = (values * wide)[defined]  # 7 and 24 bits: float64 holds them
    assert got["elements"] == values.size
    assert got["undefined"] == (~defined).sum()
    assert got["min"] == min(products.tolist(), default=0.0)
    assert got["max"] == max(products.tolist(), default=0.0)
    assert got["rms"] == exact_rms([Fraction(v) for v in products.tolist()])
    assert got["zero"] == (values == 0).sum()
    assert got["negative"] == (values < 0).sum()
    assert got["saturated"] == (np.abs(values.astype(int)) >= 127).sum()
    assert got["minus_128"] == (values == -128).sum()
    expected, _ = np.histogram(values, got["histogram"]["edges"])
    assert got["histogram"]["counts"] == expected.tolist()


@pytest.mark.parametrize("scale", [3e38, 1e-45, -3e38])
def test_scales_at_the_ends_of_float32_overflow_nothing(scale: float) -> None:
    got = of_codes(np.full((1, 4, 2), 127, np.int8), np.full((1, 2), scale, np.float32))
    assert got["absmax"] == 127 * abs(float(np.float32(scale)))
    assert got["rms"] == got["absmax"]


def test_nothing_at_all_is_described_too() -> None:
    for got in (of_floats(np.empty(0, np.float32)), CodeTally().summary()):
        assert got["elements"] == got["min"] == got["max"] == got["rms"] == 0
    assert of_codes(np.empty((1, 0, 3), np.int8), np.ones((1, 3), np.float32))["elements"] == 0


def test_no_summary_has_a_negative_zero() -> None:
    got = of_floats(np.array([-0.0, 0.0], np.float32))
    assert math.copysign(1, got["min"]) == math.copysign(1, got["max"]) == 1
    got = of_codes(np.zeros((1, 1, 1), np.int8), -np.ones((1, 1), np.float32))
    assert math.copysign(1, got["min"]) == math.copysign(1, got["max"]) == 1


@given(weights(), st.data())
def test_rows_may_come_in_any_portions(
    drawn: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    values, scales = drawn
    parts = []
    for group, row in zip(values, scales, strict=True):
        cut = data.draw(st.integers(0, len(group)))
        for piece in (group[:cut], group[cut:]):
            part = CodeTally()
            part.add(piece, row)
            parts.append(part)
    whole, *rest = data.draw(st.permutations(parts))
    for part in rest:
        whole.merge(part)
    assert whole.summary() == of_codes(values, scales)


@given(st.integers(1, 60).flatmap(floats), st.data())
def test_floats_may_come_in_any_portions(values: np.ndarray, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, values.size), max_size=4)))
    parts = []
    for piece in np.split(values, cuts):
        part = FloatTally()
        part.add(piece)
        parts.append(part)
    whole, *rest = data.draw(st.permutations(parts))
    for part in rest:
        whole.merge(part)
    assert whole.summary() == of_floats(values)


def test_words_are_taken_out_before_they_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokpack.kernels.tally._ROOM", 5)
    tally = FloatTally()
    for _ in range(4):
        tally.add(np.full(3, 2.0, np.float32))
    assert tally.moments.squares > 0
    assert tally.summary()["rms"] == 2


def test_a_group_of_very_many_rows_is_folded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokpack.kernels.tally.MOST_ROWS", 4)
    tally, scales = CodeTally(), np.ones(1, np.float32)
    for _ in range(3):
        tally.add(np.full((3, 1), 2, np.int8), scales)
    assert tally.moments.words.any()
    assert tally.summary()["rms"] == 2
