"""GGUF's blocks: twins alike, ggml's own bytes, and searched scales that are never worse."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.kernels import dispatch, ggml
from grokpack.kernels.dispatch import twin
from tests.support import kernel_arrays as arrays
from tests.support.ggml_cases import (
    BLOCK_BYTES,
    NAMES,
    TYPES,
    cases,
    normal,
    quantized,
)
from tests.support.project import DATA

QUANTIZERS = (*(f"quantize_{kind}" for kind in TYPES), "search_q4_0", "search_q4_1")
FIXTURE = DATA / "ggml" / "q4_k.npz"
CASES = cases(20240317)  # those of the fixture
UNHOLDABLE = ("scale infinite in float16", "large")
needs_compiler = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
both_engines = pytest.mark.parametrize(
    "implementation", ["numpy", pytest.param("numba", marks=needs_compiler)]
)


def kernel_of(name: str, implementation: Any = "numpy") -> Any:
    return twin(getattr(ggml, name), implementation)


def gguf_type(kind: str) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType[NAMES[kind]]


def restored(blocks: np.ndarray, kind: str) -> np.ndarray:
    """`f32[in, column]` as gguf-py reads blocks."""
    with np.errstate(all="ignore"):
        read: np.ndarray = gguf.quants.dequantize(blocks, gguf_type(kind))
    return read.T


def decibels(name: str, x: np.ndarray) -> float:
    e = x.astype(np.float64) - restored(quantized(kernel_of(name), x)[0], name.partition("_")[2])
    return float(10 * np.log10(np.square(x, dtype=np.float64).sum() / np.square(e).sum()))


@st.composite
def sources(draw: st.DrawFn) -> dict[str, Any]:
    """Values of either kind, groups that straddle blocks, strips of 64 columns in part."""
    inputs = 256 * draw(st.sampled_from([1, 2]))
    columns = draw(st.sampled_from([1, 5, 64, 67, 130]))
    per_group = draw(st.sampled_from([1, 31, 100, 256, 600]))
    groups = -(-inputs // per_group)
    seed = draw(st.integers(0, 99))
    scales = normal(seed + 1, (groups, columns)) * np.float32(1e-3)
    if draw(st.booleans()):
        values = np.clip(np.round(normal(seed, (inputs, columns)) * 34), -128, 127).astype(np.int8)
    else:
        values = normal(seed, (inputs, columns))
    odd = draw(arrays.floats(st.integers(1, 5)))
    at = draw(st.integers(0, values.size - len(odd)))
    where = draw(st.sampled_from(["values", "scales", "nowhere"]))
    if where == "values" and values.dtype == np.float32:
        values.reshape(-1)[at : at + len(odd)] = odd
    elif where == "scales":
        scales.flat[at % scales.size] = odd[0]
    column = draw(st.integers(0, columns - 1))
    part = column, draw(st.integers(1, columns - column))
    return {"values": values, "scales": scales, "per_group": per_group, "part": part}


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """The same bits; of floats, any NaN is like another: its payload is the processor's."""
    if one.dtype != np.float32:
        return one.tobytes() == other.tobytes()
    like = (one.view(np.uint32) == other.view(np.uint32)) | (np.isnan(one) & np.isnan(other))
    return bool(like.all())


@needs_compiler
@pytest.mark.parametrize("name", QUANTIZERS)
@given(source=sources())
def test_twins_leave_the_same_bits(name: str, source: dict[str, Any]) -> None:
    plain, fast = (quantized(kernel_of(name, e), **source) for e in ("numpy", "numba"))
    assert [same(a, b) for a, b in zip(plain, fast, strict=True)] == [True] * 3


