"""Four-bit floats: compressed-tensors' rules by a second formula, ggml's by the gguf package."""

from __future__ import annotations

from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.kernels import dispatch, fp4, fp4_blocks
from tests.support.ggml_cases import cases, normal
from tests.support.kernel_arrays import floats

LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
Made = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def quantized(
    values: np.ndarray,
    unit: float | None = None,
    weights: np.ndarray | None = None,
    implementation: dispatch.Implementation = "numpy",
    scales: np.ndarray | None = None,
) -> Made:
    """What `quantize_fp4` fills: codes, scales, sums and counts."""
    inputs, columns = values.shape
    blocks = inputs // (32 if unit is None else 16)
    given_scales = np.ones((1, columns), np.float32) if scales is None else scales
    made = (
        np.empty((columns, inputs // 2), np.uint8),
        np.empty((columns, blocks), np.uint8),
        np.empty((3, blocks, columns), np.float32),
        np.empty((2, blocks, columns), np.int32),
    )
    kernel = dispatch.twin(fp4.quantize_fp4, implementation)
    kernel(values, given_scales, 0, inputs // len(given_scales), unit, weights, *made)
    return made


def in_blocks(
    kernel: Any,
    values: np.ndarray,
    implementation: dispatch.Implementation = "numpy",
    scales: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a quantizer of GGUF's blocks fills."""
    inputs, columns = values.shape
    given_scales = np.ones((1, columns), np.float32) if scales is None else scales
    made = (
        np.empty((columns, inputs // 32 * 17), np.uint8),
        np.empty((3, inputs // 32, columns), np.float32),
        np.empty((2, inputs // 32, columns), np.int32),
    )
    made_by = dispatch.twin(kernel, implementation)
    made_by(values, given_scales, 0, inputs // len(given_scales), *made)
    return made


def bits_of(codes: np.ndarray) -> np.ndarray:
    """E2M1 of each input, `u8[column, in]`."""
    return np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)


def nearest(y: np.ndarray) -> np.ndarray:
    """E2M1 of numbers: the nearest level, of two the one with an even code, and a sign."""
    distance = np.abs(np.abs(y.astype(np.float64))[..., None] - LEVELS)
    best = distance.min(axis=-1, keepdims=True)
    near = distance == best
    even = near & (np.arange(8) % 2 == 0)
    level = np.where(even.any(-1), even.argmax(-1), near.argmax(-1))
    made: np.ndarray = level + 8 * (y < 0)
    return made


def library_mx(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and exponents as `calculate_qparams` and `compress` have them; `x f32[column, in]`."""
    blocks = x.reshape(len(x), -1, 32)
    mantissa, exponent = np.frexp(np.abs(blocks).max(-1).astype(np.float64))
    power = np.where(mantissa >= 0.875, exponent, exponent - 1)  # 1.75 of one
    byte = np.where(mantissa == 0, 0, np.clip(127 + power - 2, 0, 255))
    return nearest(blocks / np.exp2(byte[..., None] - 127.0)).reshape(x.shape), byte


def library_nv(x: np.ndarray, unit: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Likewise of NVFP4."""
    blocks = x.reshape(len(x), -1, 16)
    scale = unit * (np.abs(blocks).max(-1) / np.float32(6))
    stored = np.clip(scale, None, 448).astype(ml_dtypes.float8_e4m3fn)
    stored = np.where(stored == 0, ml_dtypes.float8_e4m3fn(0.125), stored)
    divisor = stored.astype(np.float32) / unit
    return nearest(blocks / divisor[..., None]).reshape(x.shape), stored.view(np.uint8)


def unit_of(x: np.ndarray) -> np.float32:
    largest = np.abs(x).max()
    return np.float32(2688) / largest if largest else np.float32(1)


@st.composite
def weights(draw: st.DrawFn) -> np.ndarray:
    """Weights `f32[64, 3]` of any size, with ties, zeros and whole blocks of zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((64, 3)) * np.exp2(rng.integers(-4, 5, (64, 1)))
    steps = draw(st.sampled_from([0, 0.25, 0.125]))
    x = np.round(x / steps) * steps if steps else x
    x[:32, draw(st.integers(0, 5)) % 3] *= draw(st.sampled_from([0, 1]))
    made: np.ndarray = (x * 2.0 ** draw(st.integers(-100, 100))).astype(np.float32)
    return made


@given(weights())
def test_mxfp4_is_what_compressed_tensors_makes(x: np.ndarray) -> None:
    codes, exponents, *_ = quantized(x)
    wanted, bytes_ = library_mx(x.T)
    assert (exponents == bytes_).all()
    assert (bits_of(codes) == wanted).all()


@given(weights())
def test_nvfp4_is_what_compressed_tensors_makes(x: np.ndarray) -> None:
    unit = unit_of(x)
    codes, scales, *_ = quantized(x, float(unit))
    wanted, stored = library_nv(x.T, unit)
    assert (scales == stored).all()
    assert (bits_of(codes) == wanted).all()


@given(weights(), st.integers(-100, 100))
def test_gguf_mxfp4_is_what_the_gguf_package_makes(x: np.ndarray, power: int) -> None:
    x = x.copy()
    x[0] = np.nextafter(np.float32(2.0**power), np.float32(0))  # whose logarithm may round up
    out, *_ = in_blocks(fp4.quantize_mxfp4, x)
    wanted = gguf.quants.quantize(np.ascontiguousarray(x.T), gguf.GGMLQuantizationType.MXFP4)
    assert (out == wanted).all()


def restored(x: np.ndarray, unit: float | None, made: Made) -> np.ndarray:
    codes, scales, *_ = made
    form = fp4_blocks.MX if unit is None else fp4_blocks.NV
    steps = form.scales(scales.astype(np.int32), np.float32(unit or 1))
    bits = bits_of(codes)
    signed = np.where(bits > 7, -1, 1) * LEVELS[bits & 7]
    values: np.ndarray = (signed.reshape(*scales.shape, -1) * steps[..., None]).reshape(x.T.shape).T
    return values


@pytest.mark.parametrize("micro", [True, False])
@pytest.mark.parametrize("name", ["normal", "outliers", "sub-blocks of all sizes", "two values"])
def test_a_search_is_never_worse_in_any_block(name: str, *, micro: bool) -> None:
    x = cases(3)[name]
    unit = None if micro else float(unit_of(x))
    weights = np.abs(normal(9, (len(x),))) + np.float32(0.1)
    plain = restored(x, unit, quantized(x, unit))
    found = restored(x, unit, quantized(x, unit, weights))
    blocks = len(x) // (32 if micro else 16)
    before, after = (
        ((x - y).astype(np.float64) ** 2 * weights[:, None]).reshape(blocks, -1, x.shape[1]).sum(1)
        for y in (plain, found)
    )
    assert (after <= before * (1 + 1e-5)).all()
    if name == "normal":
        assert after.sum() < (0.99 if micro else 0.93) * before.sum()


def test_sums_are_those_of_the_decoded_values() -> None:
    x = cases(5)["normal"]
    made = quantized(x)
    error = (x - restored(x, None, made)).reshape(-1, 32, x.shape[1])
    np.testing.assert_allclose(made[2][1], (error**2).sum(1), rtol=1e-5)
    assert not made[3][1].any() or (restored(x, None, made) == 0).any()


@pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba is not there")
@given(floats(st.tuples(st.just(64), st.integers(1, 70))), st.booleans(), st.booleans())
def test_twins_leave_the_same_bits(x: np.ndarray, micro: bool, searched: bool) -> None:
    unit = None if micro else 37.5
    weights = np.linspace(0.5, 2, len(x), dtype=np.float32) if searched else None
    for ours, theirs in zip(
        quantized(x, unit, weights), quantized(x, unit, weights, "numba"), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    kernel = fp4.search_mxfp4 if searched else fp4.quantize_mxfp4
    for ours, theirs in zip(in_blocks(kernel, x), in_blocks(kernel, x, "numba"), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba is not there")
@pytest.mark.parametrize("unit", [None, 37.5])
@pytest.mark.parametrize("weights", [None, "one", "uneven"])
def test_twins_leave_the_same_bits_of_codes_with_scales(
    unit: float | None, weights: str | None
) -> None:
    rng = np.random.default_rng(7)
    codes = np.clip(np.round(rng.normal(0, 40, (544, 131))), -128, 127).astype(np.int8)
    scales = rng.uniform(-1, 1, (16, 131)).astype(
        np.float32
    )  # for 34 inputs each: fours straddle them
    scales[3, ::5] = 0
    known = {None: None, "one": np.ones(544, np.float32)}.get(
        weights, rng.uniform(0.1, 2, 544).astype(np.float32)
    )
    for ours, theirs in zip(
        quantized(codes, unit, known, scales=scales),
        quantized(codes, unit, known, "numba", scales),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    kernel = fp4.quantize_mxfp4 if weights is None else fp4.search_mxfp4
    for ours, theirs in zip(
        in_blocks(kernel, codes, scales=scales),
        in_blocks(kernel, codes, "numba", scales),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
