"""The canonical framing is that of CPython's C pickler, to the byte, at every size."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import pickle as pickles
from tests.support.checkpoints import GOLDEN
from tests.support.pickles.sources import (
    Hollow,
    Memory,
    QuantizedWeight8bit,
    dumped_as_released,
    filled,
    payloads,
    read,
    released_flags,
    zeros_object,
)

I8, BF16, F32 = DType.I8, DType.BF16, DType.F32
SCALES = ArraySpec((1, 7), BF16)


def assert_framed_as_python_does(values: ArraySpec, scales: ArraySpec | None) -> None:
    framed = pickles.frame(values, scales)
    gaps = [bytes(a.spec.nbytes) for a in framed.arrays()]
    written = dumped_as_released(zeros_object(values, scales))
    assert filled(framed, gaps) == written
    assert framed.nbytes == len(written)
    assert read(written) == framed


@pytest.mark.parametrize("path", sorted((GOLDEN / "ckpt-0").iterdir()), ids=lambda p: p.name)
def test_a_golden_file_has_the_canonical_framing(path: object) -> None:
    """All but one byte for each bfloat16: the flags of the ml_dtypes that wrote it."""
    data = (GOLDEN / "ckpt-0" / getattr(path, "name", "")).read_bytes()
    found = read(data)
    framed = pickles.frame(found.values.spec, found.scales.spec if found.scales else None)
    assert tuple(released_flags(literal) for literal in found.literals) == framed.literals
    assert found.arrays() == framed.arrays()
    assert filled(found, payloads(data, found)) == data


PICKLED = [DType.I8, DType.BF16, DType.F16, DType.F32]  # the others stand in no pickle
sizes = st.one_of(st.integers(1, 9), st.sampled_from([255, 256, 257, 65535, 65536, 65537]))
specs = st.builds(
    ArraySpec, st.lists(sizes, max_size=5).map(tuple), st.sampled_from(PICKLED)
).filter(lambda spec: 1 < spec.nbytes < 300_000)


@given(specs, st.none() | specs)
def test_any_arrays_are_framed_as_python_frames_them(
    values: ArraySpec, scales: ArraySpec | None
) -> None:
    assert_framed_as_python_does(values, scales)


@pytest.mark.parametrize("scales", [None, SCALES, ArraySpec((40_000,), BF16)])
def test_frames_end_where_python_ends_them(scales: ArraySpec | None) -> None:
    """Each size at which another opcode of the header is the first in a new frame."""
    for nbytes in range(65_080, 65_545, 1 if scales is SCALES else 3):
        assert_framed_as_python_does(ArraySpec((nbytes,), I8), scales)


def test_a_frame_may_fill_with_both_payloads() -> None:
    assert_framed_as_python_does(ArraySpec((240, 256), I8), ArraySpec((8, 256), BF16))


@pytest.mark.parametrize("nbytes", [2, 255, 256, 257, 65_535, 65_536, 65_537])
def test_lengths_take_the_opcode_that_python_gives_them(nbytes: int) -> None:
    assert_framed_as_python_does(ArraySpec((nbytes,), I8), None)
    assert_framed_as_python_does(ArraySpec((nbytes,), I8), ArraySpec((nbytes // 2,), BF16))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 2, 3), (1, 2, 3, 4), (1,) * 8])
def test_shapes_of_any_rank_are_framed(shape: tuple[int, ...]) -> None:
    assert_framed_as_python_does(ArraySpec(shape, F32), None)
    assert_framed_as_python_does(ArraySpec(shape, BF16), ArraySpec(shape, BF16))


def test_what_two_arrays_share_is_written_once() -> None:
    for dtype in PICKLED:
        for other in PICKLED:
            values, scales = ArraySpec((3, 5), dtype), ArraySpec((1, 5), other)
            assert_framed_as_python_does(values, scales)


@pytest.mark.parametrize("size", [2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32, 2**39])
def test_dimensions_of_every_width_are_read_back_without_touching_payloads(size: int) -> None:
    framed = pickles.frame(ArraySpec((size, 3), F32), ArraySpec((1, size), BF16))
    hollow = Hollow(framed)
    assert pickles.read(hollow, "large") == framed
    assert sum(hollow.reads) < 4096


@pytest.mark.parametrize(("size", "opcode"), [(2**31 - 1, b"J"), (2**31, b"\x8a\x05")])
def test_dimensions_are_written_as_python_writes_integers(size: int, opcode: bytes) -> None:
    import pickle

    written = pickle.dumps(size, 2)[2:-1]
    assert written.startswith(opcode)
    assert b"(K\x01" + written + b"\x85" in pickles.frame(ArraySpec((size,), I8), None).literals[0]


def test_payloads_of_4_gib_have_lengths_of_eight_bytes() -> None:
    for nbytes, opcode in (
        (2**32 - 1, b"B" + struct.pack("<I", 2**32 - 1)),
        (2**32, b"\x8e" + struct.pack("<Q", 2**32)),
    ):
        assert pickles.frame(ArraySpec((nbytes,), I8), None).literals[0].endswith(opcode)


def test_a_weight_with_values_is_the_frame_around_its_bytes() -> None:
    weight = np.arange(-128, 128, dtype=np.int8).reshape(4, 64)
    scales = np.linspace(1, 2, 64, dtype=np.float32).reshape(1, 64).astype(BF16.numpy())
    data = dumped_as_released(QuantizedWeight8bit(weight, scales))
    framed = pickles.frame(ArraySpec((4, 64), I8), ArraySpec((1, 64), BF16))
    assert filled(framed, [weight.tobytes(), scales.tobytes()]) == data


def test_a_large_file_costs_few_small_reads() -> None:
    framed = pickles.frame(ArraySpec((8, 6144, 32768), I8), ArraySpec((8, 1, 32768), BF16))
    hollow = Hollow(framed)
    assert pickles.read(hollow, "experts") == framed
    assert len(hollow.reads) <= 6
    assert sum(hollow.reads) <= 2048


def test_what_is_behind_the_file_is_never_asked_for() -> None:
    framed = pickles.frame(ArraySpec((5,), I8), None)
    memory = Memory(filled(framed, [b"hello"]))
    assert pickles.read(memory, "small") == framed
