"""Paths without a checkpoint: the error names the one that was probably meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from grokpack import open_checkpoint, plan_reshard
from grokpack.checkpoint.path_suggestions import suggest
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from tests.support.checkpoints import GOLDEN

CACHE = "models--xai-org--grok-1/snapshots/0123"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(GOLDEN / "ckpt-0", tmp_path / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hint(path: str) -> str:
    """Return the hint of the error that opening a path ends with."""
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(path)
    assert caught.value.code in ("GP201", "GP203")
    return caught.value.hint or ""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("ckpt", "ckpt-0"),
        ("ckpt-0/tensor00000_000", "ckpt-0"),
        ("config.json", "."),
        ("xai-org/grok-1", "hf://xai-org/grok-1"),
        ("hf:xai-org/grok-2", "hf://xai-org/grok-2"),
        ("huggingface.co/xai-org/grok-2", "hf://xai-org/grok-2"),
    ],
)
def test_the_right_path_is_named(path: str, right: str) -> None:
    assert hint(path) == f"did you mean `{right}`?"


def test_a_folder_in_the_cache_of_the_hub(folder: Path) -> None:
    inside = folder / CACHE / "ckpt-0"
    shutil.move(folder / "ckpt-0", inside)
    above = "models--xai-org--grok-1"
    assert hint(above) == f"did you mean `{above}/snapshots/0123`?"


def test_folders_of_steps_the_last_first(folder: Path) -> None:
    for step in ("900", "1000", "50"):
        shutil.copytree(folder / "ckpt-0", folder / "run" / step / "default" / "ckpt-0")
    assert hint("run").startswith("did you mean `run/1000/default` or `run/900/default`")


def test_one_rank_of_several(folder: Path) -> None:
    execute(plan_reshard(open_checkpoint("ckpt-0"), 2, "safetensors"), "cut")
    for part in ("common", "rank-000-of-002"):
        assert hint(f"cut/{part}") == f"name the folder of all ranks: `{folder / 'cut'}`"


def test_another_folder_among_the_files_is_not_taken_for_a_part_of_them(folder: Path) -> None:
    (folder / "ckpt-0" / "logs").mkdir()
    assert "hf download" in hint("ckpt-0/logs")


def test_a_path_below_a_folder_that_exists_is_no_repository(folder: Path) -> None:
    (folder / "other").mkdir()
    assert "hf download" in hint("other/grok-1")


def test_a_deep_tree_is_not_looked_through_without_end(tmp_path: Path) -> None:
    asked = 0

    def never(path: str) -> str | None:
        nonlocal asked
        del path
        asked += 1
        return None

    for number in range(300):
        (tmp_path / f"{number}" / "below").mkdir(parents=True)
    assert suggest(str(tmp_path), never) == []
    assert asked <= 201
