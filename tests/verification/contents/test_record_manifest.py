"""`manifest`: checksums for files that have none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.core.errors import GrokpackError
from grokpack.core.tiles import TILE_BYTES
from grokpack.verification.external_checksums import check_against
from grokpack.verification.record_manifest import record
from tests.support.checkpoints import synthesize
from tests.support.forked import run


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
