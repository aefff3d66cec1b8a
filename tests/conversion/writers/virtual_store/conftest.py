"""A checkpoint of many chunks to make views of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.checkpoint.virtual_store import chunk_grid
from tests.support.checkpoints import synthesize
from tests.support.conversions import WIDE
from tests.support.virtual_stores import (
    SMALL_CHUNKS,
)


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    yield
    storage.faults.hook = None


@pytest.fixture(autouse=True)
def _many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_grid, "CHUNK_BYTES", SMALL_CHUNKS)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", WIDE)


@pytest.fixture
def model(origin: Path, tmp_path: Path) -> Path:
    shutil.copytree(origin, tmp_path / "m")
    return tmp_path / "m"
