"""Arrays on a server, of every arrangement of chunks: values, faults, and how often bytes come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

from grokpack import storage
from grokpack.checkpoint.tensorstore import chunk_reader
from grokpack.checkpoint.tensorstore.chunk_reader import ChunkReader, read_keys
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.storage.http import file_info, range_requests, retry_policy
from tests.support.servers import Answer, Asked, Server, impatient, serving

Fault = Callable[[Asked, Answer], None]

SHAPE = (300, 64)
VALUES = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
BYTES, CRC = {"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}
ZSTD = {"name": "zstd", "configuration": {"level": 1}}


def shards(chunk: list[int], *codecs: dict[str, Any], location: str = "end") -> dict[str, Any]:
    inner = {"chunk_shape": chunk, "codecs": [*codecs], "index_codecs": [BYTES, CRC]}
    return {"name": "sharding_indexed", "configuration": inner | {"index_location": location}}


def zarr3(chunk: list[int], *codecs: dict[str, Any]) -> dict[str, Any]:
    grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
    return {"driver": "zarr3", "metadata": {"chunk_grid": grid, "codecs": [*codecs]}}


TURNED = {"name": "transpose", "configuration": {"order": [1, 0]}}
KINDS: dict[str, dict[str, Any]] = {
    "version 2": {"driver": "zarr", "metadata": {"chunks": [70, 64], "compressor": {"id": "zlib"}}},
    "chunks": zarr3([70, 64], BYTES, CRC),
    "compressed": zarr3([70, 64], TURNED, BYTES, ZSTD),
    "shards": zarr3([128, 64], shards([32, 32], BYTES, CRC)),
    "indexed first": zarr3([128, 64], shards([32, 32], BYTES, ZSTD, location="start")),
    "shards in shards": zarr3([128, 64], shards([64, 32], shards([32, 16], BYTES, CRC))),
}
DATABASE = "database of "


def made(folder: Path, kind: str) -> dict[str, Any]:
    """Write an array of a kind; return its spec with paths below the folder."""
    spec = KINDS[kind.removeprefix(DATABASE)]
    store: dict[str, Any] = {"driver": "file", "path": "a/b/"}
    place = {**store, "path": f"{folder}/a/b/"}
    if kind.startswith(DATABASE):
        store = {"driver": "ocdbt", "path": "a/b/"}
        place = {**store, "base": f"file://{folder}/"}
    array = ts.open({**spec, "kvstore": place}, create=True, dtype=ts.float32, shape=SHAPE)
    array.result().write(VALUES).result()
    return {"driver": spec["driver"], "kvstore": store}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    for limit in ("HEAD_BYTES", "SMALL_BYTES"):  # so that no chunk stays with the headers
        monkeypatch.setattr(file_info, limit, 16)
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as place:
        yield place


def region(box: Box) -> np.ndarray:
    values: np.ndarray = VALUES[tuple(map(slice, box.start, box.stop))]
    return values


BOXES = [Box((0, 0), SHAPE), Box((31, 5), (2, 40)), Box((290, 60), (10, 4)), Box((64, 0), (32, 32))]


@pytest.mark.parametrize("prefix", ["", DATABASE])
@pytest.mark.parametrize("kind", KINDS)
def test_an_array_on_a_server_has_the_values_that_were_written(
    server: Server, kind: str, prefix: str
) -> None:
    spec = made(server.root, prefix + kind)
    reader = ChunkReader(server.url, 128 * 64 * 4)
    for box in BOXES:
        assert np.array_equal(reader.read(spec, box), region(box))


@pytest.mark.parametrize("kind", ["shards", DATABASE + "compressed"])
def test_threads_that_need_the_same_chunks_fetch_them_once(server: Server, kind: str) -> None:
    spec = made(server.root, kind)
    reader = ChunkReader(server.url, 128 * 64 * 4)
    failed: list[BaseException] = []

    def read() -> None:
        try:
            for box in BOXES:
                assert np.array_equal(reader.read(spec, box), region(box))
        except BaseException as error:  # noqa: BLE001  # shown by the test
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert server.sent_bytes < 2 * VALUES.nbytes


def test_chunks_that_nobody_reads_leave_memory_and_come_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_reader, "CACHE_BYTES", 0)
    spec = made(server.root, "shards")
    reader = ChunkReader(server.url, 128 * 64 * 4)
    for _ in range(2):
        assert np.array_equal(reader.read(spec, BOXES[0]), VALUES)
        assert not reader._fetched._chunks
    assert server.sent_bytes > 2 * VALUES.nbytes


def test_neighbours_in_a_shard_come_by_one_request(server: Server) -> None:
    spec = made(server.root, "shards")
    reader = ChunkReader(server.url, 128 * 64 * 4)
    reader.read(spec, Box((0, 0), (1, 1)))  # reads metadata and the index
    server.forget()
    reader.read(spec, Box((32, 0), (96, 64)))
    assert len(server.asked) == 1


def _status(status: int, **headers: str) -> Fault:
    def change(_: Asked, answer: Answer) -> None:
        answer.status, answer.body = status, b"<html>Log in first</html>"
        answer.headers = {name.replace("_", "-"): text for name, text in headers.items()}

    return change


def _silence(_: Asked, answer: Answer) -> None:
    answer.stall = 0


UNDELIVERED = {
    "a page": (_status(200, Content_Type="text/html"), "GP223"),
    "to nowhere": (_status(302, Location="ftp://elsewhere/"), "GP223"),
    "silence": (_silence, "GP221"),
    "302": (_status(302), "GP223"),
    "401": (_status(401), "GP222"),
    "403": (_status(403), "GP222"),
    "429": (_status(429, Retry_After="0"), "GP221"),
    "500": (_status(500), "GP221"),
    "503": (_status(503), "GP221"),
}


@pytest.mark.parametrize("name", UNDELIVERED)
def test_chunks_that_a_server_does_not_deliver_are_not_called_damaged(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, code = UNDELIVERED[name]
    monkeypatch.setattr(range_requests, "SILENCE_S", 0.1)
    spec = made(server.root, "shards")
    reader = ChunkReader(server.url, 128 * 64 * 4)
    reader.read(spec, Box((0, 0), (1, 1)))
    server.fault = fault
    with pytest.raises(GrokpackError) as caught:
        reader.read(spec, BOXES[0])
    assert caught.value.code == code
    server.fault = None
    storage.forget(server.url)
    assert np.array_equal(reader.read(spec, BOXES[0]), VALUES)  # a failure is not kept


@pytest.mark.parametrize("at", [10, -2])
def test_a_damaged_chunk_or_index_names_its_file(server: Server, at: int) -> None:
    spec = made(server.root, "shards")
    shard = server.root / "a" / "b" / "c" / "1" / "0"
    data = bytearray(shard.read_bytes())
    data[at] ^= 1
    shard.write_bytes(data)
    for place in (server.url, str(server.root)):
        with pytest.raises(GrokpackError) as caught:
            ChunkReader(place, 128 * 64 * 4).read(spec, BOXES[0])
        assert caught.value.code == "GP225"
        assert caught.value.where is not None
        assert caught.value.where.path == f"{place}/a/b/c/1/0"


def test_a_missing_chunk_is_missing(server: Server) -> None:
    spec = made(server.root, "chunks")
    (server.root / "a" / "b" / "c" / "1" / "0").unlink()
    with pytest.raises(GrokpackError) as caught:
        ChunkReader(server.url, 128 * 64 * 4).read(spec, BOXES[0])
    assert caught.value.code == "GP225"
    assert "missing" in caught.value.what


def test_files_that_may_not_be_read_are_not_called_damaged(tmp_path: Path) -> None:
    spec = made(tmp_path, "chunks")
    chunk = tmp_path / "a" / "b" / "c" / "1" / "0"
    chunk.unlink()
    chunk.symlink_to(chunk)  # a loop, which root may not open either
    with pytest.raises(GrokpackError) as caught:
        ChunkReader(str(tmp_path), 128 * 64 * 4).read(spec, BOXES[0])
    assert caught.value.code == "GP214"


def test_keys_of_a_database_that_are_not_there_are_left_out(server: Server) -> None:
    made(server.root, DATABASE + "chunks")
    for place in (server.url, str(server.root)):
        found = read_keys(place, {"driver": "ocdbt"}, ["a/b/zarr.json", "a/b/none"])
        assert set(found) == {"a/b/zarr.json"}
        assert found["a/b/zarr.json"].startswith(b"{")
