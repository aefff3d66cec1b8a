"""Numbers of ranks and layers of Grok-2's releases: by a manifest, by a config, by the files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from safetensors import deserialize

from grokpack.checkpoint.open_checkpoint import survey
from grokpack.conversion.plan_synth import plan_synth, preset
from grokpack.execution.run import execute
from grokpack.models.grok2 import GROK2
from grokpack.verification.verify_structure import Verdict, verify_structure
from tests.support.checkpoints import reshard
from tests.support.grok2 import RELEASE

if TYPE_CHECKING:
    from pathlib import Path

ANY = (1, 2, 4, 8, 16, 32)
KEYS = "pytorch_model-00009-TP-common.safetensors"


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


def drop_layer(path: Path, layer: int) -> None:
    """Write a file anew without the tensors of a layer."""
    rows = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    kept = {name: row for name, row in rows if f".layers.{layer}." not in name}
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name, row in kept.items():
        begin, end = end, end + len(row["data"])
        header[name] = {"dtype": "BF16", "shape": row["shape"], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    payload = b"".join(row["data"] for row in kept.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + payload)


@pytest.mark.parametrize("layers", [2, 4])
def test_all_files_know_the_layers_better_than_a_config(tmp_path: Path, layers: int) -> None:
    folder = copied(RELEASE, tmp_path)
    edit_config(folder, num_hidden_layers=layers)
    (finding,) = verdict(folder).findings
    assert (finding.code, finding.file) == ("GP130", "config.json")
    assert finding.message == f"num_hidden_layers is {layers} there, 3 by the shapes"


@pytest.mark.parametrize("layers", [2, 3, 4])
@pytest.mark.parametrize("name", [KEYS, ranked(6, 3)])
def test_a_file_that_alone_lacks_a_layer_is_damaged(tmp_path: Path, name: str, layers: int) -> None:
    folder = copied(RELEASE, tmp_path)
    drop_layer(folder / name, 2)
    edit_config(folder, num_hidden_layers=layers)
    wrong = {("GP101", name)} | ({("GP130", "config.json")} if layers != 3 else set())
    assert set(found(folder)) == wrong


def test_a_layer_that_one_kind_lacks_is_missed_in_each_of_its_files(tmp_path: Path) -> None:
    folder = copied(RELEASE, tmp_path)
    lacking = [ranked(7, rank) for rank in range(8)]
    for name in lacking:
        drop_layer(folder / name, 2)
    assert found(folder) == [("GP101", name) for name in lacking]


def test_a_layer_that_one_file_alone_holds_is_foreign(tmp_path: Path) -> None:
    folder = copied(RELEASE, tmp_path)
    for path in folder.glob("*.safetensors"):
        if path.name != KEYS:
            drop_layer(path, 2)
    edit_config(folder, num_hidden_layers=2)
    (finding,) = verdict(folder).findings
    assert (finding.code, finding.file) == ("GP102", KEYS)
    assert "a layer or an expert that the other files do not have" in finding.message
