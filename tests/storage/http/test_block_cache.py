"""Strips of far files: whatever is cut out of blocks on disk is what the file holds there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.storage.http import block_cache, file_info
from tests.support.servers import Answer, Asked, Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 10
SIZE = 50_021
DATA = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    folder = tmp_path_factory.mktemp("cache")
    (folder / "data").write_bytes(DATA.tobytes())
    with pytest.MonkeyPatch.context() as patch, serving(folder) as server:
        impatient(patch)
        patch.setattr(block_cache, "BLOCK_BYTES", BLOCK)
        patch.setattr(block_cache, "CACHE_BYTES", 20 * BLOCK)  # so that blocks give way
        patch.setattr(file_info, "SMALL_BYTES", 0)
        patch.setattr(file_info, "WINDOW_BYTES", 1)
        patch.setattr(block_cache, "_caches", {})
        yield server, f"{server.url}/data"
        for kept in list(block_cache._caches):
            block_cache.clear(kept)


@st.composite
def strips(draw: Any) -> tuple[int, int, int, int]:
    """Offset, stride, rows and bytes of each, all inside the file."""
    nbytes = draw(st.integers(1, 3 * BLOCK))
    stride = draw(st.integers(nbytes, 5 * BLOCK))
    count = draw(st.integers(1, max(1, min(200, (SIZE - nbytes) // stride))))
    offset = draw(st.integers(0, SIZE - (count - 1) * stride - nbytes))
    return offset, stride, count, nbytes


def expected(offset: int, stride: int, count: int, nbytes: int) -> np.ndarray:
    return np.array([DATA[offset + i * stride :][:nbytes] for i in range(count)])


@given(strips(), st.sampled_from(["numpy", "numba"]))
def test_any_strips_are_what_the_file_holds(
    place: tuple[Server, str], cut: tuple[int, int, int, int], implementation: Any
) -> None:
    offset, stride, count, nbytes = cut
    rows = np.zeros((count, nbytes), np.uint8)
    storage.read_rows(place[1], offset, stride, rows, implementation)
    assert (rows == expected(*cut)).all()


def test_many_threads_share_a_cache_too_small_for_all(place: tuple[Server, str]) -> None:
    chance = np.random.default_rng(1)
    cuts = []
    for _ in range(120):
        nbytes = int(chance.integers(1, 2 * BLOCK))
        stride = nbytes + int(chance.integers(0, BLOCK))
        count = int(chance.integers(1, (SIZE - nbytes) // stride))
        cuts.append(
            (int(chance.integers(0, SIZE - (count - 1) * stride - nbytes)), stride, count, nbytes)
        )

    def read(cut: tuple[int, int, int, int]) -> bool:
        rows = np.zeros((cut[2], cut[3]), np.uint8)
        storage.read_rows(place[1], cut[0], cut[1], rows)
        return bool((rows == expected(*cut)).all())

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, cuts))


@pytest.mark.parametrize(("near", "requests"), [(True, 2), (False, 7)])
def test_a_block_is_fetched_once_for_threads_that_want_it_at_once(
    place: tuple[Server, str], monkeypatch: pytest.MonkeyPatch, near: bool, requests: int
) -> None:
    monkeypatch.setattr(block_cache, "is_near", lambda _: near)
    server, path = place
    for kept in list(block_cache._caches):
        block_cache.clear(kept)
    storage.FileBytes(path).size()
    server.forget()
    together = threading.Barrier(4)

    def read(_: int) -> bytes:
        together.wait()
        rows = np.zeros((8, 100), np.uint8)
        storage.read_rows(path, 5, 1000, rows)
        return rows.tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert {*pool.map(read, range(4))} == {expected(5, 1000, 8, 100).tobytes()}
    assert len(server.asked) == requests
    asked = sorted(asked.range for asked in server.asked if asked.range)
    ends = [0, *(stop for _, stop in asked)]
    assert [start for start, _ in asked] == ends[:-1]  # no byte twice
    assert ends[-1] == 7 * BLOCK


def test_only_blocks_that_are_missing_are_asked_for(
    place: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, path = place
    monkeypatch.setattr(block_cache, "is_near", lambda _: True)
    for kept in list(block_cache._caches):
        block_cache.clear(kept)
    rows = np.zeros((2, 10), np.uint8)
    storage.read_rows(path, 1 * BLOCK, 2 * BLOCK, rows)  # blocks 1 and 3
    server.forget()
    rows = np.zeros((16, 100), np.uint8)
    storage.read_rows(path, 0, BLOCK // 2, rows)
    assert (rows == expected(0, BLOCK // 2, 16, 100)).all()
    assert [asked.range for asked in server.asked] == [
        (0, BLOCK),
        (2 * BLOCK, 3 * BLOCK),
        (4 * BLOCK, 8 * BLOCK),
    ]


def test_a_block_that_could_not_be_fetched_is_fetched_by_the_next(
    place: tuple[Server, str],
) -> None:
    server, path = place
    for kept in list(block_cache._caches):
        block_cache.clear(kept)
    storage.FileBytes(path).size()

    def spoil(_: Asked, answer: Answer) -> None:
        answer.headers.pop("Content-Range", None)

    rows = np.zeros((30, 10), np.uint8)
    server.fault = spoil
    for _ in range(30):  # more often than there are places
        with pytest.raises(GrokpackError):
            storage.read_rows(path, 0, 1000, rows)
    server.fault = None
    storage.read_rows(path, 0, 1000, rows)
    assert (rows == expected(0, 1000, 30, 10)).all()


def test_the_cache_lies_where_the_io_context_says_and_goes_with_it(
    place: tuple[Server, str], tmp_path: Path
) -> None:
    rows = np.zeros((3, 10), np.uint8)
    with storage.interruptible(lambda: False, str(tmp_path)):
        storage.read_rows(place[1], 0, 1000, rows)
    assert str(tmp_path) in block_cache._caches
    assert not list(tmp_path.iterdir())  # nameless: a crash leaves nothing
    storage.tidy(str(tmp_path))
    assert str(tmp_path) not in block_cache._caches


def test_blocks_that_were_read_to_the_end_give_way_before_new_places_are_taken(
    place: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_cache, "_WARM", 4)
    monkeypatch.setattr(block_cache, "_EDGE_BYTES", 0)
    place[0].forget()
    rows = np.zeros((8, BLOCK // 16), np.uint8)  # two columns of strips fill eight half blocks
    with storage.interruptible(lambda: False, str(tmp_path)):
        for first in range(0, 40 * BLOCK, 8 * BLOCK // 2):
            for column in range(8):
                offset = first + column * BLOCK // 16
                storage.read_rows(place[1], offset, BLOCK // 2, rows)
                assert (rows == expected(offset, BLOCK // 2, 8, BLOCK // 16)).all()
        taken = 20 - len(block_cache._caches[str(tmp_path)]._free)
        assert taken <= 8
        asked = [asked.range for asked in place[0].asked if asked.range]
        assert len(asked) == len(set(asked))
    storage.tidy(str(tmp_path))
