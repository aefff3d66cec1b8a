"""No fault outlives its test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from grokpack import storage


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    yield
    storage.faults.hook = None
