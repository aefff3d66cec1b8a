"""`verify --data`: every flipped bit is found, and its place named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack import storage
from grokpack.checkpoint import manifest_records
from grokpack.checkpoint.manifest_records import Record
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.core.errors import SourceUnreadable
from grokpack.core.layout import ArraySlice, Box, FileLayout, Literal
from grokpack.core.tensors import DType
from grokpack.core.tiles import TILE_BYTES
from grokpack.verification import byte_ranges
from grokpack.verification.verify_contents import check_contents
from grokpack.verification.verify_structure import Verdict, verify_structure, with_contents
from tests.support.checkpoints import reshard, synthesize
from tests.support.content_checks import bad, checked, flip
from tests.support.conversions import WIDE, convert


def verdict(folder: Path) -> Verdict:
    return with_contents(verify_structure(survey(str(folder))), checked(folder))


def test_what_was_written_is_whole(model: Path) -> None:
    contents = checked(model)
    assert not contents.findings
    written = [*(model / "ckpt-0").iterdir(), model / "config.json"]
    assert contents.total_bytes == sum(path.stat().st_size for path in written)
    assert contents.read_bytes == contents.total_bytes
    assert contents.never_bytes == 0
    assert contents.all_bytes


@given(st.data())
def test_every_flipped_bit_is_found_in_its_file(made: Path, data: st.DataObject) -> None:
    files = sorted((made / "ckpt-0").iterdir())
    path = data.draw(st.sampled_from(files))
    byte = data.draw(st.integers(0, path.stat().st_size - 1))
    bit = data.draw(st.integers(0, 7))
    flip(path, byte, bit)
    try:
        found = survey(str(made))
        structure = {f.file for f in found.findings if f.severity == "error"}
        named = {f.file for f in checked(made).findings} if found.checkpoint else set()
        assert path.name in structure | named
        assert named <= {path.name}
    finally:
        flip(path, byte, bit)


def test_a_flip_is_named_with_expert_and_row(model: Path) -> None:
    found = survey(str(model)).checkpoint
    assert found is not None
    name = "transformer/decoder_layer_1/moe/linear_1/w"
    expert, row = 1, 7
    piece = found.layout.pieces()[name][0]
    _, rows, columns = piece.box.shape
    flip(
        model / "ckpt-0" / piece.extent.path,
        piece.extent.offset + (expert * rows + row) * columns,
    )
    (finding,) = checked(model).findings
    assert (finding.code, finding.tensor) == ("GP110", name)
    assert finding.found is not None
    assert "1 of 1 tile: bytes 0 to" in finding.found
    assert "expert 0, row 0 to expert 1, row" in finding.found


def test_neighbouring_tiles_are_one_finding_and_others_are_their_own() -> None:
    shape = (4, 2048, 8192)  # 16 MiB an expert
    file = FileLayout(
        "f", (Literal(b"h" * 100), ArraySlice("t/w", Box((4, 0, 0), shape), DType.I8))
    )
    assert byte_ranges.tensors(file, 0, 100) == []
    assert byte_ranges.describe_range(file, 0, 100) == ""
    assert byte_ranges.describe_range(file, 100, 100 + 8192) == "expert 4, row 0"
    assert (
        byte_ranges.describe_range(file, TILE_BYTES + 100, 2 * TILE_BYTES)
        == "expert 5, rows 0 to 2,047"
    )
    assert (
        byte_ranges.describe_range(file, 100, file.nbytes)
        == "expert 4, row 0 to expert 7, row 2,047"
    )
    scales = FileLayout("f", (ArraySlice("t/w/scales", Box((0, 8, 0), (2, 8, 4)), DType.BF16),))
    assert byte_ranges.describe_range(scales, 8, 24) == "scales: expert 0, groups 9 to 10"
    norms = FileLayout(
        "f", tuple(ArraySlice(f"n{i}", Box((0,), (4,)), DType.F32) for i in range(5))
    )
    assert byte_ranges.describe_range(norms, 0, 4) == "element 0"
    text = "n0: elements 0 to 3; n1: elements 0 to 3; n2: elements 0 to 3; and 2 more"
    assert byte_ranges.describe_range(norms, 0, norms.nbytes) == text


def test_large_files_are_checked_tile_by_tile(tmp_path: Path) -> None:
    nbytes = 5 * TILE_BYTES + 1000
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(1000) * (nbytes // 1000) + b"x" * (nbytes % 1000))
    file = FileLayout("big.bin", (ArraySlice("t/w", Box((0, 0), (nbytes, 1)), DType.I8),))
    import xxhash

    data = path.read_bytes()
    tiles = [data[i : i + TILE_BYTES] for i in range(0, nbytes, TILE_BYTES)]
    sums = tuple(xxhash.xxh3_128_hexdigest(tile) for tile in tiles)
    own = manifest_records.Records("m", (Record(file, str(path), nbytes, sums),), (), ())
    model = open_checkpoint(str(synthesize(tmp_path / "any")))
    for byte in (TILE_BYTES, 2 * TILE_BYTES, nbytes - 1):
        flip(path, byte)
    found = [finding.found for finding in check_contents(model, own).findings]
    assert found == [
        "2 of 6 tiles: bytes 16,777,216 to 50,331,647 (rows 16,777,216 to 50,331,647)",
        f"1 of 6 tiles: bytes 83,886,080 to {nbytes - 1:,} (rows 83,886,080 to {nbytes - 1:,})",
    ]


def test_swapped_files_are_named_as_swapped_once(model: Path) -> None:
    gate, up = (model / "ckpt-0" / f"tensor0000{i}_000" for i in (2, 4))
    held = gate.read_bytes()
    gate.write_bytes(up.read_bytes())
    up.write_bytes(held)
    found = [(f.code, f.file) for f in verdict(model).findings]
    assert found == [("GP108", gate.name), ("GP108", up.name)]


def test_a_last_tile_is_one_finding_not_two(model: Path) -> None:
    flip(model / "ckpt-0" / "tensor00005_000", 1000)
    answer = verdict(model)
    assert [f.code for f in answer.findings] == ["GP110"]
    assert answer.checks["contents"] == "failed"
    assert answer.checks["structure"] == "ok"


def test_an_unreadable_file_is_a_finding_and_the_rest_is_read(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_into = storage.read_into

    def failing(path: str, offset: int, buffer: memoryview) -> None:
        if path.endswith("tensor00005_000"):
            raise SourceUnreadable("cannot be read: Input/output error")
        read_into(path, offset, buffer)

    found = survey(str(model)).checkpoint
    assert found is not None
    monkeypatch.setattr(storage, "read_into", failing)
    own = manifest_records.own(found)
    assert own is not None
    contents = check_contents(found, own)
    assert bad(contents) == {("GP117", "tensor00005_000")}
    assert contents.ended


@pytest.mark.parametrize("to", ["safetensors", "hf", "gguf", "zarr", "archive"])
def test_outputs_of_every_form_are_checked(tmp_path: Path, to: str) -> None:
    made = synthesize(tmp_path / "wide", WIDE)
    out = tmp_path / ("out.gguf" if to == "gguf" else "out")
    if to == "safetensors":
        reshard(made, out, 2)
    else:
        options = {"gguf": {"type": "q8_0"}}
        convert(made, out, to, **options.get(to, {}))
    assert not checked(out).findings
    own = manifest_records.own(open_checkpoint(str(out)))
    assert own is not None
    assert not own.unknown
    if to in ("hf", "zarr"):
        assert own.sidecars
    largest = max((Path(known.path) for known in own.files), key=lambda path: path.stat().st_size)
    flip(largest, largest.stat().st_size // 2)
    found = survey(str(out))
    structure = {f.code for f in found.findings if f.severity == "error"}
    assert structure or {f.code for f in checked(out).findings} == {"GP110"}


def test_small_files_beside_are_checked_too(model: Path) -> None:
    flip(model / "config.json", 5)
    assert bad(checked(model)) == {("GP110", "../config.json")}
    (model / "config.json").write_text("{}")
    assert bad(checked(model)) == {("GP112", "../config.json")}
    (model / "config.json").unlink()
    assert bad(checked(model)) == {("GP101", "../config.json")}


def test_a_manifest_leads_nowhere_outside_its_folder(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    path = model / "grokpack.json"
    document = json.loads(path.read_text())
    document["finals"]["../mine"] = {"bytes": 4, "tiles": "0" * 32}
    path.write_text(json.dumps(document))
    assert not checked(model).findings
