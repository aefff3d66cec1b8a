"""`manifest`: checksums for files that have none."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grokpack.checkpoint import manifest_records
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.core.errors import GrokpackError
from grokpack.core.tiles import TILE_BYTES
from grokpack.verification.external_checksums import check_against
from grokpack.verification.record_manifest import record
from grokpack.verification.verify_contents import check_contents
from grokpack.verification.verify_structure import verify_structure
from tests.support.checkpoints import synthesize
from tests.support.forked import run
from tests.support.grok2 import RELEASE

if TYPE_CHECKING:
    from grokpack.verification.read_and_compare import ReadResult


def test_a_manifest_has_what_a_second_implementation_computes(model: Path) -> None:
    import xxhash

    (model / "grokpack.json").unlink()
    made = record(open_checkpoint(str(model)), sha256=True)
    document = json.loads(Path(made.path).read_text())
    assert len(document["files"]) == made.files
    for name, row in document["files"].items():
        data = (model / "ckpt-0" / name).read_bytes()
        assert row["bytes"] == len(data)
        assert row["tiles"] == "".join(
            xxhash.xxh3_128(data[i : i + TILE_BYTES]).hexdigest()
            for i in range(0, len(data), TILE_BYTES)
        )
        assert row["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_manifest_says_the_same_as_the_one_that_writing_made(model: Path) -> None:
    written = json.loads((model / "grokpack.json").read_text())["files"]
    (model / "grokpack.json").unlink()
    made = json.loads(Path(record(open_checkpoint(str(model))).path).read_text())["files"]
    assert {f"ckpt-0/{name}": row for name, row in made.items()} == written


def test_the_next_command_compares_with_the_manifest_that_was_written(
    model: Path, tmp_path: Path
) -> None:
    (model / "grokpack.json").unlink()
    done = run("manifest", model, "-o", tmp_path / "m.json")
    following = done.stdout.partition("  next  ")[2].split()
    assert following == ["grokpack", "verify", str(model), "--against", str(tmp_path / "m.json")]
    assert run(*following[1:]).returncode == 0


def test_no_manifest_is_replaced(model: Path, tmp_path: Path) -> None:
    before = (model / "grokpack.json").read_bytes()
    with pytest.raises(GrokpackError) as caught:
        record(open_checkpoint(str(model)))
    assert caught.value.code == "GP327"
    assert (model / "grokpack.json").read_bytes() == before
    record(open_checkpoint(str(model)), str(tmp_path / "other.json"))
    assert not check_against(open_checkpoint(str(model)), str(tmp_path / "other.json")).findings


def test_a_manifest_of_files_from_elsewhere_lets_nobody_discard_them(
    model: Path, tmp_path: Path
) -> None:
    source = model / "ckpt-0"
    (model / "grokpack.json").unlink()
    record(open_checkpoint(str(source)))
    other = synthesize(tmp_path / "other")
    held = sorted(path.name for path in source.iterdir())
    done = run("reshard", other, "--tp", "2", "-o", source, "--restart")
    assert done.returncode == 5
    assert sorted(path.name for path in source.iterdir() if path.name != ".grokpack") == held


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return shutil.copytree(RELEASE, tmp_path / "release")


def test_a_manifest_lists_what_belongs_to_the_weights(release: Path) -> None:
    (release / "README.md").write_text("notes of somebody")
    (release / "generation_config.json").write_text("{}")
    made = record(open_checkpoint(str(release)), sha256=True)
    document = json.loads(Path(made.path).read_text())
    beside = ["LICENSE", "config.json", "generation_config.json", "tokenizer.tok.json"]
    assert list(document["finals"]) == beside
    assert made.files == len(document["files"]) + len(beside)
    for name, row in document["finals"].items():
        assert row["sha256"] == hashlib.sha256((release / name).read_bytes()).hexdigest()
    whole = verify_structure(survey(str(release)))
    assert whole.findings == () == compared(release).findings
    (release / "tokenizer.tok.json").unlink()
    (release / "LICENSE").unlink()
    said = (release / "config.json").read_text()
    (release / "config.json").write_text(said.replace("208533496", "10000"))
    found = {(finding.code, finding.file) for finding in compared(release).findings}
    assert found >= {("GP101", "LICENSE"), ("GP101", "tokenizer.tok.json")}
    assert ("GP112", "config.json") in found
    assert verify_structure(survey(str(release))).damaged_files == []


def compared(folder: Path) -> ReadResult:
    own = open_checkpoint(str(folder))
    records = manifest_records.own(own)
    assert records is not None
    return check_contents(own, records)


def test_a_manifest_that_lists_no_tokenizer_does_not_say_that_none_is_missing(
    release: Path,
) -> None:
    (release / "tokenizer.tok.json").unlink()
    path = Path(record(open_checkpoint(str(release))).path)
    document = json.loads(path.read_text())
    del document["finals"]  # as manifests were before they had these
    for manifest in (path.read_text(), json.dumps(document)):
        path.write_text(manifest)
        (missing,) = verify_structure(survey(str(release))).findings
        assert (missing.code, missing.severity) == ("GP132", "warning")


def test_the_files_beside_a_single_file_are_not_taken_for_its_own(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    file = tmp_path / "alone/model.gguf"
    options = ("--to", "gguf", "--type", "f32", "--tokenizer", "none")
    assert run("convert", model, *options, "-o", file).returncode == 0
    (tmp_path / "alone/config.json").write_text("{}")
    made = record(open_checkpoint(str(file)), str(tmp_path / "m.json"))
    assert json.loads(Path(made.path).read_text())["finals"] == {}
