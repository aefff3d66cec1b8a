"""Numbers of ranks and layers of Grok-2's releases: by a manifest, by a config, by the files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from grokpack.checkpoint.open_checkpoint import survey
from grokpack.conversion.plan_synth import plan_synth, preset
from grokpack.execution.run import execute
from grokpack.models.grok2 import GROK2
from grokpack.verification.verify_structure import Verdict, verify_structure
from tests.support.checkpoints import reshard

if TYPE_CHECKING:
    from pathlib import Path

ANY = (1, 2, 4, 8, 16, 32)


def ranked(kind: int, rank: int) -> str:
    return f"pytorch_model-{kind:05d}-TP-{rank:03d}.safetensors"


def verdict(folder: Path) -> Verdict:
    return verify_structure(survey(str(folder)))


def found(folder: Path) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.file) for finding in verdict(folder).findings]


def edit_config(folder: Path, **entries: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A release that up to 32 ranks can share, by the number of ranks, each with its manifest."""
    home = tmp_path_factory.mktemp("cuts")
    geometry = replace(preset(GROK2.name, "tiny"), layers=1, q_width=512, kv_width=128)
    execute(plan_synth(geometry, model=GROK2.name), str(home / "release"))
    for ranks in ANY:
        reshard(home / "release", home / f"{ranks}", ranks, "sglang")
    return {ranks: home / f"{ranks}" for ranks in ANY}


def copied(cut: Path, tmp_path: Path, *left_out: str) -> Path:
    return shutil.copytree(cut, tmp_path / "copy", ignore=shutil.ignore_patterns(*left_out))


def test_half_of_the_ranks_may_be_as_many_as_the_release_has(
    cuts: dict[int, Path], tmp_path: Path
) -> None:
    folder = copied(cuts[16], tmp_path, "grokpack.json", "*-TP-008*", "*-TP-009*", "*-TP-01*")
    gone = [("GP101", ranked(kind, rank)) for kind in (6, 7, 8) for rank in range(8, 16)]
    assert found(folder) == gone


@pytest.mark.parametrize("ranks", ANY)
def test_without_a_config_the_manifest_tells_the_ranks(
    cuts: dict[int, Path], tmp_path: Path, ranks: int
) -> None:
    folder = copied(cuts[ranks], tmp_path, "config.json")
    assert found(folder) == [("GP131", "config.json"), ("GP101", "config.json")]
    (folder / ranked(7, ranks - 1)).unlink()
    assert verdict(folder).damaged_files == [ranked(7, ranks - 1)]


@pytest.mark.parametrize("ranks", [1, 2, 4, 16, 32])
def test_where_only_files_tell_the_ranks_that_is_said(
    cuts: dict[int, Path], tmp_path: Path, ranks: int
) -> None:
    folder = copied(cuts[ranks], tmp_path, "config.json", "grokpack.json")
    looked = verdict(folder)
    doubted = [("GP123", ranked(6, ranks - 1)), ("GP131", "config.json")]
    assert [(finding.code, finding.file) for finding in looked.findings] == doubted
    assert (looked.whole, looked.complete) == (True, None)
    (folder / ranked(7, ranks - 1)).unlink()
    assert verdict(folder).damaged_files == [ranked(7, ranks - 1)]


@pytest.mark.parametrize("ranks", ANY)
@pytest.mark.parametrize("left_out", ["grokpack.json", "nothing"])
def test_a_config_with_half_the_width_is_itself_wrong(
    cuts: dict[int, Path], tmp_path: Path, ranks: int, left_out: str
) -> None:
    folder = copied(cuts[ranks], tmp_path, left_out)
    edit_config(folder, moe_intermediate_size=128)
    assert {row for row in found(folder) if row[0] != "GP110"} == {("GP130", "config.json")}


@pytest.mark.parametrize("ranks", [4, 16])
def test_a_rank_file_too_many_is_foreign_and_one_too_few_missing(
    cuts: dict[int, Path], tmp_path: Path, ranks: int
) -> None:
    folder = copied(cuts[ranks], tmp_path, "grokpack.json")
    shutil.copy(folder / ranked(6, 0), folder / ranked(6, ranks))
    (folder / ranked(8, 1)).unlink()
    assert found(folder) == [("GP102", ranked(6, ranks)), ("GP101", ranked(8, 1))]
