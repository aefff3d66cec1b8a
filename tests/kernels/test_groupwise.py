"""Group-wise codes: twins alike, right by other formulas, as accurate as documented, tallied."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokpack.kernels import dispatch, groupwise
from grokpack.kernels.dispatch import twin
from grokpack.kernels.groupwise import BF16, F16, F32, FACTORS, LSQ, MSE, RTN
from tests.support.kernel_arrays import floats

needs_compiler = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
engines = pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=needs_compiler)])
methods = pytest.mark.parametrize("method", [RTN, MSE, LSQ])
kinds = pytest.mark.parametrize("symmetric", [True, False])
widths = pytest.mark.parametrize("bits", [4, 8])

FORMS = list(itertools.product((4, 8), (RTN, MSE, LSQ), (True, False), (F32, BF16, F16)))
Made = dict[str, np.ndarray]


def make(
    values: np.ndarray,
    form: tuple[int, int, bool, int],
    group: int,
    *,
    scales: np.ndarray | None = None,
    column: int = 0,
    columns: int | None = None,
    engine: Any = "numpy",
    fit_only: bool = False,
    importance: np.ndarray | None = None,
) -> Made:
    """What the kernel leaves; of float32 without scales."""
    bits = form[0]
    inputs, every = values.shape
    width = every - column if columns is None else columns
    scales = np.ones((1, every), np.float32) if scales is None else scales
    rows = 0 if fit_only else inputs // 8 if bits == 4 else inputs
    shape = (inputs // group, width)
    made = {
        "out": np.zeros((rows, width), np.uint32 if bits == 4 else np.uint8),
        "steps": np.zeros(shape, np.float32),
        "zeros": np.zeros(shape, np.uint8),
        "sums": np.full((3, *shape), 7, np.float32),
        "counts": np.full((2, *shape), 7, np.int32),
    }
    per_group = inputs // len(scales)
    own = () if importance is None else (importance,)
    twin(groupwise.quantize, engine)(
        values, scales, column, per_group, group, *form, *made.values(), *own
    )
    return made


def unpack(out: np.ndarray) -> np.ndarray:
    """Codes u by the definition of the packing, one at a time in Python's integers."""
    if out.dtype == np.uint8:
        return out.astype(np.int64)
    words = out.astype(object)
    return np.array([[(w >> 4 * i) & 15 for w in row] for row in words for i in range(8)], np.int64)


def meaning(made: Made, group: int) -> np.ndarray:
    """step * (u - zero) in float64, exact."""
    codes = unpack(made["out"])
    steps, zeros = (np.repeat(made[k], group, axis=0) for k in ("steps", "zeros"))
    meant: np.ndarray = steps.astype(np.float64) * (codes - zeros)
    return meant


def decibels(x: np.ndarray, made: Made, group: int) -> float:
    wide = x.astype(np.float64)
    error = wide - meaning(made, group)
    return float(10 * np.log10(np.square(wide).sum() / np.square(error).sum()))


