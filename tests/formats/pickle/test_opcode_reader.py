"""What Python writes is read, whatever writes it and however; what is damaged is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import pickle as pickles
from tests.support.pickles.sources import (
    QuantizedWeight8bit,
    dumped,
    dumped_as_released,
    filled,
    numpy_1_names,
    payloads,
    read,
    zeros,
)

I8, BF16, F16, F32 = DType.I8, DType.BF16, DType.F16, DType.F32

PICKLED = [DType.I8, DType.BF16, DType.F16, DType.F32]  # the others stand in no pickle
sizes = st.one_of(st.integers(1, 9), st.sampled_from([0, 255, 256, 300, 1000]))
specs = st.builds(
    ArraySpec, st.lists(sizes, max_size=4).map(tuple), st.sampled_from(PICKLED)
).filter(lambda spec: 1 < spec.nbytes < 200_000)


def counting(spec: ArraySpec) -> np.ndarray[Any, Any]:
    """An array whose every element differs from its neighbours."""
    return (np.arange(spec.elements) % 120).astype(spec.dtype.numpy()).reshape(spec.shape)


@given(
    specs,
    st.none() | specs,
    st.integers(3, 5),
    st.booleans(),
    st.sampled_from(["__main__", "model"]),
)
def test_what_python_writes_is_read(
    values: ArraySpec, scales: ArraySpec | None, protocol: int, frozen: bool, module: str
) -> None:
    arrays = [counting(spec) for spec in (values, scales) if spec is not None]
    for array in arrays:
        array.flags.writeable = not frozen  # protocol 5 writes these as bytes, others as bytearray
    data = dumped(arrays[0] if scales is None else QuantizedWeight8bit(*arrays), protocol, module)
    found = read(data)
    assert found.values.spec == values
    assert (found.scales.spec if found.scales else None) == scales
    assert payloads(data, found) == [array.tobytes() for array in arrays]
    assert filled(found, payloads(data, found)) == data
    assert found.nbytes == len(data)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_numpy_1_names_are_read_in_every_protocol(protocol: int) -> None:
    spec = ArraySpec((300, 301), F32)
    with numpy_1_names():
        data = dumped(zeros(spec), protocol)
    assert b"_core" not in data
    assert read(data).values.spec == spec


def test_large_payloads_are_read_inside_frames_too() -> None:
    """Python's own pickler written in Python frames them so when it is asked to."""
    spec = ArraySpec((1 << 17,), I8)
    framed = pickles.frame(ArraySpec((100,), I8), None)
    head = framed.literals[0][11:].replace(b"Kd\x85", b"J\x00\x00\x02\x00\x85")
    body = head.replace(b"Cd", b"B\x00\x00\x02\x00") + bytes(1 << 17) + framed.literals[1]
    data = b"\x80\x04\x95" + len(body).to_bytes(8, "little") + body
    assert read(data).values.spec == spec


def error(data: bytes) -> GrokpackError:
    with pytest.raises(GrokpackError) as caught:
        read(data)
    return caught.value


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.ones((3, 5), np.float32)),
        np.ones(3, ">f4"),
        np.ones(3, np.float64),
        np.ones(3, np.uint8),
        np.ones(3, np.int16),
        np.ones(3, bool),
        np.ones(3, [("a", np.float32)]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2024-03-17"], "M8[D]"),
        np.array([None, {}], object),
    ],
    ids=lambda a: str(a.dtype) + ("F" if a.flags.fnc else ""),
)
def test_other_layouts_are_refused_as_such(array: np.ndarray[Any, Any], protocol: int) -> None:
    assert error(dumped(array, protocol)).code == "GP208"


def test_other_ml_dtypes_are_refused() -> None:
    import ml_dtypes

    found = error(dumped(np.ones(3, ml_dtypes.float8_e4m3fn), 4))
    assert found.code == "GP204"
    assert ("found", "ml_dtypes.float8_e4m3fn") in found.facts


def test_out_of_band_payloads_are_refused() -> None:
    import pickle

    data = pickle.dumps(np.ones(300, np.int8), 5, buffer_callback=lambda _: None)
    assert error(data).code == "GP209"


@pytest.mark.parametrize("value", [{"a": 1.5}, [1, 2], 1.5, None, "x", ()])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_values_that_are_no_tensors_are_called_that(value: object, protocol: int) -> None:
    assert error(dumped(value, protocol)).code == "GP209"


SMALL = dumped_as_released(
    QuantizedWeight8bit(zeros(ArraySpec((2, 3), I8)), zeros(ArraySpec((1, 3), BF16)))
)
PLAIN = dumped(zeros(ArraySpec((2, 3), F32)), 5)


@pytest.mark.parametrize("data", [SMALL, PLAIN, dumped(zeros(ArraySpec((70_000,), I8)), 4)])
def test_a_file_cut_anywhere_is_broken_off(data: bytes) -> None:
    step = max(1, len(data) // 500)
    for length in {*range(0, len(data), step), *range(len(data) - 20, len(data))}:
        found = error(data[:length])
        assert found.code == "GP209", str(found)
        if length:
            facts = dict(found.facts)
            assert facts["found"] == f"{length:,} bytes"
            expected = int("".join(c for c in facts["expected"] if c.isdigit()))
            assert length < expected <= len(data)


def test_bytes_behind_the_pickle_are_counted() -> None:
    found = error(SMALL + b"abc")
    assert found.code == "GP209"
    assert "3 bytes" in found.what
    assert found.where is not None
    assert found.where.byte == len(SMALL)


def assert_read_or_refused(data: bytes) -> None:
    try:
        found = read(data)
    except GrokpackError:
        return
    assert sum(map(len, found.literals)) + sum(a.spec.nbytes for a in found.arrays()) == len(data)
    assert filled(found, payloads(data, found)) == data


@pytest.mark.parametrize("data", [SMALL, PLAIN], ids=["weight", "array"])
def test_a_file_with_one_byte_changed_is_read_or_refused(data: bytes) -> None:
    values = (
        *b"()0129BCJKMNQRX]abcdehijloqrstu}\x80\x81\x85\x8a\x8e\x92\x93\x94\x95\x96\x97",
        0,
        255,
    )
    for at in range(len(data)):
        for value in values[at % 4 :: 4]:
            assert_read_or_refused(data[:at] + bytes([value]) + data[at + 1 :])
        for bit in range(at % 2, 8, 2):
            assert_read_or_refused(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])


@given(st.data())
def test_a_file_with_parts_moved_about_is_read_or_refused(drawn: st.DataObject) -> None:
    cuts = drawn.draw(st.lists(st.integers(2, len(SMALL)), min_size=2, max_size=6).map(sorted))
    parts = [SMALL[a:b] for a, b in zip([2, *cuts], [*cuts, len(SMALL)], strict=True)]
    chosen = drawn.draw(st.lists(st.sampled_from(parts), max_size=8))
    assert_read_or_refused(b"\x80\x04" + b"".join(chosen))
