"""How far values may be apart: one rounding of a dtype, half a step of a code, and not more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from grokpack.core.tensors import DType
from grokpack.evaluation.network.matrices import CodedBand
from grokpack.evaluation.tolerance import Form, Side, measure_distance

if TYPE_CHECKING:
    from grokpack.evaluation.tolerance import Distance

NUMPY: dict[DType, Any] = {DType.BF16: ml_dtypes.bfloat16, DType.F16: np.float16}
EXACT = Form()
NORMAL = st.floats(-6e4, 6e4, width=32)


def one(value: float) -> np.ndarray:
    return np.array([[value]], np.float32)


def compared(
    first: np.ndarray, second: np.ndarray, form: Form, first_form: Form = EXACT
) -> tuple[Distance, Distance]:
    """Both ways round."""
    ours, theirs = Side(first, first_form), Side(second, form)
    return measure_distance(ours, theirs), measure_distance(theirs, ours)


def normal(seed: int, rows: int = 200, columns: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


@given(stnp.arrays(np.float32, (3, 2), elements=NORMAL), st.sampled_from(list(NUMPY)))
def test_one_rounding_is_within(values: np.ndarray, dtype: DType) -> None:
    """Subnormal numbers of float16 among them."""
    rounded = values.astype(NUMPY[dtype]).astype(np.float32)
    for found in compared(values, rounded, Form(dtype)):
        assert found.beyond == 0
        assert found.differing == np.count_nonzero(values != rounded)


@given(NORMAL, st.sampled_from(list(NUMPY)), st.sampled_from([-1, 1]))
def test_the_neighbour_of_the_rounded_value_is_beyond(value: float, dtype: DType, way: int) -> None:
    """But where the value lies in the middle, or numbers are further apart beyond the neighbour."""
    rounded = np.float32(value).astype(NUMPY[dtype])
    near = np.nextafter(rounded, NUMPY[dtype](way * np.inf)).astype(np.float32)
    half = abs(float(near) - float(rounded)) / 2
    alike = np.frexp(near)[1] == np.frexp(rounded.astype(np.float32))[1]
    if np.isfinite(near) and alike and abs(float(near) - value) > 1.001 * half:
        for found in compared(one(value), one(near), Form(dtype)):
            assert found.beyond == 1


def test_values_of_the_same_dtype_are_equal_or_beyond() -> None:
    values = normal(0).astype(NUMPY[DType.BF16]).astype(np.float32)
    other = values.copy()
    other[150, 4] = np.nextafter(
        NUMPY[DType.BF16](other[150, 4]), NUMPY[DType.BF16](np.inf)
    ).astype(np.float32)
    form = Form(DType.BF16)
    for found in compared(values, other, form, form):
        assert (found.differing, found.beyond, found.at) == (1, 1, (150, 4))


def test_two_dtypes_may_each_have_rounded() -> None:
    values = normal(1)
    half, brain = (values.astype(NUMPY[d]).astype(np.float32) for d in (DType.F16, DType.BF16))
    for found in compared(half, brain, Form(DType.BF16), Form(DType.F16)):
        assert found.beyond == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", [EXACT, Form(DType.BF16), Form(DType.F16), Form(bits=4, block=32)])
def test_what_is_no_number_on_one_side_only_is_beyond(value: float, form: Form) -> None:
    values = normal(2)
    values[:, 4] = 0
    other = values.copy()
    other[150, 4] = value
    for found in compared(values, other, form):
        assert found.at == (150, 4)
        assert found.beyond == 1
        assert found.largest == np.inf
        assert np.isfinite(found.errors)
    both = measure_distance(Side(other, EXACT), Side(other.copy(), form))
    assert (both.differing, both.beyond) == (0, 0)


def test_zeros_of_either_sign_are_equal() -> None:
    assert measure_distance(Side(one(0.0), EXACT), Side(one(-0.0), EXACT)).differing == 0


def quantized(values: np.ndarray, group: int, bits: int, clip: float = 1.0) -> tuple[Any, Any]:
    """Codes times scales by round-to-nearest, and the scales `f32[group, out]`."""
    grouped = values.reshape(-1, group, values.shape[1])
    largest = float(2 ** (bits - 1))
    scales = np.abs(grouped).max(axis=1) / np.float32(largest - 0.5) * np.float32(clip)
    codes = np.clip(np.round(grouped / scales[:, None]), -largest, largest - 1)
    made = (codes * scales[:, None]).reshape(values.shape).astype(np.float32)
    return made, scales.astype(np.float32)


def banded(made: np.ndarray, scales: np.ndarray, bits: int, *, transposed: bool) -> Side:
    """A part that begins at the band's second group and third output."""
    rows, columns = made.shape
    group = rows // len(scales)
    padded = np.concatenate((np.ones((1, columns), np.float32), scales))
    padded = np.concatenate((np.ones((len(padded), 2), np.float32), padded), axis=1)
    padded = np.ascontiguousarray(padded.T) if transposed else padded
    whole = (0, rows + group), (0, columns + 2)
    band = CodedBand(*whole, np.empty((0, 0), np.int8), DType.I8, transposed, padded, 0, group)
    lying = np.ascontiguousarray(made.T).T if transposed else made
    return Side(lying, Form(bits=bits), band, (group, 2))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("group", [16, 64, 320])
@pytest.mark.parametrize(("bits", "clip"), [(4, 1.0), (4, 0.8), (8, 1.0), (8, 0.98)])
@pytest.mark.parametrize("transposed", [False, True])
def test_half_a_step_is_within_and_a_code_more_is_not(
    seed: int,
    group: int,
    bits: int,
    clip: float,
    transposed: bool,
) -> None:
    """Where scales are searched for, more at the ends of a group as well."""
    values = normal(seed, 320)
    made, scales = quantized(values, group, bits, clip)
    side = banded(made, scales, bits, transposed=transposed)
    for pair in ((Side(values, EXACT), side), (side, Side(values, EXACT))):
        found = measure_distance(*pair)
        assert found.beyond == 0
        if clip == 1:  # then errors are uniform within half a step, or nearly
            assert 0.3 * found.allowed <= found.errors <= 1.1 * found.allowed
    steps = np.repeat(scales, group, axis=0)
    at = np.unravel_index(np.argmin(np.abs(values)), values.shape)
    wrong = made.copy()
    wrong[at] += steps[at]
    found = measure_distance(
        Side(values, EXACT), banded(wrong, scales, bits, transposed=transposed)
    )
    assert (found.beyond, found.at) == (1, (int(at[0]), int(at[1])))


@pytest.mark.parametrize("seed", range(5))
def test_steps_are_told_by_the_values_of_a_block(seed: int) -> None:
    values = normal(seed, 256)
    made, scales = quantized(values, 32, 4)
    side = Side(made, Form(bits=4, block=32))
    assert measure_distance(Side(values, EXACT), side).beyond == 0
    at = np.unravel_index(np.argmin(np.abs(values)), values.shape)
    wrong = made.copy()
    wrong[at] += 2 * scales[at[0] // 32, at[1]]
    assert measure_distance(Side(values, EXACT), Side(wrong, side.form)).beyond == 1


def test_another_matrix_is_beyond_nearly_everywhere() -> None:
    values, other = normal(3, 256), normal(4, 256)
    made, scales = quantized(other, 32, 4)
    found = measure_distance(Side(values, EXACT), banded(made, scales, 4, transposed=False))
    assert found.beyond > 0.7 * values.size
