"""Where headers cannot be read and a manifest is there, its checksums say what is damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from grokpack.checkpoint import manifest_records, unparsed_files
from grokpack.cli.app import app
from grokpack.cli.verify import status
from grokpack.core.exit_status import ExitStatus
from grokpack.verification.external_checksums import check_against
from grokpack.verification.verify_contents import check_contents
from grokpack.verification.verify_structure import look, with_contents
from tests.support.checkpoints import reshard, synthesize
from tests.support.content_checks import flip
from tests.support.conversions import WIDE, convert

FORMATS = {"hf": "*.safetensors", "gguf": "*.gguf", "ckpt-0": "ckpt-0/*3_000"}
FORMATS |= {"ranks": "rank-001-of-002/*.safetensors", "zarr": "transformer/**/linear_v/w/zarr.json"}
FORMATS |= {"index": "*.index.json", "config": "config.json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each format with its manifest, and a file of it that has a header."""
    root = tmp_path_factory.mktemp("made")
    origin = synthesize(root / "ckpt-0", WIDE)
    convert(origin, root / "hf", "hf")
    convert(origin, root / "index", "hf", shard_bytes=400_000)
    shutil.copytree(root / "hf", root / "config")
    (root / "gguf").mkdir()
    convert(origin, root / "gguf" / "m.gguf", "gguf", type="q8_0")
    convert(origin, root / "zarr", "zarr")
    reshard(origin, root / "ranks", 2)
    return {name: next((root / name).glob(pattern)) for name, pattern in FORMATS.items()}


def place(made: dict[str, Path], name: str) -> Path:
    file = made[name]
    return file if name == "gguf" else [p for p in file.parents if p.name == name][-1]


def manifest_of(made: dict[str, Path], name: str) -> Path:
    path = place(made, name)
    if name == "gguf":
        return path.with_name(f"{path.name}.grokpack.json")
    return path / "grokpack.json"


def header_bytes(file: Path) -> int:
    """About as many as the header has; of a small file all."""
    if file.suffix == ".safetensors":
        return 8 + int.from_bytes(file.read_bytes()[:8], "little")
    return min(file.stat().st_size, 2000 if file.suffix == ".gguf" else 120)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data(), elsewhere=st.booleans())
@settings(max_examples=12)
def test_a_flipped_bit_of_a_header_is_damage_of_that_file(
    made: dict[str, Path], name: str, data: st.DataObject, elsewhere: bool
) -> None:
    """By the manifest beside the files, or by a copy of it where there is none."""
    file, path = made[name], str(place(made, name))
    beside = manifest_of(made, name)
    theirs = beside.with_suffix(".copy")
    byte = data.draw(st.integers(0, header_bytes(file) - 1))
    bit = data.draw(st.integers(0, 7))
    flip(file, byte, bit)
    if elsewhere:
        beside.rename(theirs)
    try:
        verdict = look(path)
        files = (
            verdict.survey.checkpoint
            or unparsed_files.listed(path)
            or unparsed_files.everything(path)
        )
        assert files is not None
        own = manifest_records.own(files)
        found = check_contents(files, own) if own else check_against(files, str(theirs))
        verdict = with_contents(verdict, found)
        assert status(verdict) in (ExitStatus.ANSWER_IS_NO, ExitStatus.UNSAFE)
        assert file.name in {Path(bad).name for bad in verdict.bad_files}
    finally:
        flip(file, byte, bit)
        if elsewhere:
            theirs.rename(beside)


def test_headers_that_break_are_damage_without_reading_everything(made: dict[str, Path]) -> None:
    for name in ("hf", "gguf", "ranks", "index"):
        file = made[name]
        flip(file, 3, 6)
        try:
            done = CliRunner().invoke(app, ["verify", str(place(made, name)), "--json"])
            assert done.exit_code == 1
            assert file.name in {Path(f["file"]).name for f in json.loads(done.stdout)["findings"]}
        finally:
            flip(file, 3, 6)


def test_what_is_as_recorded_and_cannot_be_read_is_refused_as_before(tmp_path: Path) -> None:
    """A model of another kind, recorded by somebody: its checksums are no excuse."""
    (tmp_path / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    sums = tmp_path / "sums"
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    sums.write_text(f"{digest}  model.safetensors\n")
    done = CliRunner().invoke(app, ["verify", str(tmp_path), "--against", str(sums), "--json"])
    assert done.exit_code != 0
