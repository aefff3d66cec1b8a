"""Kernels that turn, multiply and pack weights: twins alike, and right by another formula."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.kernels import dispatch, strided_reads, transposed_weights
from grokpack.kernels.dispatch import twin

KERNELS = (transposed_weights.product_f32, transposed_weights.product_bf16, transposed_weights.q8_0)
ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-38, -3e38, 1e-45]  # scales that no release has
needs_compiler = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    """Codes, scales and the place of a block in its weight: tiles are 64 columns by 256 rows."""
    per_group = 32 * draw(st.sampled_from([1, 2, 3, 9]))
    inputs = 32 * draw(st.sampled_from([1, 2, 7, 8, 9, 17]))
    columns = draw(st.sampled_from([1, 7, 8, 63, 64, 65, 136]))
    first = 32 * draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    groups = -(-(first % per_group + inputs) // per_group)
    scales = rng.normal(size=(groups, columns)).astype(ml_dtypes.bfloat16).astype(np.float32)
    scales.flat[rng.integers(0, scales.size, 3)] = draw(st.sampled_from(ODD))
    column = draw(st.integers(0, columns - 1))
    return {
        "codes": rng.integers(-128, 128, (inputs, columns), dtype=np.int8),
        "scales": scales,
        "column": column,
        "first": first,
        "per_group": per_group,
        "count": draw(st.integers(1, columns - column)),
    }


def make(kernel: Any, block: dict[str, Any]) -> np.ndarray:
    arguments = dict(block)
    count, inputs = arguments.pop("count"), len(arguments["codes"])
    if kernel.__name__ == "q8_0":
        out = np.zeros((count, inputs // 32 * 34), np.uint8)
        with np.errstate(over="ignore"):
            arguments["scales"] = arguments["scales"].astype(np.float16).view(np.uint16)
    else:
        out = np.zeros((count, inputs), np.uint16 if "bf16" in kernel.__name__ else np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        kernel(**arguments, out=out)
    return out


@needs_compiler
@pytest.mark.parametrize("kernel", KERNELS)
@given(blocks())
def test_twins_leave_the_same_bits(kernel: Any, block: dict[str, Any]) -> None:
    plain, fast = make(kernel, block), make(twin(kernel, "numba"), block)
    if plain.dtype == np.float32:  # the payload of a NaN is the processor's business
        np.testing.assert_array_equal(plain, fast)
        plain, fast = np.signbit(plain[plain == 0]), np.signbit(fast[fast == 0])
    assert plain.tobytes() == fast.tobytes()


@given(blocks())
def test_products_are_those_of_each_element_alone(block: dict[str, Any]) -> None:
    made = make(transposed_weights.product_f32, block)
    for column, row in ((0, 0), (len(made) - 1, made.shape[1] - 1), (0, made.shape[1] // 2)):
        group = (block["first"] % block["per_group"] + row) // block["per_group"]
        with np.errstate(invalid="ignore", over="ignore"):
            wanted = (
                np.float32(block["codes"][row, block["column"] + column])
                * block["scales"][group, block["column"] + column]
            )
        np.testing.assert_equal(made[column, row], wanted)


@given(blocks())
def test_bfloat16_is_rounded_as_ml_dtypes_rounds(block: dict[str, Any]) -> None:
    exact = make(transposed_weights.product_f32, block).astype(ml_dtypes.bfloat16)
    assert make(transposed_weights.product_bf16, block).tobytes() == exact.tobytes()


@given(blocks())
def test_blocks_unpack_to_codes_and_scales(block: dict[str, Any]) -> None:
    block["scales"] = np.nan_to_num(block["scales"], posinf=2.0, neginf=-2.0).clip(-9, 9)
    block["scales"] = block["scales"].astype(np.float16).astype(np.float32)
    packed = make(transposed_weights.q8_0, block)
    unpacked = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(unpacked, make(transposed_weights.product_f32, block))


@pytest.mark.parametrize("implementation", ["numpy", pytest.param("numba", marks=needs_compiler)])
def test_spaced_runs_are_read_until_the_file_ends(tmp_path: Path, implementation: Any) -> None:
    data = os.urandom(1000)
    (tmp_path / "file").write_bytes(data)
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        out = np.zeros((12, 20), np.uint8)
        read = twin(strided_reads.pread_rows, implementation)
        assert read(handle, out.ctypes.data, 20, 12, 20, 7, 90) == 11
        assert [bytes(row) for row in out[:11]] == [
            data[7 + 90 * i : 27 + 90 * i] for i in range(11)
        ]
    finally:
        os.close(handle)
