"""What was read is remembered, until a file changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.checkpoint import manifest_records
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.verification import sampling
from grokpack.verification.read_options import ReadOptions
from grokpack.verification.record_manifest import record
from grokpack.verification.verify_contents import check_contents
from tests.support.content_checks import bad, checked, flip


def test_results_are_remembered_until_the_file_changes(model: Path) -> None:
    checked(model)
    young = sampling.Sample(max_age_s=3600)
    assert checked(model, young).read_bytes == 0
    path = model / "ckpt-0" / "tensor00005_000"
    os.utime(path, ns=(0, 0))
    assert checked(model, young).read_bytes == path.stat().st_size


def test_what_was_bad_is_remembered_as_bad(model: Path) -> None:
    path = model / "ckpt-0" / "tensor00005_000"
    flip(path, 1000)
    young = sampling.Sample(max_age_s=3600)
    assert bad(checked(model)) == {("GP110", path.name)}
    assert bad(checked(model, young)) == {("GP110", path.name)}
    flip(path, 1000)
    assert not checked(model, young).findings
    assert checked(model, young).read_bytes == 0


def test_a_damaged_tile_was_read(model: Path) -> None:
    flip(model / "ckpt-0" / "tensor00005_000", 1000)
    contents = checked(model)
    assert (contents.never_bytes, contents.all_bytes) == (0, True)
    young = checked(model, sampling.Sample(max_age_s=3600))
    assert young.never_bytes == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "grokpack/checked/1", "files": {"tensor00005_000": 7}}']
)
def test_a_broken_memory_is_no_memory(model: Path, text: str) -> None:
    checked(model)
    (model / ".grokpack" / "checked.json").write_text(text)
    contents = checked(model, sampling.Sample(max_age_s=3600))
    assert contents.read_bytes == contents.total_bytes


def test_a_memory_of_other_checksums_is_none(model: Path) -> None:
    checked(model)
    path = model / "grokpack.json"
    document = json.loads(path.read_text())
    row = document["files"]["ckpt-0/tensor00005_000"]
    row["tiles"] = row["tiles"][::-1]
    path.write_text(json.dumps(document))
    contents = checked(model, sampling.Sample(max_age_s=3600))
    assert bad(contents) == {("GP110", "tensor00005_000")}


def test_stopping_keeps_what_was_found(model: Path) -> None:
    found = open_checkpoint(str(model))
    own = manifest_records.own(found)
    assert own is not None
    asked = iter([False] * 5 + [True] * 100)
    contents = check_contents(found, own, ReadOptions(stopping=lambda: next(asked), workers=1))
    assert not contents.ended
    assert 0 < contents.read_bytes < contents.total_bytes
    rest = checked(model, sampling.Sample(max_age_s=3600))
    assert rest.read_bytes == contents.total_bytes - contents.read_bytes


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_nothing_can_be_written_the_cache_remembers(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _in_a_cache(model, monkeypatch, tmp_path)


def test_where_a_folder_counts_as_read_only_the_cache_remembers(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(storage, "is_writable", lambda _path: False)
    _in_a_cache(model, monkeypatch, tmp_path)


def _in_a_cache(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (model / "grokpack.json").unlink()
    mode = model.stat().st_mode
    for folder in (model, model / "ckpt-0"):
        folder.chmod(0o555)
    try:
        made = record(open_checkpoint(str(model)))
        assert Path(made.path).is_relative_to(tmp_path / "cache")
        assert not checked(model).findings
        assert checked(model, sampling.Sample(max_age_s=3600)).read_bytes == 0
    finally:
        for folder in (model, model / "ckpt-0"):
            folder.chmod(mode)
    assert not (model / ".grokpack").exists()
