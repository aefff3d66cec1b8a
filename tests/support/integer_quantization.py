"""Groupwise quantization for tests, and what its codes mean."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st

from grokpack.kernels import dispatch, integer_quantization
from grokpack.kernels.dispatch import twin
from grokpack.kernels.integer_steps import BF16, F16, F32, LSQ, MSE, RTN
from tests.support.kernel_arrays import floats

needs_compiler = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
implementations = pytest.mark.parametrize(
    "implementation", ["numpy", pytest.param("numba", marks=needs_compiler)]
)
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
    implementation: Any = "numpy",
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
    twin(integer_quantization.quantize, implementation)(
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
        _put_odd(draw, rng, drawn["scales"])
        return drawn
    size = 10.0 ** draw(st.integers(-42, 37))
    drawn["values"] = (rng.normal(0, 1, (inputs, every)) * size).astype(np.float32)
    _put_odd(draw, rng, drawn["values"])
    return drawn


def _put_odd(draw: st.DrawFn, rng: np.random.Generator, values: np.ndarray) -> None:
    """Put up to four values of any bits anywhere."""
    flat, odd = values.reshape(-1), draw(floats(draw(st.integers(0, 4))))
    flat[rng.integers(0, flat.size, odd.size)] = odd
