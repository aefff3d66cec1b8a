"""A bucket, and checkpoints to write to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from grokpack import storage
from tests.support.buckets import Moto, client, running
from tests.support.checkpoints import synthesize
from tests.support.conversions import WIDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

from tests.support.bucket_outputs import BUCKET, LARGE, empty


@pytest.fixture(scope="module")
def server() -> Iterator[Moto]:
    with running() as moto:
        yield moto


@pytest.fixture
def moto(server: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    from grokpack.storage.http import services

    for variable in ("GROKPACK_S3_ENDPOINT", "GROKPACK_GS_ENDPOINT"):
        monkeypatch.setenv(variable, server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-nobody")
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "of-nobody")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    services.forget()
    client(server).create_bucket(Bucket=BUCKET)
    server.asked.clear()
    yield server
    server.fault = lambda *_: None
    storage.faults.hook = None
    empty(server)
    services.forget()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    geometry = replace(WIDE, layers=1, d_model=128)
    return synthesize(tmp_path_factory.mktemp("wide") / "source", geometry)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("large") / "source", LARGE)
