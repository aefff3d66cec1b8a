"""A server that has one object of a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.servers import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Server that is the bucket's, and those that give keys and tokens."""
    root = tmp_path / "served"
    (root / "grok").mkdir(parents=True)
    (root / "grok" / "config.json").write_bytes(b"{}")
    with serving(root) as server:
        yield server
