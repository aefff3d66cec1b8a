"""Groupwise quantization is as accurate as documented, and the search finds the best step."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings

from grokpack.kernels.integer_steps import BF16, DIVISORS, LSQ, MSE, RTN
from tests.support.integer_quantization import (
    FORMS,
    Made,
    decibels,
    implementations,
    kinds,
    make,
    meaning,
    needs_compiler,
    weights,
    widths,
)


@implementations
def test_normal_weights_are_as_accurate_as_documented(implementation: Any) -> None:
    x = np.random.default_rng(10).normal(0, 0.02, (1024, 256)).astype(np.float32)
    got = {
        (method, symmetric): decibels(
            x, make(x, (4, method, symmetric, BF16), 128, implementation=implementation), 128
        )
        for method in (RTN, MSE, LSQ)
        for symmetric in (True, False)
    }
    largest = np.abs(x.reshape(8, 128, 256)).max(axis=1, keepdims=True)
    step = (largest / np.float32(7)).astype(ml_dtypes.bfloat16).astype(np.float64)
    error = x.reshape(8, 128, 256) - step * np.round(x.reshape(8, 128, 256) / step)
    naive = 10 * np.log10(np.square(x, dtype=np.float64).sum() / np.square(error).sum())
    assert got[RTN, True] == pytest.approx(19.1, abs=0.15)
    assert got[MSE, True] > naive + 1
    assert got[LSQ, True] > got[MSE, True] + 0.3
    assert got[RTN, False] > 19.8
    assert got[MSE, False] > got[RTN, False] + 0.4
    assert got[LSQ, False] > got[MSE, False]


def candidates(
    x: np.ndarray, bits: int, symmetric: bool, importance: np.ndarray | float = 1.0
) -> list[np.ndarray]:
    """Errors of every candidate, coded by a division and fitted in float64, [column]."""
    top = 2**bits - 1
    high, low = np.maximum(x.max(axis=0), 0.0), np.maximum(-x.min(axis=0), 0.0)
    span = 2 * np.maximum(high, low) if symmetric else high + low
    errors = []
    for divisor in DIVISORS[bits]:
        size = span * 2.0 / divisor
        zero = np.round(np.clip(top / 2 - (high - low) / 2 / size, 0, top))
        zero = np.full_like(zero, (top + 1) / 2) if symmetric else zero
        q = np.clip(np.round(x / size) + zero, 0, top) - zero
        step = (x * q * importance).sum(axis=0) / (q * q * importance).sum(axis=0)
        step = step.astype(ml_dtypes.bfloat16).astype(np.float64)
        errors.append((np.square(x - step * q) * importance).sum(axis=0))
    return errors


@implementations
@kinds
@widths
def test_the_search_finds_the_best_of_its_candidates(
    implementation: Any, symmetric: bool, bits: int
) -> None:
    x = np.random.default_rng(11).laplace(0, 1, (32, 200)).astype(np.float32)
    made = make(x, (bits, MSE, symmetric, BF16), 32, implementation=implementation)
    found = np.square(x - meaning(made, 32)).sum(axis=0)
    best = np.min(candidates(x, bits, symmetric), axis=0)
    assert (found <= best * (1.002 if bits == 4 else 1.03)).all()  # integers have 14 bits


@needs_compiler
@pytest.mark.parametrize("form", [f for f in FORMS if f[1] != RTN])
def test_twins_leave_the_same_bits_where_inputs_differ_in_importance(
    form: tuple[int, int, bool, int],
) -> None:
    rng = np.random.default_rng(5)
    codes = rng.integers(-128, 128, (256, 100)).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-3, (2, 100)).astype(np.float32)
    importance = (10 ** rng.uniform(-3, 2, 256)).astype(np.float32)
    plain, fast = (
        make(codes, form, 64, scales=scales, importance=importance, implementation=implementation)
        for implementation in ("numpy", "numba")
    )
    assert all(plain[k].tobytes() == fast[k].tobytes() for k in plain)
    assert plain["steps"].tobytes() != make(codes, form, 64, scales=scales)["steps"].tobytes()


@implementations
@pytest.mark.parametrize("method", [MSE, LSQ])
@kinds
@widths
def test_inputs_of_equal_importance_are_as_without(
    implementation: Any, method: int, symmetric: bool, bits: int
) -> None:
    x = np.random.default_rng(3).laplace(0, 1, (64, 70)).astype(np.float32)
    form = bits, method, symmetric, BF16
    ones = make(x, form, 32, implementation=implementation, importance=np.ones(64, np.float32))
    usual = make(x, form, 32, implementation=implementation)
    assert all(ones[k].tobytes() == usual[k].tobytes() for k in usual)


@implementations
@kinds
@widths
def test_the_search_minds_what_is_important(
    implementation: Any, symmetric: bool, bits: int
) -> None:
    """The weighted error is about that of the best candidate; LSQ is no worse."""
    rng = np.random.default_rng(12)
    x = rng.laplace(0, 1, (32, 200)).astype(np.float32)
    importance = (10 ** rng.uniform(-2, 2, 32)).astype(np.float32)

    def weighted(made: Made) -> float:
        error = np.square(x.astype(np.float64) - meaning(made, 32))
        return float((error * importance[:, None]).sum())

    made, better = (
        make(
            x, (bits, m, symmetric, BF16), 32, implementation=implementation, importance=importance
        )
        for m in (MSE, LSQ)
    )
    usual = make(x, (bits, MSE, symmetric, BF16), 32, implementation=implementation)
    best = np.min(candidates(x, bits, symmetric, importance[:, None]), axis=0).sum()
    assert weighted(made) < 1.02 * best
    assert weighted(made) < 0.97 * weighted(usual)
    assert weighted(better) <= weighted(made) * 1.0001


@implementations
@kinds
@widths
@settings(max_examples=20)
@given(weights())
def test_no_method_is_notably_worse_than_the_reference(
    implementation: Any, symmetric: bool, bits: int, drawn: dict[str, Any]
) -> None:
    made = [
        make(**drawn, form=(bits, m, symmetric, BF16), implementation=implementation)
        for m in (RTN, MSE, LSQ)
    ]
    reference, *others = (m["sums"][1] for m in made)
    signal = made[0]["sums"][0]
    sound = (signal > 1e-30) & (signal < 1e30)  # squares neither vanish nor overflow
    with np.errstate(over="ignore"):
        most = reference * 1.05 + signal * 1e-5
    assert all((other <= most)[sound].all() for other in others)
