"""Real files: the golden ones, the release's sizes, and what Python makes of ours."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import pickle as pickles
from grokpack.storage import FileBytes
from tests.support.checkpoints import GOLDEN
from tests.support.project import DATA

DTYPES = {
    DType.I8: np.int8,
    DType.F32: np.float32,
    DType.F16: np.float16,
    DType.BF16: ml_dtypes.bfloat16,
}


class Memory:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, nbytes: int) -> bytes:
        assert offset + nbytes <= len(self.data)
        return self.data[offset : offset + nbytes]


def read(data: bytes) -> pickles.Pickled:
    return pickles.read(Memory(data), "file")


def rebuilt(data: bytes) -> bytes:
    """What writing gives for what reading found."""
    found = read(data)
    out = found.literals[0]
    for array, literal in zip(found.arrays(), found.literals[1:], strict=True):
        out += data[array.offset : array.offset + array.spec.nbytes] + literal
    return out


@pytest.mark.parametrize("path", sorted((GOLDEN / "ckpt-0").iterdir()), ids=lambda p: p.name)
def test_every_golden_file_is_read_and_written_back_to_the_byte(path: Path) -> None:
    config = json.loads((GOLDEN / "config.json").read_text())
    row = next(t for t in config["tensors"] if t["file"] == path.name)
    found = pickles.read(FileBytes(str(path)), str(path))
    assert found.values.spec.shape == tuple(row["shape"])
    assert (found.scales is not None) == ("scales_shape" in row)
    if found.scales:
        assert found.scales.spec == ArraySpec(tuple(row["scales_shape"]), DType.BF16)
    assert rebuilt(path.read_bytes()) == path.read_bytes()


def test_the_frames_of_the_release_have_its_sizes_and_offsets_to_the_byte() -> None:
    names = {"f32": DType.F32, "int8": DType.I8}
    for row in json.loads((DATA / "grok1_tensors.json").read_text()):
        values = ArraySpec(tuple(row["shape"]), names[row["dtype"]])
        scales = ArraySpec(tuple(row["scales_shape"]), DType.BF16) if row["scales_shape"] else None
        made = pickles.frame(values, scales)
        assert made.nbytes == row["file_bytes"]
        assert made.values.offset == row["weight_offset"]
        assert (made.scales.offset if made.scales else None) == row["scales_offset"]
        assert len(made.literals[-1]) == row["tail_bytes"]


class QuantizedWeight8bit:
    """Stands where xAI's class stands; pickled under its name."""

    def __init__(self, weight: Any, scales: Any) -> None:
        self.weight, self.scales = weight, scales


QuantizedWeight8bit.__module__ = "__main__"


def dumps(value: Any, protocol: int) -> bytes:
    main = sys.modules["__main__"]
    before = getattr(main, "QuantizedWeight8bit", None)
    main.QuantizedWeight8bit = QuantizedWeight8bit  # type: ignore[attr-defined]
    try:
        stream = io.BytesIO()
        pickle.Pickler(stream, protocol).dump(value)
        return stream.getvalue()
    finally:
        if before is None:
            del main.QuantizedWeight8bit


@pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning")
@pytest.mark.parametrize("dtype", [DType.I8, DType.BF16])
def test_what_is_written_is_loaded_by_python_itself(dtype: DType) -> None:
    values = np.arange(8 * 96 * 100).reshape(8, 96, 100).astype(DTYPES[dtype])
    scales = np.arange(8 * 4 * 100).reshape(8, 4, 100).astype(ml_dtypes.bfloat16)
    made = pickles.frame(ArraySpec(values.shape, dtype), ArraySpec(scales.shape, DType.BF16))
    first, second, third = made.literals
    data = first + values.tobytes() + second + scales.tobytes() + third
    main = sys.modules["__main__"]
    main.QuantizedWeight8bit = QuantizedWeight8bit  # type: ignore[attr-defined]
    try:
        loaded = pickle.loads(data)
    finally:
        del main.QuantizedWeight8bit
    assert np.array_equal(loaded.weight, values)
    assert loaded.weight.dtype == values.dtype
    assert np.array_equal(loaded.scales, scales)
    assert (loaded.scales.astype(np.float32) * 2 == scales.astype(np.float32) * 2).all()


SYSTEM = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x07touch x\x85R0"


def test_framing_from_a_manifest_is_checked_like_a_file() -> None:
    values = ArraySpec((4, 4), DType.I8)
    good = pickles.frame(values, None).literals
    with pytest.raises(GrokpackError) as caught:
        pickles.check_literals((SYSTEM + good[0][2:], good[1]), values, None)
    assert caught.value.code == "GP204"
    assert not pickles.check_literals(good, ArraySpec((4, 5), DType.I8), None)
    assert pickles.check_literals(good, values, None)
