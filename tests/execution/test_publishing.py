"""Nothing looks finished but what is whole: files that are lost in mid-run are told, and redone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.execution.run import Outcome, execute
from grokpack.execution.run_options import RunOptions
from grokpack.execution.run_part import RunPart, execute_part
from tests.faults.crashing import WRITERS, Crash, contents, name_of
from tests.support.checkpoints import synthesize
from tests.support.fuzzing import TINY

PART = ".part"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", TINY, seed=2)


def _delete(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _overwrite(path: Path) -> None:
    """The same file of the file system, the same size."""
    path.write_bytes(b"\xff" * path.stat().st_size)


def _replace(path: Path) -> None:
    """Another file of the same size in its place."""
    other = path.with_name("other")
    other.write_bytes(b"\xff" * path.stat().st_size)
    other.rename(path)


def _link(path: Path) -> None:
    """A link to a copy of the very bytes, which may change at any time."""
    moved = path.parents[1] / "moved"
    path.rename(moved)
    path.symlink_to(moved)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARM = {
    function.__name__.strip("_"): function
    for function in (_delete, _cut, _grow, _overwrite, _replace, _link, _fifo)
}


@contextmanager
def when(happens: Callable[[str, str], bool], do: Callable[[], None]) -> Iterator[None]:
    """Do something once, before the first operation of a kind."""
    done: list[bool] = []

    def hook(operation: str, path: str) -> None:
        if not done and happens(operation, path):
            done.append(True)
            storage.faults.hook = None
            do()
            storage.faults.hook = hook

    storage.faults.hook = hook
    try:
        yield
    finally:
        storage.faults.hook = None
    assert done


def _reshard(source: Path, out: Path) -> Outcome:
    return execute(plan_reshard(open_checkpoint(str(source)), 2), str(out), RunOptions(workers=1))


def _victim(out: Path, suffix: str = PART) -> Path:
    return min(p for p in out.rglob(f"*.safetensors{suffix}") if "rank" in str(p))


@pytest.fixture(scope="module")
def clean(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("clean") / "out"
    _reshard(source, out)
    return contents(out)


@pytest.mark.parametrize("harm", HARM)
def test_a_part_that_is_lost_before_publishing_is_told_and_redone(
    harm: str, source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(GrokpackError) as caught,
        when(_all_is_written(out), lambda: HARM[harm](_victim(out))),
    ):
        _reshard(source, out)
    assert caught.value.code == "GP329"
    assert caught.value.exit_status is ExitStatus.TARGET
    assert not (out / "grokpack.json").exists()
    _reshard(source, out)
    (tmp_path / "moved").unlink(missing_ok=True)
    (out / "moved").unlink(missing_ok=True)
    assert contents(out) == clean


def _all_is_written(out: Path) -> Callable[[str, str], bool]:
    """Before the receipt that completes the output."""

    def happens(operation: str, path: str) -> bool:
        if operation != "append" or not path.endswith("done.jsonl"):
            return False
        return all(part.stat().st_blocks for part in out.rglob(f"*{PART}"))

    return happens


@pytest.mark.parametrize("harm", ["delete", "cut", "overwrite"])
def test_a_published_file_that_is_lost_before_the_manifest_is_told_and_redone(
    harm: str, source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(GrokpackError) as caught,
        when(_writes("config.json"), lambda: HARM[harm](_victim(out, ""))),
    ):
        _reshard(source, out)
    assert caught.value.code == "GP329"
    assert not (out / "grokpack.json").exists()
    _reshard(source, out)
    assert contents(out) == clean


def _writes(name: str) -> Callable[[str, str], bool]:
    return lambda operation, path: operation == "write_whole" and path.endswith(name)


def test_a_small_file_that_is_lost_before_the_manifest_is_told_and_redone(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def synced(operation: str, path: str) -> bool:
        there = (out / "config.json").exists() and (out / "grokpack.index.json").exists()
        return operation == "sync_folder" and Path(path) == out and there

    with (
        pytest.raises(GrokpackError) as caught,
        when(synced, (out / "config.json").unlink),
    ):
        _reshard(source, out)
    assert caught.value.code == "GP329"
    _reshard(source, out)
    assert contents(out) == clean


@pytest.mark.parametrize(
    "name", ["config.json", "grokpack.json", "common/model-00001-of-00001.safetensors"]
)
def test_a_file_of_somebody_else_is_never_replaced(
    name: str, source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    mine = out / name
    with (
        pytest.raises(GrokpackError) as caught,
        when(lambda operation, _: operation == "write", lambda: _write_mine(mine)),
    ):
        _reshard(source, out)
    assert caught.value.code == "GP323"
    assert caught.value.where is not None
    assert caught.value.where.path == str(mine)
    assert mine.read_text() == "mine"
    mine.unlink()
    _reshard(source, out)
    assert contents(out) == clean


def _write_mine(path: Path) -> None:
    path.write_text("mine")


def test_no_file_has_its_name_where_somebody_else_has_that_of_another(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    weights = [name for name in clean if name.endswith(".safetensors")]
    assert len(weights) > 1
    for number, name in enumerate(weights):
        out = tmp_path / str(number) / "out"
        with (
            pytest.raises(GrokpackError, match=name),
            when(_all_is_written(out), partial(_write_mine, out.parent / name)),
        ):
            _reshard(source, out)
        assert [*out.rglob("*.safetensors")] == [out.parent / name]


def test_a_file_that_comes_just_before_the_renaming_is_not_replaced(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    mine = tmp_path / next(name for name in clean if name.endswith(".safetensors"))

    def is_published(operation: str, path: str) -> bool:
        return operation == "publish" and path == str(mine)

    with (
        pytest.raises(GrokpackError) as caught,
        when(is_published, lambda: _write_mine(mine)),
    ):
        _reshard(source, out)
    assert caught.value.code == "GP323"
    assert mine.read_text() == "mine"
    mine.unlink()
    _reshard(source, out)
    assert contents(out) == clean


def test_a_file_that_is_gone_while_it_is_written_is_told_and_redone(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(GrokpackError) as caught,
        when(
            lambda operation, _: operation == "open", lambda: shutil.rmtree(out / "rank-001-of-002")
        ),
    ):
        _reshard(source, out)
    assert caught.value.code == "GP329"
    _reshard(source, out)
    assert contents(out) == clean


def test_what_was_written_through_another_name_is_not_written_again(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    """A part that others hold under a name of theirs is theirs: their bytes stay."""
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    theirs.write_bytes(b"theirs" * 1000)
    with pytest.raises(Crash), when(_opens, _crash):
        _reshard(source, out)
    part = _victim(out)
    part.unlink()
    os.link(theirs, part)
    _reshard(source, out)
    assert theirs.read_bytes() == b"theirs" * 1000
    theirs.unlink()
    assert contents(out) == clean


def _opens(operation: str, _path: str) -> bool:
    return operation == "open"


def _crash() -> None:
    raise Crash


def test_an_unfinished_output_may_be_copied_and_continued(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out, copy = tmp_path / "out", tmp_path / "copy" / "out"
    with pytest.raises(Crash), when(_writes("config.json"), _crash):
        _reshard(source, out)
    shutil.copytree(out, copy)
    assert _reshard(source, copy).written_bytes == 0
    assert contents(copy) == clean


@pytest.mark.parametrize("command", ["archive", "gguf", "zarr", "view", "int4"])
def test_every_kind_of_output_tells_what_was_lost(
    command: str, source: Path, tmp_path: Path
) -> None:
    write = WRITERS[command]
    out = name_of(command, tmp_path / "place")
    out.parent.mkdir()
    write(source, out)
    expected = contents(out)
    shutil.rmtree(out.parent)
    out.parent.mkdir()

    def lose() -> None:
        min(out.parent.rglob(f"*{PART}")).unlink()

    with (
        pytest.raises(GrokpackError) as caught,
        when(lambda operation, _: operation in ("append", "publish") and _is_full(out), lose),
    ):
        write(source, out)
    assert caught.value.code == "GP329"
    write(source, out)
    assert contents(out) == expected


def _is_full(out: Path) -> bool:
    """Whether a first receipt is there, so that a loss is noticed by nobody but publishing."""
    return any(p.stat().st_size for p in out.parent.rglob("done*.jsonl"))


def test_the_last_part_tells_what_others_wrote_and_is_lost(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plan = plan_reshard(open_checkpoint(str(source)), 2)
    limits = RunOptions(workers=1)
    execute_part(plan, str(out), RunPart(1, 2), limits)
    before = {p for p in out.rglob(f"*{PART}") if p.stat().st_blocks}
    assert before
    min(before).unlink()
    outcome = execute_part(plan, str(out), RunPart(2, 2), limits)
    assert not outcome.published
    assert execute_part(plan, str(out), RunPart(1, 2), limits).published
    assert contents(out) == clean


@pytest.mark.parametrize("plant", ["file", "link", "fifo"])
def test_a_part_that_was_there_before_is_refused_by_name(
    plant: str, source: Path, tmp_path: Path
) -> None:
    out, victim = name_of("gguf", tmp_path), tmp_path / "victim"
    victim.write_text("mine")
    part = Path(f"{out}{PART}")
    if plant == "file":
        part.write_text("mine")
    elif plant == "link":
        part.symlink_to(victim)
    else:
        os.mkfifo(part)
    with pytest.raises(GrokpackError) as caught:
        WRITERS["gguf"](source, out)
    assert caught.value.code == "GP323"
    assert caught.value.where is not None
    assert caught.value.where.path == str(part)
    assert victim.read_text() == "mine"
