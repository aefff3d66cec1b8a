"""Compressed files: frames and an ending, one task for each file, sizes known at the end."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.core.events import Advanced
from grokpack.core.layout import FileLayout, Literal
from grokpack.core.tiles import TILE_BYTES
from grokpack.execution.compressed_file_writer import CompressedFileWriter
from grokpack.execution.journal import Journal
from grokpack.execution.receipt import CompressedFileRecord
from grokpack.execution.run import Outcome, execute
from grokpack.execution.run_options import RunOptions
from tests.faults.crashing import Crash, counted, crash_after, each_or_some, places
from tests.support.checkpoints import SMALL, reshard, synthesize, tree

if TYPE_CHECKING:
    from grokpack.formats.file_codec import Frame
    from grokpack.planning.plan import Plan


class Deflated:
    """Frames of zlib, cut at odd places, and their sizes as JSON at the end."""

    held_bytes = 1 << 20

    def __init__(self, length: int = 70_001, level: int = 1) -> None:
        self.length, self.level = length, level

    def frames(self, file: FileLayout) -> Iterator[int]:
        for at in range(0, file.nbytes, self.length):
            yield min(self.length, file.nbytes - at)

    def encoder(self, file: FileLayout) -> Callable[[memoryview], bytes]:
        assert file.nbytes
        return lambda frame: zlib.compress(frame, self.level)

    def ending(self, file: FileLayout, frames: Sequence[Frame]) -> bytes:
        text = json.dumps([file.path, frames])
        return text.encode() + len(text).to_bytes(4, "little")

    def bound(self, file: FileLayout) -> int:
        return file.nbytes + 1000 + 100 * (file.nbytes // self.length)

    def describe(self) -> dict[str, object]:
        return {"name": "deflated", "level": self.level}


def inflated(data: bytes) -> bytes:
    """What a file written by `Deflated` stands for."""
    size = int.from_bytes(data[-4:], "little")
    _, frames = json.loads(data[-4 - size : -4])
    whole, at = b"", 0
    for decoded, encoded in frames:
        frame = zlib.decompress(data[at : at + encoded])
        assert len(frame) == decoded
        whole, at = whole + frame, at + encoded
    assert at == len(data) - 4 - size
    return whole


def compressed_plan(source: Path, codec: Any = None) -> Plan:
    """Ranks of a checkpoint, in file groups of two, compressed."""
    plan = plan_reshard(open_checkpoint(str(source)), 2)
    return replace(plan, target=replace(plan.target, codec=codec or Deflated()))


def write(source: Path, out: Path, codec: Any = None, **limits: Any) -> Outcome:
    return execute(compressed_plan(source, codec), str(out), RunOptions(**limits))


def tiles(data: bytes) -> str:
    cut = (data[at : at + TILE_BYTES] for at in range(0, len(data), TILE_BYTES))
    return "".join(xxhash.xxh3_128(tile).hexdigest() for tile in cut)


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    yield
    storage.faults.hook = None


@pytest.mark.parametrize("length", [999, 70_001, 1 << 30])
def test_a_file_is_what_it_would_be_plain_once_it_is_decoded(tmp_path: Path, length: int) -> None:
    source = synthesize(tmp_path / "source", seed=1)
    outcome = write(source, tmp_path / "out", Deflated(length))
    reshard(source, tmp_path / "plain", 2)
    plain, found = tree(tmp_path / "plain"), tree(tmp_path / "out")
    files = {path for path in plain if path.endswith(".safetensors")}
    assert {path: inflated(found[path]) for path in files} == {p: plain[p] for p in files}
    assert outcome.total_bytes == sum(len(found[path]) for path in files)


def test_the_manifest_has_both_what_is_on_disk_and_what_it_stands_for(tmp_path: Path) -> None:
    geometry = replace(SMALL, vocab=300_000)  # an embedding of more than one tile for each rank
    source = synthesize(tmp_path / "source", geometry, seed=1)
    write(source, tmp_path / "out", Deflated(1 << 20, level=0))
    document = json.loads((tmp_path / "out" / "grokpack.json").read_text())
    assert document["encoding"] == {"name": "deflated", "level": 0}
    assert len(document["files"]) == 3
    for path, row in document["files"].items():
        data = (tmp_path / "out" / path).read_bytes()
        whole = inflated(data)
        assert (row["bytes"], row["tiles"]) == (len(data), tiles(data))
        assert row["decoded"] == {"bytes": len(whole), "tiles": tiles(whole)}
    assert max(len(row["tiles"]) for row in document["files"].values()) > 32


@each_or_some
def test_resume_after_a_crash_at_any_operation_gives_the_same_bytes(
    tmp_path: Path, most: int | None
) -> None:
    source = synthesize(tmp_path / "source", seed=1)
    with counted() as operations:
        write(source, tmp_path / "clean", workers=1)
    expected = tree(tmp_path / "clean")
    assert len(operations) > 30
    for count in places(operations, most):
        out = tmp_path / f"crash{count}"
        crash_after(count)
        with pytest.raises(Crash):
            write(source, out, workers=1)
        storage.faults.hook = None
        assert not (out / "grokpack.json").exists() or tree(out) == expected
        there = tree(out) if out.exists() else {}
        assert all(expected.get(path, data) == data for path, data in there.items())
        write(source, out)
        assert tree(out) == expected, f"crashed at operation {count}"
        shutil.rmtree(out)


def test_finished_files_are_kept_and_begun_ones_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.planning.tasks.TASK_BYTES", 2)  # a task for each file group
    source, out = synthesize(tmp_path / "source", seed=1), tmp_path / "out"

    def hook(operation: str, path: str) -> None:
        if operation == "write" and "common" in path:
            raise Crash

    storage.faults.hook = hook
    with pytest.raises(Crash):
        write(source, out, workers=1)
    created: list[str] = []
    storage.faults.hook = lambda operation, path: (
        created.append(Path(path).parent.name) if operation == "create" else None
    )
    write(source, out, workers=1)
    storage.faults.hook = None
    assert set(created) == {"common"}
    write(source, tmp_path / "clean")
    assert tree(out) == tree(tmp_path / "clean")


def test_a_finished_file_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    source, out = synthesize(tmp_path / "source"), tmp_path / "out"

    def hook(operation: str, path: str) -> None:
        if operation == "publish" and path.endswith(".safetensors"):
            raise Crash

    storage.faults.hook = hook
    with pytest.raises(Crash):
        write(source, out)
    storage.faults.hook = None
    for part in out.rglob("*.part"):
        os.truncate(part, 10)
    write(source, out)
    write(source, tmp_path / "clean")
    assert tree(out) == tree(tmp_path / "clean")


def test_stopping_within_a_file_leaves_no_receipt_for_it(tmp_path: Path) -> None:
    geometry = replace(SMALL, vocab=300_000)
    source, out = synthesize(tmp_path / "source", geometry), tmp_path / "out"
    limits, heard = RunOptions(workers=1), [0]

    def listen(event: object) -> None:
        heard[0] += isinstance(event, Advanced) and event.nbytes > 1 << 20
        if heard[0] == 2:  # in the first tile of the embedding
            limits.stop.set()

    with pytest.raises(GrokpackError) as caught:
        execute(compressed_plan(source), str(out), limits, listen)
    assert caught.value.code == "GP403"
    assert not Journal(str(out / ".grokpack")).receipts()
    write(source, out)
    write(source, tmp_path / "clean")
    assert tree(out) == tree(tmp_path / "clean")


def test_a_full_disk_in_mid_run_is_told_and_continued(tmp_path: Path) -> None:
    source, left = synthesize(tmp_path / "source"), [5]

    def full(operation: str, _path: str) -> None:
        left[0] -= operation == "write"
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    storage.faults.hook = full
    with pytest.raises(GrokpackError) as caught:
        write(source, tmp_path / "out")
    assert caught.value.code == "GP401"
    storage.faults.hook = None
    write(source, tmp_path / "out")
    write(source, tmp_path / "clean")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_a_finished_output_is_found_at_the_sizes_it_came_to(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    first = write(source, tmp_path / "out")
    again = write(source, tmp_path / "out")
    assert again.already_done
    assert again.total_bytes == first.total_bytes
    with pytest.raises(GrokpackError) as caught:
        write(source, tmp_path / "out", Deflated(level=9))
    assert caught.value.code == "GP321"
    file = next((tmp_path / "out").rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(GrokpackError) as caught:
        write(source, tmp_path / "out")
    assert caught.value.code == "GP321"


def test_disk_and_memory_are_bounded_before_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = synthesize(tmp_path / "source")
    plan = compressed_plan(source)
    bound = plan.writes_bytes
    assert bound > replace(plan, target=replace(plan.target, codec=None)).writes_bytes
    monkeypatch.setattr(storage, "free_bytes", lambda _: bound)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"))
    assert caught.value.code == "GP311"
    monkeypatch.undo()
    large = Deflated()
    large.held_bytes = 200 << 20
    with pytest.raises(GrokpackError) as caught:
        write(source, tmp_path / "out", large, workers=1)
    assert caught.value.code == "GP312"
    large.held_bytes = 50 << 20
    write(source, tmp_path / "fits", large, workers=1, memory_bytes=300 << 20)
    with pytest.raises(GrokpackError, match="with 2 threads"):
        write(source, tmp_path / "out", large, workers=2, memory_bytes=300 << 20)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("surplus", [-1, 1])
def test_frames_that_are_not_the_file_publish_nothing(tmp_path: Path, surplus: int) -> None:
    class Lying(Deflated):
        def frames(self, file: FileLayout) -> Iterator[int]:
            yield file.nbytes + surplus

    source = synthesize(tmp_path / "source")
    with pytest.raises(GrokpackError) as caught:
        write(source, tmp_path / "out", Lying())
    assert caught.value.code == "GP901"
    with pytest.raises(GrokpackError):
        survey(str(tmp_path / "out"))


@given(st.integers(1, 9000), st.data())
def test_blocks_and_frames_of_any_length_make_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, nbytes: int, data: Any
) -> None:
    path = str(tmp_path_factory.mktemp("any") / "file")
    whole = random.Random(nbytes).randbytes(nbytes)
    file = FileLayout("file", (Literal(whole),))
    deflated = Deflated(data.draw(st.integers(1, 4000)))
    writer = CompressedFileWriter(deflated, file, path, storage.sink_of(path, path, single=True))
    at = 0
    while at < nbytes:
        block = whole[at : at + data.draw(st.integers(1, 4000))]
        writer.write(at, memoryview(block))
        at += len(block)
    writer.sync()
    writer.close()
    written = Path(path + storage.PART).read_bytes()
    assert writer.ended == CompressedFileRecord(
        len(written), (xxhash.xxh3_128(written).hexdigest(),)
    )
    assert inflated(written) == whole