@both_engines
@pytest.mark.parametrize(
    ("name", "columns"), [*(("quantize_q8_0", n) for n in (1, 7, 70)), ("quantize_q4_k", 9)]
)
def test_values_lie_in_either_order_and_in_sixteen_bits(
    implementation: str, name: str, columns: int
) -> None:
    x = normal(columns, (256, columns + 1))
    bits = (x.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    x = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    kernel, part = kernel_of(name, implementation), (1, columns)
    wanted = quantized(kernel_of(name), x, part=part)
    for values in (bits, np.asfortranarray(bits), np.asfortranarray(x)):
        made = quantized(kernel, values, part=part)
        assert [same(a, b) for a, b in zip(wanted, made, strict=True)] == [True] * 3


@needs_compiler
@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("case", CASES)
def test_twins_leave_the_same_bits_of_every_kind_of_weights(name: str, case: str) -> None:
    plain, fast = (quantized(kernel_of(name, e), CASES[case]) for e in ("numpy", "numba"))
    assert [same(a, b) for a, b in zip(plain, fast, strict=True)] == [True] * 3


@both_engines
@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "q4_1"])
@pytest.mark.parametrize(
    "case", sorted(set(CASES) - {"negative zero", "inverse infinite", "subnormal", *UNHOLDABLE})
)
def test_blocks_are_those_of_gguf(implementation: str, kind: str, case: str) -> None:
    x = CASES[case] + np.float32(0)  # gguf-py gives a block that begins with -0 another zero
    made = quantized(kernel_of(f"quantize_{kind}", implementation), x)[0]
    assert (made == gguf.quants.quantize(np.ascontiguousarray(x.T), gguf_type(kind))).all()


@both_engines
@pytest.mark.parametrize("case", CASES)
def test_blocks_of_q4_k_are_those_of_ggml(implementation: str, case: str) -> None:
    with np.load(FIXTURE) as stored:
        wanted = stored[case]
    assert (quantized(kernel_of("quantize_q4_k", implementation), CASES[case])[0] == wanted).all()


@given(source=sources(), name=st.sampled_from(QUANTIZERS))
def test_each_row_has_the_scale_of_its_group(source: dict[str, Any], name: str) -> None:
    column, count = source["part"]
    groups = np.arange(len(source["values"])) // source["per_group"]
    with np.errstate(all="ignore"):
        x = source["values"].astype(np.float32) * source["scales"][groups]
    one = quantized(kernel_of(name), **source)
    other = quantized(kernel_of(name), np.ascontiguousarray(x[:, column : column + count]))
    assert [same(a, b) for a, b in zip(one, other, strict=True)] == [True] * 3


@pytest.mark.parametrize("kind", ["q4_0", "q4_1"])
@pytest.mark.parametrize("case", sorted(set(CASES) - set(UNHOLDABLE)))
def test_searched_blocks_have_no_more_squared_error(kind: str, case: str) -> None:
    own, found = (
        quantized(kernel_of(f"{how}_{kind}"), CASES[case])[1][1] for how in ("quantize", "search")
    )
    assert np.isfinite(own).all()
    assert (found <= own).all()


@pytest.mark.parametrize(("kind", "gain"), [("q4_0", 0.4), ("q4_1", 0.7)])
def test_searched_scales_pay_on_normal_weights(kind: str, gain: float) -> None:
    x = normal(9, (1024, 64))
    assert decibels(f"search_{kind}", x) - decibels(f"quantize_{kind}", x) > gain


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("case", ["normal", "int8 codes", "sparse", "scale zero in float16"])
def test_the_account_is_that_of_the_blocks(name: str, case: str) -> None:
    x = CASES[case]
    blocks, sums, counts = quantized(kernel_of(name), x)
    back = restored(blocks, name.partition("_")[2])
    e = x - back
    wanted = [
        np.square(x, dtype=np.float64),
        np.square(e, dtype=np.float64),
        x.astype(np.float64) * e,
    ]
    for row, terms in zip(sums, wanted, strict=True):
        total = terms.reshape(-1, 32, x.shape[1]).sum(axis=1)
        spread = np.abs(terms).reshape(-1, 32, x.shape[1]).sum(axis=1).max(initial=1e-300)
        np.testing.assert_allclose(row, total, rtol=1e-5, atol=1e-5 * spread)
    zeroed = ((x != 0) & (back == 0)).reshape(-1, 32, x.shape[1]).sum(axis=1)
    np.testing.assert_array_equal(counts[1], zeroed)


