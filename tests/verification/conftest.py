"""A checkpoint, copies of it to spoil, and the release without its bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from grokpack.conversion.plan_synth import plan_synth
from grokpack.execution.run import execute
from grokpack.models.grok1 import GROK1
from tests.support.checkpoints import synthesize


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's files as holes, with nothing beside them, as a download has them."""
    folder = tmp_path_factory.mktemp("release")
    execute(plan_synth(GROK1.release, sparse=True), str(folder))
    (folder / "config.json").unlink()
    (folder / "grokpack.json").unlink()
    return folder


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    unread = shutil.ignore_patterns(".grokpack")  # what other tests have found out about it
    return Path(shutil.copytree(made, tmp_path / "model", ignore=unread))
