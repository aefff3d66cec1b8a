"""Groupwise quantization: codes, steps and errors by other formulas."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokpack.kernels.integer_steps import BF16, F16, F32, LSQ, RTN
from tests.support.integer_quantization import (
    FORMS,
    Made,
    implementations,
    kinds,
    make,
    meaning,
    methods,
    needs_compiler,
    unpack,
    weights,
    widths,
)


def assert_alike(plain: Made, fast: Made, group: int) -> None:
    """Bits of everything; where a step is not finite, that it is not in both."""
    finite = np.isfinite(plain["steps"])
    assert (finite == np.isfinite(fast["steps"])).all()
    assert plain["steps"][finite].tobytes() == fast["steps"][finite].tobytes()
    assert plain["zeros"][finite].tobytes() == fast["zeros"][finite].tobytes()
    assert plain["counts"][:, finite].tobytes() == fast["counts"][:, finite].tobytes()
    ours, theirs = plain["sums"][:, finite], fast["sums"][:, finite]
    np.testing.assert_array_equal(ours, theirs)  # NaN are alike whatever their bits
    assert ours[~np.isnan(ours)].tobytes() == theirs[~np.isnan(theirs)].tobytes()
    defined = np.repeat(finite, group, axis=0)
    if plain["out"].size:
        assert (unpack(plain["out"]) == unpack(fast["out"]))[defined].all()


@needs_compiler
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15)
@given(drawn=weights())
def test_twins_leave_the_same_bits(form: tuple[int, int, bool, int], drawn: dict[str, Any]) -> None:
    with np.errstate(over="ignore"):
        assert_alike(
            make(**drawn, form=form),
            make(**drawn, form=form, implementation="numba"),
            drawn["group"],
        )


@needs_compiler
@pytest.mark.parametrize("form", FORMS)
def test_twins_leave_the_same_bits_of_many_weights(form: tuple[int, int, bool, int]) -> None:
    rng = np.random.default_rng(4)
    codes = np.clip(np.round(rng.normal(0, 34, (768, 200))), -128, 127).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-3, (8, 200)).astype(ml_dtypes.bfloat16).astype(np.float32)
    for group in (128, 768):
        both = [
            make(codes, form, group, scales=scales, column=3, columns=150, implementation=e)
            for e in ("numpy", "numba")
        ]
        assert all(both[0][k].tobytes() == both[1][k].tobytes() for k in both[0])


@implementations
@methods
@kinds
@widths
def test_codes_are_those_of_a_division_done_in_twice_the_digits(
    implementation: Any, method: int, symmetric: bool, bits: int
) -> None:
    x = np.random.default_rng(5).normal(0, 0.02, (256, 70)).astype(np.float32)
    made = make(x, (bits, method, symmetric, BF16), 64, implementation=implementation)
    steps, zeros = (np.repeat(made[k], 64, axis=0).astype(np.float64) for k in ("steps", "zeros"))
    exact = x / steps + zeros
    wanted = np.clip(np.round(exact), 0, 2**bits - 1)
    clear = (
        np.abs(np.abs(exact - np.floor(exact)) - 0.5) > 2**-14
    )  # further from a tie than float32
    assert clear.mean() > 0.99
    assert (unpack(made["out"]) == wanted)[clear].all()


@implementations
@kinds
@widths
@given(data=st.data())
def test_codes_are_those_of_compressed_tensors_arithmetic(
    implementation: Any, symmetric: bool, bits: int, data: st.DataObject
) -> None:
    """Also at ties, and where x times 1 / step is on their other side: halves of steps."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    size = data.draw(st.sampled_from([1.0, 2.0, 0.1, 0.3, 0.7, 1.1]))
    x = (rng.integers(-30, 31, (64, 9)) / 4 * size).astype(np.float32)
    x[::32] = 7.5 * size
    made = make(x, (bits, RTN, symmetric, F32), 32, implementation=implementation)
    half = np.float32(2 ** (bits - 1))
    scale = np.repeat(made["steps"], 32, axis=0)
    zero = np.repeat(made["zeros"], 32, axis=0).astype(np.float32) - half
    signed = np.clip(np.round(x / scale + zero), -half, half - 1)
    assert (unpack(made["out"]) - half == signed).all()


@implementations
@widths
def test_reference_steps_and_zero_points_are_those_of_compressed_tensors(
    implementation: Any, bits: int
) -> None:
    x = np.random.default_rng(6).normal(0.3, 1, (96, 40)).astype(np.float32).reshape(3, 32, 40)
    low, high = np.minimum(x.min(axis=1), 0), np.maximum(x.max(axis=1), 0)
    made = make(x.reshape(96, 40), (bits, RTN, True, F32), 32, implementation=implementation)
    largest = np.maximum(-low, high)
    np.testing.assert_array_equal(made["steps"], largest / np.float32((2**bits - 1) / 2))
    assert (made["zeros"] == 2 ** (bits - 1)).all()
    made = make(x.reshape(96, 40), (bits, RTN, False, F32), 32, implementation=implementation)
    step = (high - low) / np.float32(2**bits - 1)
    np.testing.assert_array_equal(made["steps"], step)
    half = np.float32(2 ** (bits - 1))
    zero = np.round(np.clip(-half - low / step, -half, half - 1))
    np.testing.assert_array_equal(made["zeros"], zero + half)


@implementations
@methods
@kinds
@widths
def test_the_account_is_that_of_the_codes(
    implementation: Any, method: int, symmetric: bool, bits: int
) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(0, 1, (192, 70)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = 0
    made = make(x, (bits, method, symmetric, F16), 96, implementation=implementation)
    grouped = x.astype(np.float64).reshape(2, 96, 70)
    e = grouped - meaning(made, 96).reshape(2, 96, 70)
    wanted = [np.square(grouped), np.square(e), grouped * e]
    for got, terms in zip(made["sums"], wanted, strict=True):
        np.testing.assert_allclose(got, terms.sum(axis=1), rtol=1e-4, atol=2e-5)
    u = unpack(made["out"]).reshape(2, 96, 70)
    ends = (u == 0) | (u == 2**bits - 1)
    gone = (u == made["zeros"][:, None]) & (grouped != 0)
    np.testing.assert_array_equal(made["counts"], [ends.sum(axis=1), gone.sum(axis=1)])


@implementations
@pytest.mark.parametrize("form", FORMS)
def test_steps_are_numbers_of_their_precision(
    implementation: Any, form: tuple[int, int, bool, int]
) -> None:
    x = np.random.default_rng(8).normal(0, 1e-5, (64, 70)).astype(np.float32)
    steps = make(x, form, 32, implementation=implementation)["steps"]
    kept = steps.astype((np.float32, ml_dtypes.bfloat16, np.float16)[form[3]])
    assert (kept.astype(np.float32) == steps).all()
    assert (steps != 0).all()
    assert form[1] == LSQ or (steps > 0).all()


@implementations
@methods
@kinds
def test_without_rows_only_steps_are_fitted(
    implementation: Any, method: int, symmetric: bool
) -> None:
    x = np.random.default_rng(9).normal(0, 1, (64, 5)).astype(np.float32)
    whole = make(x, (4, method, symmetric, BF16), 32, implementation=implementation)
    fitted = make(x, (4, method, symmetric, BF16), 32, implementation=implementation, fit_only=True)
    assert all(whole[k].tobytes() == fitted[k].tobytes() for k in ("steps", "zeros"))
    assert (fitted["sums"] == 7).all()
    assert (fitted["counts"] == 7).all()
