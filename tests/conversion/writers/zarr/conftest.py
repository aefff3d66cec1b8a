"""Checkpoints, and what zarr folders are made of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from grokpack.conversion.writers import chunked_store_writer
from tests.support.checkpoints import SMALL, synthesize
from tests.support.conversions import convert
from tests.support.zarr_stores import UNEVEN


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", UNEVEN)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store, for tests that damage copies of it."""
    source = synthesize(tmp_path_factory.mktemp("small") / "m", replace(SMALL, layers=1))
    convert(source, source.parent / "z", "zarr", tp=2)
    return source.parent / "z"


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small, tmp_path / "z")


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and shards of kilobytes, so that small arrays have many of both."""
    monkeypatch.setattr(chunked_store_writer, "CHUNK_BYTES", 1 << 12)
