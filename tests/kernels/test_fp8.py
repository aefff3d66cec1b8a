"""FP8 by blocks: what codes mean, and what a cast makes of the same values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.kernels import dispatch, fp8
from grokpack.kernels.dispatch import twin
from grokpack.kernels.fp8 import LARGEST, MSE, RTN

E4M3 = ml_dtypes.float8_e4m3fn
needs_compiler = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
methods = pytest.mark.parametrize("method", [RTN, MSE])
BLOCKS = [(128, 128), (128, 1), (40, 1), (8, 16), (3, 5), (300, 128), (300, 1)]


@dataclass
class Made:
    """What the kernel leaves of some columns of a matrix."""

    codes: np.ndarray
    steps: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    block: tuple[int, int]

    @property
    def meaning(self) -> np.ndarray:
        """Value of each code times its step, `f64[row, column]`."""
        values = self.codes.view(E4M3).astype(np.float64)
        meant: np.ndarray = values * self.by_weight(self.steps)
        return meant

    def by_weight(self, blocks: np.ndarray) -> np.ndarray:
        """Values of blocks, one for each weight."""
        rows, columns = self.codes.shape
        height, width = self.block
        repeated: np.ndarray = np.repeat(np.repeat(blocks, height, 0), width, 1)[:rows, :columns]
        return repeated.astype(np.float64)

    def by_block(self, weights: np.ndarray) -> np.ndarray:
        """Sums over blocks of what each weight has, in float64."""
        rows, columns = (np.arange(0, n, b) for n, b in zip(weights.shape, self.block, strict=True))
        return np.add.reduceat(np.add.reduceat(weights.astype(np.float64), rows, 0), columns, 1)


def make(
    values: np.ndarray,
    block: tuple[int, int],
    method: int = RTN,
    *,
    scales: np.ndarray | None = None,
    columns: slice = slice(None),
    turned: bool = False,
    implementation: Any = "numpy",
) -> Made:
    """Quantize some columns of a matrix; turned, the codes of a column lie side by side."""
    rows, every = values.shape
    first, last, _ = columns.indices(every)
    shape = -(-rows // block[0]), -(-(last - first) // block[1])
    made = Made(
        np.full((rows, last - first), 0x7F, np.uint8, order="F" if turned else "C"),
        np.full(shape, np.nan, np.float32),
        np.full((3, *shape), np.nan, np.float32),
        np.full((2, *shape), -1, np.int32),
        block,
    )
    scales = np.ones((1, every), np.float32) if scales is None else scales
    twin(fp8.quantize, implementation)(
        values, scales, first, rows // len(scales), *block, method,
        made.codes, made.steps, made.sums, made.counts,
    )  # fmt: skip
    return made


@st.composite
def matrices(draw: st.DrawFn) -> dict[str, Any]:
    """A matrix of any kind, with rows of zeros and magnitudes far apart, and how to cut it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.sampled_from([1, 2, 3]))
    rows = groups * draw(st.sampled_from([1, 7, 8, 43, 100, 128, 160]))
    every = draw(st.sampled_from([1, 5, 64, 128, 129, 300]))
    first = draw(st.integers(0, every - 1))
    last = draw(st.integers(first + 1, every))
    spread = draw(st.sampled_from([0.0, 3.0, 12.0]))
    noise = rng.normal(0, 1, (rows, every)) * np.exp(rng.normal(0, spread, (rows, every)))
    noise[rng.random(rows) < 0.1] = 0
    kind = draw(st.sampled_from(["int8", "bf16", "f32"]))
    scales = np.ones((1, every), np.float32)
    values: np.ndarray = np.clip(noise, -1e15, 1e15).astype(np.float32)
    if kind == "int8":
        values = np.clip(np.round(noise * 40), -128, 127).astype(np.int8)
        scales = rng.uniform(-1, 1, (groups, every)).astype(np.float32)
        scales[0, rng.random(every) < 0.1] = 0
    elif kind == "bf16":
        values = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    return {
        "values": values,
        "scales": scales,
        "columns": slice(first, last),
        "block": draw(st.sampled_from(BLOCKS)),
        "method": draw(st.sampled_from([RTN, MSE])),
        "turned": draw(st.booleans()),
    }


