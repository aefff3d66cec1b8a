"""Headers of safetensors: the safetensors library has the last word on what is read and written."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from grokpack import storage
from grokpack.checkpoint.extract import extract
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.core.errors import GrokpackError
from grokpack.formats import safetensors, safetensors_library
from grokpack.formats.header_allowance import Allowance
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert
from tests.support.fuzzing import TINY

WIDTHS = {"F32": 4, "BF16": 2, "I8": 1, "U8": 1, "I64": 8, "F8_E4M3": 1}
FOREIGN = {"F64": 8, "BOOL": 1, "C64": 8, "U16": 2}
SIZES = st.integers(0, 3)
ODD = st.sampled_from([-1, True, 1.0, "1", None, 1 << 40, 1 << 64, [1]])


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A sound table of a few arrays, and metadata or none."""
    table: dict[str, Any] = {}
    at = 0
    if draw(st.booleans()):
        table["__metadata__"] = draw(st.dictionaries(st.text(max_size=2), st.text(max_size=2)))
    for name in draw(st.lists(st.text(max_size=3), max_size=3, unique=True)):
        dtype = draw(st.sampled_from([*WIDTHS, *FOREIGN]))
        shape = draw(st.lists(SIZES, max_size=3))
        nbytes = (WIDTHS | FOREIGN)[dtype]
        for n in shape:
            nbytes *= n
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + nbytes]}
        at += nbytes
    return table


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A table in which one thing, or nothing, is another than it should be."""
    table = draw(rows())
    arrays = [name for name in table if name != "__metadata__"]
    kind = draw(st.sampled_from(["metadata", "dtype", "shape", "offsets", "field", "none"]))
    if kind == "metadata":
        table["__metadata__"] = draw(ODD | st.dictionaries(st.text(max_size=2), ODD, min_size=1))
    elif arrays:
        row = table[draw(st.sampled_from(arrays))]
        if kind == "dtype":
            row["dtype"] = draw(ODD | st.sampled_from(["f32", "F4", "F6_E2M3", "", "X"]))
        elif kind == "shape":
            row["shape"] = draw(ODD | st.lists(SIZES | ODD, max_size=4))
        elif kind == "offsets":
            row["data_offsets"] = draw(ODD | st.lists(SIZES | ODD, max_size=3))
        elif kind == "field":
            row[draw(st.sampled_from(["strides", "dtype "]))] = draw(ODD)
    return table


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A file whose header was written in one of many ways, or damaged after that."""
    table = draw(changed())
    text = json.dumps(table, ensure_ascii=draw(st.booleans()))
    begins = draw(st.sampled_from(["", "", "", "\ufeff", " ", "\x00", "[", "\n"]))
    ends = draw(st.sampled_from(["", "   ", "", "\n", "\x00", "{}", ","]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig"]))
    header = f"{begins}{text}{ends}".encode(encoding, "replace")
    ends_at = max((row["data_offsets"][1] for row in table.values() if _is_sound(row)), default=0)
    data = bytes(max(0, ends_at + draw(st.sampled_from([0, 0, 0, 1, -1, 8]))))
    whole = bytearray(struct.pack("<Q", len(header)) + header + data)
    if draw(st.booleans()):
        whole[draw(st.integers(0, len(whole) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(whole)


def _is_sound(row: Any) -> bool:
    try:
        return type(row["data_offsets"][1]) is int and 0 <= row["data_offsets"][1] < 1 << 20
    except (TypeError, KeyError, IndexError):
        return False


def opens(path: Path) -> bool:
    """Whether the library opens a file."""
    try:
        with safe_open(path, "np"):
            return True
    except SafetensorError:
        return False


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headers") / "file.safetensors"


@given(files())
@example(struct.pack("<Q", 2) + b"{}")
@example(struct.pack("<Q", 1 << 63) + b"{}")
def test_what_is_read_is_what_the_library_opens(place: Path, file: bytes) -> None:
    place.write_bytes(file)
    try:
        safetensors.read(storage.FileBytes(str(place)), "file.safetensors")
        code = None
    except GrokpackError as error:
        code = error.code
    assert code in (None, "GP208", "GP209")
    if code is None:
        assert opens(place)


@given(rows())
def test_what_is_sound_is_read(place: Path, table: dict[str, Any]) -> None:
    arrays = {name: row for name, row in table.items() if name != "__metadata__"}
    text = json.dumps(table).encode()
    size = max((row["data_offsets"][1] for row in arrays.values()), default=0)
    place.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    assert opens(place)
    if {row["dtype"] for row in arrays.values()} <= set(WIDTHS):
        header = safetensors.read(storage.FileBytes(str(place)), "file.safetensors")
        assert set(header.arrays) == set(arrays)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "model"
    synthesize(out, TINY)
    return out


def break_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on headers are written whose metadata is a number."""
    sound = safetensors.header_bytes

    def broken(arrays: Any, metadata: Any) -> bytes:
        header = sound(arrays, metadata)
        return header.replace(b'"pt"', b"1234")

    monkeypatch.setattr(safetensors, "header_bytes", broken)


@pytest.mark.parametrize("to", ["hf", "sglang", "safetensors"])
def test_no_output_is_published_that_the_library_does_not_open(
    to: str, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_headers(monkeypatch)
    with pytest.raises(GrokpackError, match="invalid type: integer `1234`") as caught:
        convert(origin, tmp_path / "out", to)
    assert caught.value.code == "GP901"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".safetensors"]
    assert not (tmp_path / "out" / "grokpack.json").exists()


def test_no_tensors_are_extracted_to_a_file_that_the_library_does_not_open(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_headers(monkeypatch)
    with pytest.raises(GrokpackError, match="invalid type") as caught:
        extract(open_checkpoint(str(origin)), ["*rms_norm*"], str(tmp_path / "x.safetensors"))
    assert caught.value.code == "GP901"
    assert not list(tmp_path.iterdir())


def header_of(table: dict[str, Any]) -> bytes:
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text


def test_a_header_of_the_largest_file_is_judged_without_its_contents() -> None:
    size = 1 << 40
    row = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = header_of({"x": row})
    assert safetensors_library.refusal(header, len(header) + size) is None
    reason = safetensors_library.refusal(header, len(header) + size - 1)
    assert reason is not None
    assert "incomplete metadata" in reason


@pytest.mark.parametrize("memory", [True, False])
def test_nothing_is_left_of_the_file_that_is_judged(
    memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not memory:
        monkeypatch.setattr(safetensors_library, "_OPEN_FILES", str(tmp_path / "none"))
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir())) if opened.is_dir() else 0
    assert safetensors_library.refusal(header_of({}), len(header_of({}))) is None
    assert safetensors_library.refusal(b"x" * 20, 20) is not None
    assert not list(tmp_path.iterdir())
    assert (len(list(opened.iterdir())) if opened.is_dir() else 0) == before


def test_headers_of_many_files_may_take_no_more_than_one_may() -> None:
    allowance = Allowance()
    for _ in range(2):
        allowance.take("a", arrays=1 << 16, nbytes=1 << 25)
    with pytest.raises(GrokpackError) as caught:
        allowance.take("b", arrays=1)
    assert caught.value.code == "GP235"
    with pytest.raises(GrokpackError):
        Allowance().take("b", nbytes=(1 << 26) + 1)
