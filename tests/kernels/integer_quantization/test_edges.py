"""Groupwise quantization of what is odd: zeros, outliers, infinities, groups of a whole channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grokpack.kernels.integer_steps import BF16, F16, F32, LSQ, RTN
from tests.support.integer_quantization import (
    decibels,
    implementations,
    kinds,
    make,
    meaning,
    methods,
    unpack,
    widths,
)


@implementations
@methods
@kinds
@widths
@pytest.mark.parametrize("precision", [F32, BF16, F16])
def test_zeros_get_a_step_of_one_and_codes_that_mean_zero(
    implementation: Any, method: int, symmetric: bool, bits: int, precision: int
) -> None:
    x = np.zeros((64, 3), np.float32)
    x[3, 1] = -0.0
    made = make(x, (bits, method, symmetric, precision), 32, implementation=implementation)
    assert (made["steps"] == 1).all()
    assert (unpack(made["out"]) == np.repeat(made["zeros"], 32, axis=0)).all()
    assert not made["sums"].any()
    assert not made["counts"][1].any()


@implementations
@methods
@kinds
@pytest.mark.parametrize("value", [3.0, -3.0, 1e-3, -128.0])
def test_equal_values_are_kept(
    implementation: Any, method: int, symmetric: bool, value: float
) -> None:
    x = np.full((32, 2), value, np.float32)
    made = make(x, (4, method, symmetric, F32), 32, implementation=implementation)
    limit = 1 / 14 if symmetric and method == RTN else 1e-6 if not symmetric else 0.04
    assert (np.abs(meaning(made, 32) / value - 1) <= limit).all()


@implementations
@methods
@kinds
@pytest.mark.parametrize("outlier", [100.0, -100.0])
def test_an_outlier_is_kept_and_the_rest_is_small(
    implementation: Any, method: int, symmetric: bool, outlier: float
) -> None:
    x = np.random.default_rng(12).normal(0, 0.01, (128, 4)).astype(np.float32)
    x[17] = outlier
    made = make(x, (4, method, symmetric, BF16), 128, implementation=implementation)
    assert (np.abs(meaning(made, 128)[17] / outlier - 1) < 0.08).all()
    assert (np.abs(np.delete(meaning(made, 128), 17, axis=0)) < 0.01).all()


@implementations
@methods
@kinds
@pytest.mark.parametrize(("precision", "least"), [(F32, -126), (BF16, -126), (F16, -24)])
@pytest.mark.parametrize("size", [1e-45, 1e-42, 2.0**-126, 2.0**-25])
def test_no_step_is_nearer_to_zero_than_engines_can_read(
    implementation: Any, method: int, symmetric: bool, precision: int, least: int, size: float
) -> None:
    x = np.full((32, 3), size, np.float32) * np.array([1, -1, 0.5], np.float32)
    made = make(x, (4, method, symmetric, precision), 32, implementation=implementation)
    zero = (x == 0).all(axis=0)  # half of the least number is none
    assert (np.abs(made["steps"])[:, ~zero] >= 2.0**least).all()
    assert np.isfinite(made["steps"]).all()
    assert np.isfinite(made["sums"]).all()


@implementations
@methods
@kinds
@pytest.mark.parametrize("precision", [F32, BF16, F16])
@pytest.mark.parametrize(
    "value", [np.nan, -np.nan, np.inf, -np.inf], ids=["nan", "negative nan", "inf", "-inf"]
)
def test_what_is_not_finite_shows_in_its_step_alone(
    implementation: Any, method: int, symmetric: bool, precision: int, value: float
) -> None:
    x = np.random.default_rng(13).normal(0, 1, (64, 66)).astype(np.float32)
    x[40, 65] = value
    steps = make(x, (4, method, symmetric, precision), 32, implementation=implementation)["steps"]
    assert not np.isfinite(steps[1, 65])
    steps[1, 65] = 0
    assert np.isfinite(steps).all()


@implementations
@methods
@kinds
def test_a_step_beyond_float16_is_infinite(
    implementation: Any, method: int, symmetric: bool
) -> None:
    x = np.ones((32, 2), np.float32)
    x[5] = [65504 * 7, 65536 * 16]
    with np.errstate(over="ignore"):
        steps = make(x, (4, method, symmetric, F16), 32, implementation=implementation)["steps"]
    assert np.isfinite(steps).tolist() == [[True, False]]


@implementations
def test_a_group_may_be_a_whole_channel(implementation: Any) -> None:
    rng = np.random.default_rng(14)
    codes = np.clip(np.round(rng.normal(0, 34, (32768, 3))), -128, 127).astype(np.int8)
    scales = rng.uniform(1e-3, 2e-3, (8, 3)).astype(np.float32)
    made = make(codes, (8, LSQ, True, BF16), 32768, scales=scales, implementation=implementation)
    assert made["steps"].shape == (1, 3)
    exact = codes * np.repeat(scales, 4096, axis=0)
    assert decibels(exact, made, 32768) > 38