def widened(values: np.ndarray, scales: np.ndarray, columns: slice) -> np.ndarray:
    """The weights in float32."""
    if values.dtype == np.uint16:
        values = values.view(ml_dtypes.bfloat16)
    by_row = np.repeat(scales, len(values) // len(scales), axis=0)
    product: np.ndarray = values.astype(np.float32)[:, columns] * by_row[:, columns]
    return product


@given(matrices())
def test_codes_are_those_of_a_cast_of_the_quotient(drawn: dict[str, Any]) -> None:
    made = make(**drawn)
    x = widened(drawn["values"], drawn["scales"], drawn["columns"])
    quotients = x / made.by_weight(made.steps).astype(np.float32)
    cast = np.clip(quotients, -LARGEST, LARGEST).astype(E4M3)
    np.testing.assert_array_equal(made.codes, cast.view(np.uint8))
    assert not np.isin(made.codes, [0x7F, 0xFF]).any()


@given(matrices())
def test_each_value_is_within_half_a_spacing(drawn: dict[str, Any]) -> None:
    made = make(**drawn)
    x = widened(drawn["values"], drawn["scales"], drawn["columns"]).astype(np.float64)
    step = made.by_weight(made.steps)
    spacing = np.maximum(np.abs(x) * 2.0**-3, step * 2.0**-9)
    assert (np.abs(x - made.meaning) <= spacing / 2 * (1 + 1e-6)).all()


@given(matrices())
def test_errors_are_those_of_the_codes(drawn: dict[str, Any]) -> None:
    made = make(**drawn)
    x = widened(drawn["values"], drawn["scales"], drawn["columns"]).astype(np.float64)
    e = x - made.meaning
    rounding = 1e-6 * made.by_block(x * x) + 1e-30
    for own, terms in zip(made.sums, (x * x, e * e, x * e), strict=True):
        wanted, size = made.by_block(terms), made.by_block(np.abs(terms))
        assert (np.abs(own - wanted) <= 1e-4 * size + rounding).all()
    ends = (made.codes & 0x7F) == 0x7E  # the largest magnitude
    gone = ((made.codes & 0x7F) == 0) & (x != 0)
    np.testing.assert_array_equal(made.counts[0], made.by_block(ends))
    np.testing.assert_array_equal(made.counts[1], made.by_block(gone))


@given(matrices())
def test_a_searched_step_is_never_worse(drawn: dict[str, Any]) -> None:
    plain, searched = (make(**drawn | {"method": method}) for method in (RTN, MSE))
    assert (searched.sums[1] <= plain.sums[1]).all()


@needs_compiler
@given(matrices())
def test_both_implementations_leave_the_same_bits(drawn: dict[str, Any]) -> None:
    one, other = (make(**drawn, implementation=each) for each in ("numpy", "numba"))
    for name in ("codes", "steps", "sums", "counts"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


@methods
def test_what_fits_stays_as_it_is(method: int) -> None:
    every = np.arange(256, dtype=np.uint8)
    values = every[~np.isin(every, [0x7F, 0xFF])].view(E4M3).astype(np.float32)[None]
    made = make(values, (1, 128), method)
    np.testing.assert_array_equal(made.meaning, values)


def test_steps_are_the_largest_magnitude_over_448() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (200, 300)).astype(np.float32)
    values[:128, 128:256] = 0
    made = make(values, (128, 128))
    for g, top in enumerate((0, 128)):
        for b, left in enumerate((0, 128, 256)):
            largest = np.abs(values[top : top + 128, left : left + 128]).max()
            assert made.steps[g, b] == (largest / np.float32(448) or 1)


def test_searching_gains() -> None:
    rng = np.random.default_rng(0)
    codes = np.clip(np.round(rng.normal(0, 34, (256, 256))), -127, 127).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-3, (1, 256)).astype(np.float32)
    plain, searched = (
        make(codes, (128, 128), method, scales=scales).sums[1].sum() for method in (RTN, MSE)
    )
    assert searched < 0.99 * plain


@pytest.mark.parametrize("tiny", [2.0**-149, 2.0**-126, 1e-37])
def test_steps_stay_normal_numbers(tiny: float) -> None:
    made = make(np.full((8, 8), tiny, np.float32), (8, 8))
    assert made.steps[0, 0] >= 2.0**-126