@st.composite
def weights(draw: st.DrawFn) -> dict[str, Any]:
    """Values of either type with awkward ones among them, scale groups that groups straddle."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    group = 8 * draw(st.sampled_from([1, 3, 4, 16, 17, 40]))
    inputs = group * draw(st.integers(1, 3))
    every = draw(st.sampled_from([1, 3, 63, 64, 65, 130]))
    column = draw(st.integers(0, every - 1))
    drawn: dict[str, Any] = {"group": group, "column": column, "scales": None}
    drawn["columns"] = draw(st.integers(1, every - column))
    if draw(st.booleans()):
        drawn["values"] = rng.integers(-128, 128, (inputs, every), dtype=np.int8)
        parts = draw(st.sampled_from([n for n in (1, 2, 3, 4, 6, 8) if inputs % n == 0]))
        scales = rng.normal(0, 1e-3, (parts, every)).astype(ml_dtypes.bfloat16)
        drawn["scales"] = scales.astype(np.float32)
        return drawn
    size = 10.0 ** draw(st.integers(-42, 37))
    drawn["values"] = (rng.normal(0, 1, (inputs, every)) * size).astype(np.float32)
    flat = drawn["values"].reshape(-1)
    odd = draw(floats(draw(st.integers(0, 4))))
    flat[rng.integers(0, flat.size, odd.size)] = odd
    return drawn


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
            make(**drawn, form=form), make(**drawn, form=form, engine="numba"), drawn["group"]
        )


@needs_compiler
@pytest.mark.parametrize("form", FORMS)
def test_twins_leave_the_same_bits_of_many_weights(form: tuple[int, int, bool, int]) -> None:
    rng = np.random.default_rng(4)
    codes = np.clip(np.round(rng.normal(0, 34, (768, 200))), -128, 127).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-3, (8, 200)).astype(ml_dtypes.bfloat16).astype(np.float32)
    for group in (128, 768):
        both = [
            make(codes, form, group, scales=scales, column=3, columns=150, engine=e)
            for e in ("numpy", "numba")
        ]
        assert all(both[0][k].tobytes() == both[1][k].tobytes() for k in both[0])


@engines
@methods
@kinds
@widths
def test_codes_are_those_of_a_division_done_in_twice_the_digits(
    engine: Any, method: int, symmetric: bool, bits: int
) -> None:
    x = np.random.default_rng(5).normal(0, 0.02, (256, 70)).astype(np.float32)
    made = make(x, (bits, method, symmetric, BF16), 64, engine=engine)
    steps, zeros = (np.repeat(made[k], 64, axis=0).astype(np.float64) for k in ("steps", "zeros"))
    exact = x / steps + zeros
    wanted = np.clip(np.round(exact), 0, 2**bits - 1)
    clear = (
        np.abs(np.abs(exact - np.floor(exact)) - 0.5) > 2**-14
    )  # further from a tie than float32
    assert clear.mean() > 0.99
    assert (unpack(made["out"]) == wanted)[clear].all()


@engines
@kinds
@widths
@settings(max_examples=30)
@given(data=st.data())
def test_codes_are_those_of_compressed_tensors_arithmetic(
    engine: Any, symmetric: bool, bits: int, data: st.DataObject
) -> None:
    """Also at ties, and where x times 1 / step is on their other side: halves of steps."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    size = data.draw(st.sampled_from([1.0, 2.0, 0.1, 0.3, 0.7, 1.1]))
    x = (rng.integers(-30, 31, (64, 9)) / 4 * size).astype(np.float32)
    x[::32] = 7.5 * size
    made = make(x, (bits, RTN, symmetric, F32), 32, engine=engine)
    half = np.float32(2 ** (bits - 1))
    scale = np.repeat(made["steps"], 32, axis=0)
    zero = np.repeat(made["zeros"], 32, axis=0).astype(np.float32) - half
    signed = np.clip(np.round(x / scale + zero), -half, half - 1)
    assert (unpack(made["out"]) - half == signed).all()


@engines
@widths
def test_reference_steps_and_zero_points_are_those_of_compressed_tensors(
    engine: Any, bits: int
) -> None:
    x = np.random.default_rng(6).normal(0.3, 1, (96, 40)).astype(np.float32).reshape(3, 32, 40)
    low, high = np.minimum(x.min(axis=1), 0), np.maximum(x.max(axis=1), 0)
    made = make(x.reshape(96, 40), (bits, RTN, True, F32), 32, engine=engine)
    largest = np.maximum(-low, high)
    np.testing.assert_array_equal(made["steps"], largest / np.float32((2**bits - 1) / 2))
    assert (made["zeros"] == 2 ** (bits - 1)).all()
    made = make(x.reshape(96, 40), (bits, RTN, False, F32), 32, engine=engine)
    step = (high - low) / np.float32(2**bits - 1)
    np.testing.assert_array_equal(made["steps"], step)
    half = np.float32(2 ** (bits - 1))
    zero = np.round(np.clip(-half - low / step, -half, half - 1))
    np.testing.assert_array_equal(made["zeros"], zero + half)


