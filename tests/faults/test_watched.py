"""The process that the fuzzers run their cases in: what passes a limit is ended, and told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.faults.watched import Watched

MIB = 1 << 20


def work(item: tuple[str, float]) -> float:
    kind, size = item
    if kind == "time":
        time.sleep(size)
    elif kind == "memory":
        return float(len(bytearray(b"x" * int(size))))
    elif kind == "death":
        os._exit(1)
    return size


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched[tuple[str, float], float]]:
    made = Watched(work, 128 * MIB, 2.0)
    yield made
    made.close()


def test_each_item_has_a_peak_of_its_own(watched: Watched[tuple[str, float], float]) -> None:
    large = watched.do(("memory", 30 * MIB))
    small = watched.do(("memory", 1))
    assert (large.result, small.result) == (30 * MIB, 1)
    assert small.peak_bytes + 30 * MIB < large.peak_bytes + MIB


@pytest.mark.parametrize("item", [("time", 60.0), ("memory", 1 << 31), ("death", 0.0)])
def test_what_passes_a_limit_is_ended_and_the_next_goes_on(
    watched: Watched[tuple[str, float], float], item: tuple[str, float]
) -> None:
    done = watched.do(item)
    assert done.result is None
    assert done.seconds < 30
    assert done.peak_bytes < 1 << 30
    assert watched.do(("", 7.0)).result == 7.0
