"""A hub to publish to, and a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from grokpack import storage
from tests.support.checkpoints import synthesize
from tests.support.conversions import WIDE
from tests.support.servers import impatient
from tests.support.writable_hub import TOKEN, WritableHub, hub_on_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    """An empty hub; outputs are made in a folder of the test's own."""
    from grokpack.storage.http import services

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    impatient(monkeypatch)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    with hub_on_loopback(tmp_path) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield server
    storage.faults.hook = None
    services.forget()


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(
        tmp_path_factory.mktemp("wide") / "source", replace(WIDE, layers=1, d_model=128)
    )
