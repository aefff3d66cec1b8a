"""Files of token ids: what numpy writes is read, anything else is refused for a reason."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.evaluation.input_tokens import read_tokens
from grokpack.formats import npy

MOST = 1 << 22


def saved(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def made(header: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def of_shape(shape: str, data: bytes = b"") -> bytes:
    return made(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({shape})}}", data)


@given(
    st.sampled_from(["<i8", ">i4", "<u2", "|i1", "|u1", ">u8", "<i4"]),
    st.lists(st.integers(0, 5), min_size=1, max_size=3),
    st.booleans(),
)
def test_what_numpy_writes_is_read(kind: str, shape: list[int], fortran: bool) -> None:
    array = np.arange(np.prod(shape)).astype(kind).reshape(shape)
    array = np.asfortranarray(array) if fortran else array
    found = npy.read_integers(saved(array), MOST)
    assert found.shape == array.shape
    assert np.array_equal(found, array)


REFUSED = {
    "a size beyond 64 bits": of_shape(f"{10**30},"),
    "a size beyond memory": of_shape("1000000000000,"),
    "a hundred milliard empty rows": of_shape("100000000000,0"),
    "a negative size": of_shape("-5,"),
    "a size that is a flag": of_shape("True,", bytes(8)),
    "a size that is a float": of_shape("2.0,", bytes(16)),
    "a sum for a size": of_shape("1+1,", bytes(16)),
    "nested lists": made("[" * 4000),
    "nested brackets": made("(" * 4000 + ")" * 4000),
    "a flag for a header": made("True"),
    "no header": made(""),
    "a header of text": made("'x'"),
    "a header without end": made("", version=2)[:8] + b"\xff\xff\xff\xff",
    "a long header": made("{" + " " * 60_000 + "}"),
    "a product for a dtype": made(
        "{'descr': '<i8' * 99999999, 'fortran_order': False, 'shape': ()}"
    ),
    "no dtype": made("{'descr': None, 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "fields": saved(np.zeros(2, [("a", np.int64)])),
    "objects": saved(np.array([{}, None], object)),
    "floats": saved(np.ones(3)),
    "flags": saved(np.ones(3, bool)),
    "text": saved(np.array(["a"])),
    "dates": saved(np.array(["2024-03-17"], "M8[D]")),
    "cut short": saved(np.arange(100))[:-5],
    "run on": saved(np.arange(100)) + b"xx",
    "another version": made("{}", version=9),
    "no array": b"1 2 3\n",
    "nothing": b"",
    "an archive": b"PK\x03\x04" + bytes(40),
    "no axis": saved(np.int64(3)),
    "three axes": saved(np.ones((2, 2, 2), np.int64)),
    "no tokens": saved(np.zeros(0, np.int64)),
    "no tokens in rows": saved(np.zeros((5, 0), np.int64)),
    "nothing but padding": saved(np.zeros(9, np.int64)),
    "too many rows": saved(np.ones((70_000, 1), np.int8)),
    "too many tokens": saved(np.ones(MOST + 1, np.int8)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ids.npy"
    path.write_bytes(REFUSED[name])
    with pytest.raises(GrokpackError) as caught:
        read_tokens(str(path), None, None, 0)
    assert caught.value.code == "GP342"
    assert len(caught.value.what) < 200
    assert json.dumps(caught.value.what).isascii()


@given(st.data())
def test_damaged_files_are_read_or_refused(drawn: st.DataObject) -> None:
    data = bytearray(saved(np.arange(20)))
    for _ in range(drawn.draw(st.integers(1, 6))):
        data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert npy.read_integers(bytes(data), MOST).dtype.kind in "iu"
