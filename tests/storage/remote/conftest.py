"""A server that has a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.checkpoints import GOLDEN
from tests.support.servers import Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    root = tmp_path / "served"
    shutil.copytree(GOLDEN / "ckpt-0", root / "grok" / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", root / "grok")
    with serving(root) as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
