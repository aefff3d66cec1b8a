"""Damage of every kind is found and named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import survey
from grokpack.verification.repair import fixes, repair_command
from grokpack.verification.verify_structure import Verdict, verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import GOLDEN, reshard, synthesize
from tests.support.conversions import convert
from tests.support.grok2 import RELEASE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return synthesize(tmp_path / "model") / "ckpt-0"


def verify(folder: Path) -> Verdict:
    return verify_structure(survey(str(folder)))


def found(folder: Path) -> set[tuple[str, str | None]]:
    return {(f.code, f.file) for f in verify(folder).findings}


def test_a_whole_checkpoint_has_no_finding(folder: Path) -> None:
    assert verify(folder).whole
    assert verify_structure(survey(str(GOLDEN))).whole


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "tensor00007_000").unlink()
    assert found(folder) == {("GP101", "tensor00007_000")}


def test_the_last_file_is_missed_too(folder: Path) -> None:
    (folder / "config.json").unlink(missing_ok=True)
    (folder.parent / "config.json").unlink()
    (folder / "tensor00025_000").unlink()
    assert ("GP101", "tensor00025_000") in found(folder)


def test_a_truncated_file_is_named(folder: Path) -> None:
    os.truncate(folder / "tensor00003_000", 1000)
    assert found(folder) == {("GP103", "tensor00003_000")}


def test_a_file_with_a_tail_is_named(folder: Path) -> None:
    with (folder / "tensor00003_000").open("ab") as handle:
        handle.write(b"x" * 10)
    assert found(folder) == {("GP104", "tensor00003_000")}


def test_foreign_files_are_named(folder: Path) -> None:
    (folder / "tensor00099_000").write_bytes((folder / "tensor00001_000").read_bytes())
    (folder / "tensor_notes").write_text("x")
    assert found(folder) == {("GP102", "tensor00099_000"), ("GP102", "tensor_notes")}


def test_other_files_are_no_finding(folder: Path) -> None:
    for name in ("tokenizer.model", ".hidden", "README.md"):
        (folder / name).write_text("x")
    assert verify(folder).whole


def test_swapped_files_of_different_shapes_are_named_both(folder: Path) -> None:
    one, other = folder / "tensor00002_000", folder / "tensor00005_000"
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert {("GP108", one.name), ("GP108", other.name)} <= found(folder)


def test_swapped_files_of_equal_shapes_are_found_by_the_manifest(folder: Path) -> None:
    gate, up = folder / "tensor00002_000", folder / "tensor00004_000"
    data = gate.read_bytes()
    gate.write_bytes(up.read_bytes())
    up.write_bytes(data)
    assert found(folder) == {("GP108", gate.name), ("GP108", up.name)}


def test_a_gate_copied_over_an_up_is_found_without_a_manifest(folder: Path) -> None:
    (folder.parent / "grokpack.json").unlink()
    shutil.copy(folder / "tensor00002_000", folder / "tensor00004_000")
    assert found(folder) == {("GP109", "tensor00004_000")}


@pytest.mark.parametrize(("original", "lost"), [(9, 10), (13, 25)])  # two norms, two routers
def test_a_small_file_copied_over_another_is_found_without_a_manifest(
    folder: Path, original: int, lost: int
) -> None:
    (folder.parent / "grokpack.json").unlink()
    shutil.copy(folder / f"tensor{original:05d}_000", folder / f"tensor{lost:05d}_000")
    assert found(folder) == {("GP109", f"tensor{lost:05d}_000")}


def test_what_every_host_has_whole_is_no_copy_but_a_hosts_share_is(
    folder: Path, tmp_path: Path
) -> None:
    reshard(folder, tmp_path / "out", 2, "ckpt-0", hosts=2)
    (tmp_path / "out" / "grokpack.json").unlink()
    shares = tmp_path / "out" / "ckpt-0"
    assert verify(shares).whole
    shutil.copy(shares / "tensor00002_000", shares / "tensor00002_001")
    assert found(shares) == {("GP109", "tensor00002_001")}


def test_norms_of_one_value_are_no_copies(folder: Path) -> None:
    (folder.parent / "grokpack.json").unlink()
    for index in (1, 9, 10):
        path = folder / f"tensor{index:05d}_000"
        data = bytearray(path.read_bytes())
        data[-133:-5] = np.ones(32, np.float32).tobytes()
        path.write_bytes(data)
    assert verify(folder).whole


@pytest.mark.parametrize("target", ["nowhere", "tensor00005_000"])
def test_a_link_to_nowhere_is_a_finding_and_the_others_are_read(folder: Path, target: str) -> None:
    (folder / "tensor00005_000").unlink()
    (folder / "tensor00005_000").symlink_to(target)
    (folder / "tensor00007_000").unlink()
    assert found(folder) == {("GP214", "tensor00005_000"), ("GP101", "tensor00007_000")}


def test_the_release_without_its_embedding_is_still_known_and_repaired(
    release: Path, tmp_path: Path
) -> None:
    files = shutil.copytree(release / "ckpt-0", tmp_path / "ckpt-0", copy_function=os.link)
    (files / "tensor00000_000").unlink()
    verdict = verify(tmp_path)
    assert {(f.code, f.file) for f in verdict.findings} == {("GP101", "tensor00000_000")}
    command = "hf download xai-org/grok-1 ckpt-0/tensor00000_000 --local-dir "
    assert (repair_command(verdict) or "").startswith(command)
    (files / "tensor00900_000").write_bytes(b"stranger")
    (files / "tensor00005_000").unlink()  # a link to the file of other tests
    (files / "tensor00005_000").write_bytes(b"cut")
    spoilt = verify(tmp_path)
    rows = dict(zip((f.file for f in spoilt.findings), fixes(spoilt), strict=True))
    assert rows.pop("tensor00900_000") is None
    for file, mend in rows.items():
        assert mend is not None
        assert mend.startswith(f"hf download xai-org/grok-1 ckpt-0/{file} --local-dir ")
    assert set(rows) == {"tensor00000_000", "tensor00005_000"}


def test_a_hostile_file_is_unsafe(folder: Path) -> None:
    (folder / "tensor00002_000").write_bytes(b"\x80\x04cposix\nsystem\n\x8c\x01x\x85R.")
    assert found(folder) == {("GP204", "tensor00002_000")}


@pytest.mark.parametrize("name", ["tensor00999_000", "tensor00002_001"])
def test_a_hostile_file_that_no_tensor_has_is_unsafe_too(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"I1\n0cposix\nsystem\n(S'x'\ntR.")
    assert found(folder) == {("GP102", name), ("GP204", name)}


def test_a_wrong_config_is_a_finding(folder: Path) -> None:
    config = folder.parent / "config.json"
    config.write_text(config.read_text().replace('"emb_size": 32', '"emb_size": 48'))
    assert found(folder) == {("GP130", "config.json")}


@pytest.mark.parametrize("damage", ["missing", "truncated", "header", "stranger"])
def test_damage_to_rank_folders_is_named(folder: Path, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "ranks"
    reshard(folder, out, 2)
    name = "rank-001-of-002/model-00001-of-00001.safetensors"
    file = out / name
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        os.truncate(file, 5000)
    elif damage == "header":
        file.write_bytes(file.read_bytes().replace(b"linear_v/w", b"linear_x/w", 1))
    else:
        shutil.copy(file, out / "common" / "more.safetensors")
    codes = {"missing": "GP101", "truncated": "GP103", "header": "GP105", "stranger": "GP102"}
    where = "common/more.safetensors" if damage == "stranger" else name
    assert (codes[damage], where) in found(out)


def _poke(file: Path, offset_from_end: int, data: bytes) -> None:
    with file.open("r+b") as handle:
        handle.seek(-offset_from_end, os.SEEK_END)
        handle.write(data)


def test_values_find_nan_infinities_and_bad_scales(folder: Path) -> None:
    def bf16(value: float) -> bytes:
        return np.array(value, ml_dtypes.bfloat16).tobytes()

    _poke(folder / "tensor00001_000", 25, np.float32(np.nan).tobytes())
    _poke(folder / "tensor00000_000", 45, np.float32(-np.inf).tobytes())
    _poke(folder / "tensor00005_000", 47, bf16(0))
    _poke(folder / "tensor00006_000", 47, bf16(-1))
    verdict = verify_values(verify(folder))
    values = {(f.code, f.file) for f in verdict.findings if f.code.startswith("GP12")}
    assert values == {
        ("GP120", "tensor00001_000"),
        ("GP121", "tensor00000_000"),
        ("GP122", "tensor00005_000"),
        ("GP122", "tensor00006_000"),
    }


def test_statistics_are_those_of_plain_numpy(folder: Path) -> None:
    from grokpack.checkpoint.array_reader import ArrayReader
    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.core.layout import whole_box
    from grokpack.kernels.float_casts import to_f32
    from grokpack.verification.verify_values import statistics

    checkpoint = open_checkpoint(str(folder))
    reader = ArrayReader(checkpoint)
    for row in statistics(checkpoint):
        tensor = checkpoint.tensors[row["name"]]
        arrays = [reader.read(n, whole_box(s.shape)) for n, s in tensor.arrays().items()]
        values = arrays[0].view(np.float32) if tensor.scales is None else None
        if tensor.scales is not None:
            scales = to_f32(arrays[1], tensor.scales.dtype)
            repeat = tensor.values.shape[-2] // scales.shape[-2]
            values = arrays[0].view(np.int8) * np.repeat(scales, repeat, axis=-2)
        assert values is not None
        assert row["min"] == values.min()
        assert row["max"] == values.max()
        assert row["elements"] == values.size
        assert row["rms"] == pytest.approx(np.sqrt(np.square(values, dtype=np.float64).mean()))
        assert sum(row["histogram"]["counts"]) == values.size


@pytest.mark.parametrize(
    ("to", "names"),
    [
        ("hf", ("LICENSE", "generation_config.json", "tokenizer.json")),
        ("safetensors", ("chat_template.jinja", "tokenizer.tok.json")),
    ],
)
def test_small_files_of_another_size_than_the_manifests_are_named(
    tmp_path: Path, to: str, names: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    convert(RELEASE, out, to)
    assert found(out) == set()
    for name in names:
        with (out / name).open("ab") as file:
            file.write(b"\n")
    looked = verify(out)
    assert [(f.code, f.file) for f in looked.findings] == [("GP112", name) for name in names]
    assert (looked.word, looked.damaged_files) == ("damaged", [])
