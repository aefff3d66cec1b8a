"""A checkpoint, and copies of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.checkpoints import synthesize


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    unread = shutil.ignore_patterns(".grokpack")  # what other tests have found out about it
    return Path(shutil.copytree(made, tmp_path / "model", ignore=unread))
