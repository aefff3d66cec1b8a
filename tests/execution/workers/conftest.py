"""Processes that tests of executors share, because starting them takes longer than most tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.executors import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.executors import Alternating


@pytest.fixture(scope="package")
def workers() -> Iterator[Alternating]:
    """Two processes, each of which has some of the tasks."""
    with processes() as found:
        yield found
