"""Limits of the tests that `make faults` runs: of time for each, of memory for what they start."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

SECONDS = 900
CHILD_BYTES = 1 << 30
"""Of any program that a test starts: grokpack keeps to half of it."""


class TooLong(BaseException):
    """A test took too long; no `except Exception` hides it."""


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise TooLong


@pytest.fixture(autouse=True)
def limits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends a test that takes too long, and fails one whose programs took too much memory."""
    if request.node.get_closest_marker("faults") is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    assert largest < CHILD_BYTES, "a program took more memory than any may"
