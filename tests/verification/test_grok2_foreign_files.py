"""Files of another model, dtype or name in a release of Grok-2: they are named, and no others."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from grokpack.verification.verify_structure import verify_structure
from tests.support.grok2 import RELEASE

if TYPE_CHECKING:
    from pathlib import Path

COMMON = {n: f"pytorch_model-{n:05d}-TP-common.safetensors" for n in range(18)}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return shutil.copytree(RELEASE, tmp_path / "release")


def ranked(kind: int, rank: int) -> str:
    return f"pytorch_model-{kind:05d}-TP-{rank:03d}.safetensors"


def widen(path: Path, axis: int = 0) -> None:
    """Let a file's tensors have twice the size on an axis, as those of another model have."""
    held = load_file(path)
    save_file({name: np.concatenate([own, own], axis) for name, own in held.items()}, path)


def found(folder: Path) -> list[tuple[str, str | None]]:
    """Return code and file of each finding, once."""
    verdict = verify_structure(str(folder))
    return list(dict.fromkeys((finding.code, finding.file) for finding in verdict.findings))


@pytest.mark.parametrize("number", range(18))
def test_a_file_of_another_model_is_named_whatever_its_kind(release: Path, number: int) -> None:
    if number in (6, 7, 8):
        widen(release / ranked(number, 0))
        assert found(release) == [("GP105", ranked(number, 0))]
    else:
        widen(release / COMMON[number])
        assert found(release) == [("GP105", COMMON[number])]


def test_a_config_that_embedding_and_head_contradict_is_blamed(release: Path) -> None:
    widen(release / COMMON[0])
    widen(release / COMMON[1])
    assert found(release) == [("GP130", "config.json")]


def test_an_embedding_without_a_config_to_decide_is_told_with_the_file_of_the_head(
    release: Path,
) -> None:
    (release / "config.json").unlink()
    widen(release / COMMON[0])
    assert found(release)[0] == ("GP105", COMMON[1])
