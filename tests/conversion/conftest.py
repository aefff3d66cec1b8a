"""Checkpoints to convert and to quantize, and no fault that outlives its test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grokpack import storage
from tests.support import conversions, quantized_checkpoints
from tests.support.checkpoints import synthesize


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    yield
    storage.faults.hook = None


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", conversions.WIDE)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("wide") / "in", quantized_checkpoints.WIDE)