def test_codes_at_the_ends_are_counted() -> None:
    x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    assert quantized(ggml.quantize_q8_0, x)[2][0].tolist() == [[2, 2, 2]]
    for name in ("quantize_q4_1", "search_q4_1"):
        blocks, _, counts = quantized(kernel_of(name), x)
        nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
        assert counts[0].tolist() == [np.isin(nibbles, (0, 15)).sum(axis=1).tolist()]


@both_engines
@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("case", UNHOLDABLE)
def test_a_scale_that_float16_cannot_hold_shows_in_every_block(
    implementation: str, name: str, case: str
) -> None:
    assert not np.isfinite(quantized(kernel_of(name, implementation), CASES[case])[1][1]).any()


@both_engines
@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_shows_in_its_block_alone(
    implementation: str, name: str, odd: float
) -> None:
    x = normal(4, (512, 3))
    x[300, 1] = odd
    bad = ~np.isfinite(quantized(kernel_of(name, implementation), x)[1][1])
    assert bad[300 // 32, 1]
    assert not bad[:, [0, 2]].any()
    assert not bad[:8].any()


@both_engines
@pytest.mark.parametrize("name", QUANTIZERS)
def test_scales_that_float16_rounds_to_zero_show_as_zeroed_weights(
    implementation: str, name: str
) -> None:
    x = CASES["scale zero in float16"]
    counts = quantized(kernel_of(name, implementation), x)[2]
    assert counts[1].sum() == np.count_nonzero(x)


@both_engines
@pytest.mark.parametrize("name", QUANTIZERS)
def test_zero_blocks_and_the_lowest_code_are_kept(implementation: str, name: str) -> None:
    kernel = kernel_of(name, implementation)
    for value, scale in ((0, 1.0), (-128, 2.0**-10), (-128, -(2.0**-10))):
        codes = np.full((256, 2), value, np.int8)
        _, sums, counts = quantized(kernel, codes, np.full((1, 2), scale, np.float32))
        assert (sums[1] <= 1e-4 * sums[0]).all()
        assert not counts[1].any()


def searched(
    kind: str, x: np.ndarray, importance: np.ndarray | None = None, implementation: Any = "numpy"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks, sums and counts of a search with weights for the inputs."""
    inputs, columns = x.shape
    out = np.zeros((columns, inputs // 32 * BLOCK_BYTES[kind]), np.uint8)
    sums = np.zeros((3, inputs // 32, columns), np.float32)
    counts = np.zeros((2, inputs // 32, columns), np.int32)
    ones = np.ones((1, columns), np.float32)
    own = () if importance is None else (importance,)
    kernel_of(f"search_{kind}", implementation)(x, ones, 0, inputs, out, sums, counts, *own)
    return out, sums, counts


@both_engines
@pytest.mark.parametrize("kind", ["q4_0", "q4_1"])
def test_the_search_minds_what_is_important(kind: str, implementation: Any) -> None:
    """In both twins the same bits; less weighted error than without; ones change nothing."""
    rng = np.random.default_rng(6)
    x = rng.laplace(0, 1, (96, 150)).astype(np.float32)
    importance = (10 ** rng.uniform(-2, 2, 96)).astype(np.float32)
    usual, minded = searched(kind, x), searched(kind, x, importance, implementation)
    for plain, fast in zip(searched(kind, x, importance), minded, strict=True):
        assert plain.tobytes() == fast.tobytes()
    for plain, ones in zip(
        usual, searched(kind, x, np.ones(96, np.float32), implementation), strict=True
    ):
        assert plain.tobytes() == ones.tobytes()

    def weighted(blocks: np.ndarray) -> np.ndarray:
        e = np.square(x.astype(np.float64) - restored(blocks, kind)) * importance[:, None]
        total: np.ndarray = e.reshape(3, 32, -1).sum(axis=1)
        return total

    reference = quantized(kernel_of(f"quantize_{kind}"), x)[0]
    assert (weighted(minded[0]) <= weighted(reference) * 1.0001).all()
    assert weighted(minded[0]).sum() < 0.9 * weighted(usual[0]).sum()
