"""A Hugging Face folder and the checkpoint that it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkpoints import synthesize
from tests.support.conversions import WIDE, convert


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", WIDE)


@pytest.fixture
def folder(origin: Path, tmp_path: Path) -> Path:
    convert(origin, tmp_path / "hf", "hf", shard_bytes=1 << 19)
    return tmp_path / "hf"
