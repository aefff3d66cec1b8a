"""A network, and a copy of it to be changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.altered_copies import (
    copy,
)
from tests.support.checkpoints import synthesize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Edit = Callable[[Path], object]
from tests.support.evaluated_pairs import MODEL


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", MODEL, seed=4)


@pytest.fixture
def other(model: Path, tmp_path: Path) -> Iterator[Path]:
    yield copy(model, tmp_path / "other")
    shutil.rmtree(tmp_path)
