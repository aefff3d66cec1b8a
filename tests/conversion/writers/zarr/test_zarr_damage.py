"""zarr folders that are damaged, hostile or not whole: found out, and the file named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr as zarr_python

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.conversions import convert
from tests.support.zarr_stores import QUERY, by_tensorstore, flip, write_tensorstore


def describe(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


SHARD = "transformer/decoder_layer_0/moe/linear/w/c/0/0/1"
NORM = "transformer/decoder_layer_0/rms_norm/scale"
STRUCTURE: dict[str, tuple[Callable[[Path], Any], str, str | None]] = {
    "a shard is missing": (lambda f: (f / SHARD).unlink(), "GP101", SHARD),
    "a shard is cut short": (
        lambda f: (f / SHARD).write_bytes((f / SHARD).read_bytes()[:9]),
        "GP103",
        SHARD,
    ),
    "an index points beyond the file": (lambda f: flip(f / SHARD, -6), "GP103", SHARD),
    "an array is missing": (lambda f: shutil.rmtree(f / QUERY), "GP101", None),
    "scales are missing": (lambda f: shutil.rmtree(f / f"{QUERY}_scales"), "GP101", None),
    "an array has another shape": (
        lambda f: describe(f, QUERY, shape=[32, 64]),
        "GP105",
        f"{QUERY}/zarr.json",
    ),
    "metadata breaks off": (
        lambda f: (f / QUERY / "zarr.json").write_text('{"zarr_format": 3'),
        "GP111",
        f"{QUERY}/zarr.json",
    ),
    "an array is of words": (
        lambda f: describe(f, NORM, data_type="string"),
        "GP106",
        f"{NORM}/zarr.json",
    ),
    "a norm is of integers": (
        lambda f: describe(f, NORM, data_type="int32"),
        "GP106",
        f"{NORM}/zarr.json",
    ),
    "a node is neither an array nor a group": (
        lambda f: describe(f, NORM, node_type="arrays"),
        "GP111",
        f"{NORM}/zarr.json",
    ),
    "a chunk grid is not regular": (
        lambda f: describe(f, NORM, chunk_grid={"name": "rectilinear"}),
        "GP106",
        f"{NORM}/zarr.json",
    ),
    "scales have another shape": (
        lambda f: describe(f, f"{QUERY}_scales", shape=[3, 128]),
        "GP107",
        f"{QUERY}_scales/zarr.json",
    ),
    "the config is of another model": (
        lambda f: (f / "config.json").write_text('{"emb_size": 7, "key_size": 8}'),
        "GP130",
        "config.json",
    ),
}


@pytest.mark.parametrize("case", STRUCTURE)
def test_what_is_wrong_is_found_without_reading_values(
    tmp_path: Path, folder: Path, case: str
) -> None:
    damage, code, file = STRUCTURE[case]
    damage(folder)
    (folder / "grokpack.json").unlink()  # which would know as well
    found = survey(str(folder)).findings
    assert (code, file) in {(f.code, f.file) for f in found}
    with pytest.raises(GrokpackError) as caught:
        convert(folder, tmp_path / "out", "ckpt-0")
    assert caught.value.code == "GP202"
    assert not (tmp_path / "out").exists()


def test_a_damaged_chunk_is_found_among_the_values_and_the_others_are_counted(
    tmp_path: Path, folder: Path
) -> None:
    flip(folder / SHARD, 5)
    bad = f"{NORM}/c/0"
    flip(folder / bad, 5)
    verdict = verify_values(verify_structure(survey(str(folder))))
    assert {(f.code, f.file) for f in verdict.findings if f.code == "GP115"} == {
        ("GP115", SHARD),
        ("GP115", bad),
    }
    assert verdict.checks["values"] == "failed"
    with pytest.raises(GrokpackError) as caught:
        convert(folder, tmp_path / "out", "ckpt-0")
    assert caught.value.code == "GP225"
    assert caught.value.where is not None
    assert caught.value.where.path.endswith((SHARD, bad))
    assert not (tmp_path / "out" / "grokpack.json").exists()


def test_the_manifest_tells_a_changed_shard_without_decoding(folder: Path) -> None:
    assert verify_structure(survey(str(folder))).whole
    flip(folder / SHARD, 5)
    found = verify_structure(survey(str(folder))).findings
    assert {(f.code, f.file) for f in found} == {("GP110", SHARD)}


def test_a_shard_that_goes_while_it_is_read_is_not_read_as_zeros(folder: Path) -> None:
    reader = ArrayReader(open_checkpoint(str(folder)))
    (folder / SHARD).unlink()
    name = "transformer/decoder_layer_0/moe/linear/w"
    with pytest.raises(GrokpackError, match="missing") as caught:
        reader.read(name, Box((0, 0, 0), (2, 4, 64)))
    assert caught.value.code == "GP225"
    assert caught.value.where is not None
    assert caught.value.where.path == str(folder / SHARD)


def test_arrays_that_are_no_tensors_are_left_alone_and_named(folder: Path) -> None:
    write_tensorstore(folder, "optimizer/mu", np.ones((3, 4), np.float32), "zarr3")
    found = survey(str(folder))
    assert found.whole
    assert [(f.code, f.severity, f.tensor) for f in found.findings] == [
        ("GP102", "warning", "optimizer/mu")
    ]


def test_a_chunk_of_zeros_that_was_left_out_is_not_read_as_zeros(
    folder: Path,
) -> None:
    path = folder / NORM
    values = by_tensorstore(path)
    shutil.rmtree(path)
    write_tensorstore(folder, NORM, values, "zarr3")
    min((path / "c").iterdir()).unlink()
    assert "GP101" in {f.code for f in survey(str(folder)).findings}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{" * 5000,
        '{"zarr_format": 3, "node_type": "array"}',
        '{"zarr_format": 3, "node_type": "array", "shape": [1e9], "data_type": "int8"}',
        '{"zarr_format": 2, "shape": [4], "chunks": [0], "dtype": "|i1"}',
        '{"zarr_format": 2, "shape": [4], "chunks": [4, 4], "dtype": "|i1"}',
        '{"zarr_format": 2, "shape": [4398046511104, 9999], "chunks": [1, 1], "dtype": "|i1"}',
        '{"zarr_format": 2, "shape": [4398046511104], "chunks": [1], "dtype": "|i1"}',
    ],
)
def test_hostile_metadata_ends_in_a_finding(folder: Path, text: str) -> None:
    (folder / QUERY / "zarr.json").write_text(text)
    found = survey(str(folder)).findings
    assert {"GP111", "GP101"} & {f.code for f in found}


def test_a_group_without_tensors_is_no_checkpoint(tmp_path: Path) -> None:
    zarr_python.open_group(tmp_path / "z", mode="w")
    with pytest.raises(GrokpackError) as caught:
        survey(str(tmp_path / "z"))
    assert caught.value.code == "GP210"


def test_inspect_counts_the_bytes_of_the_files(small: Path) -> None:
    data = document(survey(str(small)))
    sizes = {p: p.stat().st_size for p in small.rglob("*") if p.is_file()}
    own = [p for p in sizes if p.name not in ("config.json", "grokpack.json")]
    assert data["bytes"] == sum(sizes[p] for p in own)
    (tensor,) = [t for t in data["tensors"] if t["name"] == QUERY]
    assert {row["file"] for row in tensor["pieces"]["values"]} == {
        f"{QUERY}/c/0/0",
        f"{QUERY}/c/0/1",
    }
    assert sum(row["share"] for row in data["parts"]) == pytest.approx(1)
