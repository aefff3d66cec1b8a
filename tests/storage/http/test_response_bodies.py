"""Bytes of far files on their way to a file on disk."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import urllib3

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.storage.http import (
    block_cache,
    connections,
    file_info,
    http_backend,
    range_requests,
    redirects,
    request_threads,
    response_bodies,
    retry_policy,
)
from grokpack.storage.http.response_bodies import InFile
from grokpack.storage.http.scratch_file import ScratchFile
from grokpack.storage.http.services import resource
from tests.support.servers import Answer, Asked, Server, connections_made, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = (3 << 20) + 11  # more than a pipe holds
DATA = np.random.default_rng(0).bytes(SIZE)
AT = 5000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bodies")
    (folder / "data").write_bytes(DATA)
    with pytest.MonkeyPatch.context() as patch, serving(folder) as served:
        impatient(patch)
        yield served


@pytest.fixture
def far(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(connections, "SILENCE_S", 0.3)
    connections.forget()
    server.fault = None
    file_info.look(f"{server.url}/data")
    server.forget()
    yield server
    server.fault = None
    connections.forget()


def fetch(far: Server, file: ScratchFile, start: int = 7, stop: int = SIZE) -> bytes:
    """Bytes of the far file, by way of a file."""
    path = f"{far.url}/data"
    facts = file_info.look(path)
    assert facts is not None
    body = InFile(file, [(AT, stop - start)])
    request_threads.run_request(
        lambda request: range_requests.read(request, resource(path), start, body, facts)
    )
    return os.pread(file.handle, stop - start + 1, AT)


@pytest.mark.parametrize(("start", "stop"), [(0, SIZE), (7, SIZE), (7, 8), (100, 9000), (0, 1)])
def test_a_file_gets_the_bytes_that_were_asked_for(
    far: Server, tmp_path: Path, start: int, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, made = ScratchFile(str(tmp_path)), connections_made(monkeypatch)
    for _ in range(3):
        assert fetch(far, file, start, stop) == DATA[start:stop]
    assert len(made) == 1  # each answer was read to its end
    assert not list(tmp_path.iterdir())


def test_bytes_are_received_where_they_go(
    far: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copying(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(urllib3.HTTPResponse, "readinto", copying)
    assert fetch(far, ScratchFile(str(tmp_path))) == DATA[7:]
    with response_bodies._lent(SIZE) as memory:
        assert np.frombuffer(memory, np.uint8).ctypes.data % mmap.PAGESIZE == 0


def test_the_last_values_of_a_file_come_by_one_request(far: Server) -> None:
    path = f"{far.url}/data"
    window, tail = file_info.WINDOW_BYTES, file_info.TAIL_BYTES
    facts = file_info.look(path)
    assert facts is not None
    for offset in range(SIZE - tail, SIZE - window, window):
        assert file_info.small(path, offset, window, facts) == DATA[offset : offset + window]
    assert len(far.asked) == 1
    for offset in (SIZE // 2, SIZE // 2 + window):
        file_info.small(path, offset, window, facts)
    assert len(far.asked) == 3


def test_nothing_holds_on_to_memory_that_was_filled(far: Server) -> None:
    memory = bytearray(SIZE)
    http_backend.read_into(f"{far.url}/data", 0, memoryview(memory))
    assert memory == DATA
    memory.clear()  # impossible as long as anything refers to its bytes


def _cut(_: Asked, answer: Answer) -> None:
    answer.cut = len(answer.body) // 2


def _stall(_: Asked, answer: Answer) -> None:
    answer.stall = len(answer.body) // 2


@pytest.mark.parametrize("fault", [_cut, _stall])
def test_what_passes_is_tried_again(far: Server, tmp_path: Path, fault: Any) -> None:
    far.fault = lambda asked, answer: fault(asked, answer) if asked.number < 2 else None
    assert fetch(far, ScratchFile(str(tmp_path))) == DATA[7:]
    assert len(far.asked) == 3


@pytest.mark.parametrize(
    ("fault", "words"), [(_cut, "broke off after 1,5"), (_stall, "nothing came for")]
)
def test_what_stays_is_told(
    far: Server, tmp_path: Path, fault: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 2)
    far.fault = fault
    with pytest.raises(GrokpackError) as caught:
        fetch(far, ScratchFile(str(tmp_path)))
    assert caught.value.code == "GP221"
    assert words in str(caught.value.facts)


def test_an_answer_in_chunks_is_read_as_well(far: Server, tmp_path: Path) -> None:
    def chunked(_: Asked, answer: Answer) -> None:
        answer.chunked = True

    far.fault = chunked
    assert fetch(far, ScratchFile(str(tmp_path))) == DATA[7:]


def test_a_full_disk_is_no_fault_of_the_server(
    far: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = ScratchFile(str(tmp_path))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(GrokpackError) as caught:
        fetch(far, file)
    assert caught.value.code == "GP401"
    assert len(far.asked) == 1


def test_a_closed_file_gives_its_disk_back_and_keeps_its_number(tmp_path: Path) -> None:
    file = ScratchFile(str(tmp_path))
    file.put(b"block", 0)
    file.close()
    assert os.fstat(file.handle).st_size == 0
    with (tmp_path / "other").open("wb") as other:
        assert other.fileno() != file.handle
        file.put(b"late", 0)  # by a request that was called off
    assert (tmp_path / "other").read_bytes() == b""
    handle = file.handle
    del file
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(handle)


def test_a_place_is_nobodys_until_the_request_that_writes_there_has_ended(
    far: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, stopping = threading.Event(), threading.Event()

    def lingering(*_: Any) -> None:
        stopping.set()
        ends.wait()

    monkeypatch.setattr(range_requests, "read", lingering)
    monkeypatch.setattr(redirects, "_NEAR_S", 0.0)  # near, the reader itself would linger
    monkeypatch.setattr(request_threads, "_GRACE_S", 0.01)
    rows = np.zeros((3, 10), np.uint8)
    with storage.interruptible(stopping.is_set, str(tmp_path)):
        with pytest.raises(GrokpackError) as caught:
            storage.read_rows(f"{far.url}/data", 0, 100_000, rows)
        kept = block_cache._caches[str(tmp_path)]
    assert caught.value.code == "GP403"
    places = block_cache.CACHE_BYTES // block_cache.BLOCK_BYTES
    assert len(kept._free) == places - 1
    ends.set()
    with kept._changed:
        assert kept._changed.wait_for(lambda: len(kept._free) == places, 10)
    storage.tidy(str(tmp_path))


def test_memory_is_lent_again(far: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_bodies, "_spare", [])
    file = ScratchFile(str(tmp_path))
    for stop in (100, SIZE, 1000):
        assert fetch(far, file, 0, stop)[:stop] == DATA[:stop]
    assert [len(memory) for memory in response_bodies._spare] == [SIZE]