@engines
@methods
@kinds
@widths
def test_the_account_is_that_of_the_codes(
    engine: Any, method: int, symmetric: bool, bits: int
) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(0, 1, (192, 70)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = 0
    made = make(x, (bits, method, symmetric, F16), 96, engine=engine)
    grouped = x.astype(np.float64).reshape(2, 96, 70)
    e = grouped - meaning(made, 96).reshape(2, 96, 70)
    wanted = [np.square(grouped), np.square(e), grouped * e]
    for got, terms in zip(made["sums"], wanted, strict=True):
        np.testing.assert_allclose(got, terms.sum(axis=1), rtol=1e-4, atol=2e-5)
    u = unpack(made["out"]).reshape(2, 96, 70)
    ends = (u == 0) | (u == 2**bits - 1)
    gone = (u == made["zeros"][:, None]) & (grouped != 0)
    np.testing.assert_array_equal(made["counts"], [ends.sum(axis=1), gone.sum(axis=1)])


@engines
@pytest.mark.parametrize("form", FORMS)
def test_steps_are_numbers_of_their_precision(
    engine: Any, form: tuple[int, int, bool, int]
) -> None:
    x = np.random.default_rng(8).normal(0, 1e-5, (64, 70)).astype(np.float32)
    steps = make(x, form, 32, engine=engine)["steps"]
    kept = steps.astype((np.float32, ml_dtypes.bfloat16, np.float16)[form[3]])
    assert (kept.astype(np.float32) == steps).all()
    assert (steps != 0).all()
    assert form[1] == LSQ or (steps > 0).all()


@engines
@methods
@kinds
def test_without_rows_only_steps_are_fitted(engine: Any, method: int, symmetric: bool) -> None:
    x = np.random.default_rng(9).normal(0, 1, (64, 5)).astype(np.float32)
    whole = make(x, (4, method, symmetric, BF16), 32, engine=engine)
    fitted = make(x, (4, method, symmetric, BF16), 32, engine=engine, fit_only=True)
    assert all(whole[k].tobytes() == fitted[k].tobytes() for k in ("steps", "zeros"))
    assert (fitted["sums"] == 7).all()
    assert (fitted["counts"] == 7).all()


@engines
def test_normal_weights_are_as_accurate_as_documented(engine: Any) -> None:
    x = np.random.default_rng(10).normal(0, 0.02, (1024, 256)).astype(np.float32)
    got = {
        (method, symmetric): decibels(
            x, make(x, (4, method, symmetric, BF16), 128, engine=engine), 128
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


@engines
@kinds
@widths
def test_the_search_finds_the_best_of_its_candidates(
    engine: Any, symmetric: bool, bits: int
) -> None:
    """Against every candidate, each coded by a division and measured in float64."""
    x = np.random.default_rng(11).laplace(0, 1, (32, 200)).astype(np.float32)
    made = make(x, (bits, MSE, symmetric, BF16), 32, engine=engine)
    found = np.square(x - meaning(made, 32)).sum(axis=0)
    reference = make(x, (bits, RTN, symmetric, F32), 32)["steps"]
    top = 2**bits - 1
    tried = []
    for factor in FACTORS[bits]:
        step = (reference * factor).astype(ml_dtypes.bfloat16).astype(np.float64)
        zero = np.round(np.clip(top / 2 - (x.max(0) + np.minimum(x.min(0), 0)) / 2 / step, 0, top))
        zero = (top + 1) / 2 if symmetric else zero
        codes = np.clip(np.round(x / step) + zero, 0, top)
        tried.append(np.square(x - step * (codes - zero)).sum(axis=0))
    assert (found <= np.min(tried, axis=0) * (1 + 1e-4)).all()


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
        make(codes, form, 64, scales=scales, importance=importance, engine=engine)
        for engine in ("numpy", "numba")
    )
    assert all(plain[k].tobytes() == fast[k].tobytes() for k in plain)
    assert plain["steps"].tobytes() != make(codes, form, 64, scales=scales)["steps"].tobytes()


@engines
@pytest.mark.parametrize("method", [MSE, LSQ])
@kinds
@widths
def test_inputs_of_equal_importance_are_as_without(
    engine: Any, method: int, symmetric: bool, bits: int
) -> None:
    x = np.random.default_rng(3).laplace(0, 1, (64, 70)).astype(np.float32)
    form = bits, method, symmetric, BF16
    ones = make(x, form, 32, engine=engine, importance=np.ones(64, np.float32))
    usual = make(x, form, 32, engine=engine)
    assert all(ones[k].tobytes() == usual[k].tobytes() for k in usual)


@engines
@kinds
@widths
def test_the_search_minds_what_is_important(engine: Any, symmetric: bool, bits: int) -> None:
    """The weighted error is that of the best candidate, measured in float64; LSQ is no worse."""
    rng = np.random.default_rng(12)
    x = rng.laplace(0, 1, (32, 200)).astype(np.float32)
    importance = (10 ** rng.uniform(-2, 2, 32)).astype(np.float32)

    def weighted(made: Made) -> np.ndarray:
        error = np.square(x.astype(np.float64) - meaning(made, 32))
        total: np.ndarray = (error * importance[:, None]).sum(axis=0)
        return total

    form = (bits, MSE, symmetric, F32)
    made = make(x, form, 32, engine=engine, importance=importance)
    reference = make(x, (bits, RTN, symmetric, F32), 32)["steps"].astype(np.float64)
    top = 2**bits - 1
    for factor in FACTORS[bits]:
        step = reference * factor
        zero = np.round(np.clip(top / 2 - (x.max(0) + np.minimum(x.min(0), 0)) / 2 / step, 0, top))
        zero = (top + 1) / 2 if symmetric else zero
        codes = np.clip(np.round(x / step) + zero, 0, top)
        error = np.square(x - step * (codes - zero)) * importance[:, None]
        assert (weighted(made) <= error.sum(axis=0) * (1 + 1e-4)).all()
    assert weighted(made).sum() < 0.97 * weighted(make(x, form, 32, engine=engine)).sum()
    better = make(x, (bits, LSQ, symmetric, F32), 32, engine=engine, importance=importance)
    assert weighted(better).sum() <= weighted(made).sum() * 1.0001


@engines
@kinds
@widths
@settings(max_examples=20)
@given(weights())
def test_no_method_is_worse_than_the_reference(
    engine: Any, symmetric: bool, bits: int, drawn: dict[str, Any]
) -> None:
    made = [make(**drawn, form=(bits, m, symmetric, BF16), engine=engine) for m in (RTN, MSE, LSQ)]
    reference, *others = (m["sums"][1] for m in made)
    signal = made[0]["sums"][0]
    sound = (signal > 1e-30) & (signal < 1e30)  # squares neither vanish nor overflow
    for other in others:
        assert (other <= reference * 1.001 + signal * 1e-9)[sound].all()


@engines
@methods
@kinds
@widths
@pytest.mark.parametrize("precision", [F32, BF16, F16])
def test_zeros_get_a_step_of_one_and_codes_that_mean_zero(
    engine: Any, method: int, symmetric: bool, bits: int, precision: int
) -> None:
    x = np.zeros((64, 3), np.float32)
    x[3, 1] = -0.0
    made = make(x, (bits, method, symmetric, precision), 32, engine=engine)
    assert (made["steps"] == 1).all()
    assert (unpack(made["out"]) == np.repeat(made["zeros"], 32, axis=0)).all()
    assert not made["sums"].any()
    assert not made["counts"][1].any()


@engines
@methods
@kinds
@pytest.mark.parametrize("value", [3.0, -3.0, 1e-3, -128.0])
def test_equal_values_are_kept(engine: Any, method: int, symmetric: bool, value: float) -> None:
    x = np.full((32, 2), value, np.float32)
    made = make(x, (4, method, symmetric, F32), 32, engine=engine)
    limit = 1 / 14 if symmetric and method == RTN else 1e-6 if not symmetric else 0.04
    assert (np.abs(meaning(made, 32) / value - 1) <= limit).all()


@engines
@methods
@kinds
@pytest.mark.parametrize("outlier", [100.0, -100.0])
def test_an_outlier_is_kept_and_the_rest_is_small(
    engine: Any, method: int, symmetric: bool, outlier: float
) -> None:
    x = np.random.default_rng(12).normal(0, 0.01, (128, 4)).astype(np.float32)
    x[17] = outlier
    made = make(x, (4, method, symmetric, BF16), 128, engine=engine)
    assert (np.abs(meaning(made, 128)[17] / outlier - 1) < 0.08).all()
    assert (np.abs(np.delete(meaning(made, 128), 17, axis=0)) < 0.01).all()


@engines
@methods
@kinds
@pytest.mark.parametrize(("precision", "least"), [(F32, -126), (BF16, -126), (F16, -24)])
@pytest.mark.parametrize("size", [1e-45, 1e-42, 2.0**-126, 2.0**-25])
def test_no_step_is_nearer_to_zero_than_engines_can_read(
    engine: Any, method: int, symmetric: bool, precision: int, least: int, size: float
) -> None:
    x = np.full((32, 3), size, np.float32) * np.array([1, -1, 0.5], np.float32)
    made = make(x, (4, method, symmetric, precision), 32, engine=engine)
    zero = (x == 0).all(axis=0)  # half of the least number is none
    assert (np.abs(made["steps"])[:, ~zero] >= 2.0**least).all()
    assert np.isfinite(made["steps"]).all()
    assert np.isfinite(made["sums"]).all()


@engines
@methods
@kinds
@pytest.mark.parametrize("precision", [F32, BF16, F16])
@pytest.mark.parametrize(
    "value", [np.nan, -np.nan, np.inf, -np.inf], ids=["nan", "negative nan", "inf", "-inf"]
)
def test_what_is_not_finite_shows_in_its_step_alone(
    engine: Any, method: int, symmetric: bool, precision: int, value: float
) -> None:
    x = np.random.default_rng(13).normal(0, 1, (64, 66)).astype(np.float32)
    x[40, 65] = value
    steps = make(x, (4, method, symmetric, precision), 32, engine=engine)["steps"]
    assert not np.isfinite(steps[1, 65])
    steps[1, 65] = 0
    assert np.isfinite(steps).all()


@engines
@methods
@kinds
def test_a_step_beyond_float16_is_infinite(engine: Any, method: int, symmetric: bool) -> None:
    x = np.ones((32, 2), np.float32)
    x[5] = [65504 * 7, 65536 * 16]
    with np.errstate(over="ignore"):
        steps = make(x, (4, method, symmetric, F16), 32, engine=engine)["steps"]
    assert np.isfinite(steps).tolist() == [[True, False]]


@engines
def test_a_group_may_be_a_whole_channel(engine: Any) -> None:
    rng = np.random.default_rng(14)
    codes = np.clip(np.round(rng.normal(0, 34, (32768, 3))), -128, 127).astype(np.int8)
    scales = rng.uniform(1e-3, 2e-3, (8, 3)).astype(np.float32)
    made = make(codes, (8, LSQ, True, BF16), 32768, scales=scales, engine=engine)
    assert made["steps"].shape == (1, 3)
    exact = codes * np.repeat(scales, 4096, axis=0)
    assert decibels(exact, made, 32768) > 38


@engines
@given(st.integers(1, 70), st.integers(1, 70))
def test_words_and_bytes_are_turned(engine: Any, rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    for kernel, kind in ((groupwise.turn_words, np.uint32), (groupwise.turn_bytes, np.uint8)):
        plain = rng.integers(0, 1 << 8 * np.dtype(kind).itemsize, (rows, columns), kind)
        turned = np.zeros((columns, rows), kind)
        twin(kernel, engine)(plain, turned)
        assert (turned == plain.T).all()


def empty_tally() -> tuple[np.ndarray, ...]:
    return (
        np.zeros((3, 256), np.int64),
        np.zeros(6, np.int64),
        np.zeros(1, np.float32),
        np.zeros(groupwise.HISTOGRAM_BINS, np.int64),
    )


@st.composite
def accounts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
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


@engines
@given(accounts())
def test_tallies_are_exact(engine: Any, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    sums, counts = drawn
    powers, totals, worst, histogram = empty_tally()
    twin(groupwise.tally_groups, engine)(sums, counts, powers, totals, worst, histogram)
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
    edges = np.array(groupwise.HISTOGRAM_EDGES)
    bins = np.searchsorted(edges, ratios.astype(np.float64), side="right") - 1
    wanted_bins = np.bincount(np.minimum(bins, len(edges) - 2), minlength=len(edges) - 1)
    assert histogram.tolist() == wanted_bins.tolist()


@engines
@given(accounts(), st.data())
def test_tallies_of_parts_in_any_order_are_the_tally_of_the_whole(
    engine: Any, drawn: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    sums, counts = drawn
    tally = twin(groupwise.tally_groups, engine)
    whole = empty_tally()
    groupwise.tally_groups(sums, counts, *whole)
    cut = data.draw(st.integers(0, sums.shape[2]))
    pieces = data.draw(st.permutations([np.s_[:, :, :cut], np.s_[:, :, cut:]]))
    one, other = empty_tally(), empty_tally()
    for piece, into in zip(pieces, (one, other), strict=True):
        tally(np.ascontiguousarray(sums[piece]), np.ascontiguousarray(counts[piece]), *into)
    merged = (one[0] + other[0], one[1] + other[1], np.maximum(one[2], other[2]), one[3] + other[3])
    assert all(a.tobytes() == b.tobytes() for a, b in zip(merged, whole, strict=True))
