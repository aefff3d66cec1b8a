"""Crashes: at every storage operation, on a full disk; continued to the same bytes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.execution.journal import Journal
from grokpack.execution.preflight import preflight
from grokpack.execution.receipt import Receipt
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from tests.faults.crashing import Crash, counted, crash_after, each_or_some, places
from tests.support.checkpoints import SMALL, reshard, synthesize, tree


@each_or_some
def test_resume_after_a_crash_at_any_operation_gives_the_same_bytes(
    tmp_path: Path, most: int | None
) -> None:
    source = synthesize(tmp_path / "source", seed=1)
    with counted() as operations:
        reshard(source, tmp_path / "clean", 2)
    expected = tree(tmp_path / "clean")
    assert len(operations) > 30
    for count in places(operations, most):
        out = tmp_path / f"crash{count}"
        crash_after(count)
        with pytest.raises(Crash):
            execute(plan_reshard(open_checkpoint(str(source)), 2), str(out), RunOptions(workers=1))
        storage.faults.hook = None
        assert not (out / "grokpack.json").exists() or tree(out) == expected
        reshard(source, out, 2)
        assert tree(out) == expected, f"crashed at operation {count}"
        shutil.rmtree(out)


def test_an_unfinished_output_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    crash_after(40)
    with pytest.raises(Crash):
        reshard(source, tmp_path / "out", 2, "ckpt-0")
    storage.faults.hook = None
    for path in (tmp_path / "out", tmp_path / "out" / "ckpt-0"):
        with pytest.raises(GrokpackError) as caught:
            survey(str(path))
        assert caught.value.code == "GP212"


def test_a_full_disk_in_mid_run_is_told_and_continued(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    left = [25]

    def full(operation: str, _path: str) -> None:
        left[0] -= operation == "write"
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    storage.faults.hook = full
    with pytest.raises(GrokpackError) as caught:
        reshard(source, tmp_path / "out", 2)
    assert caught.value.code == "GP401"
    assert caught.value.exit_status is ExitStatus.TARGET
    storage.faults.hook = None
    reshard(source, tmp_path / "out", 2)
    reshard(source, tmp_path / "clean", 2)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def begun(source: Path, out: Path) -> None:
    crash_after(60)
    with pytest.raises(Crash):
        execute(plan_reshard(open_checkpoint(str(source)), 2), str(out), RunOptions(workers=1))
    storage.faults.hook = None


def test_another_plan_is_refused_with_the_difference_named(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    begun(source, tmp_path / "out")
    with pytest.raises(GrokpackError) as caught:
        reshard(source, tmp_path / "out", 4)
    assert caught.value.code == "GP321"
    assert ("differs", "tp: 2 there, 4 here") in caught.value.facts
    execute(
        plan_reshard(open_checkpoint(str(source)), 4),
        str(tmp_path / "out"),
        RunOptions(restart=True),
    )
    reshard(source, tmp_path / "clean", 4)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_a_source_that_changed_between_runs_is_refused(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    begun(source, tmp_path / "out")
    file = source / "ckpt-0" / "tensor00005_000"
    os.utime(file, ns=(1, 1))
    with pytest.raises(GrokpackError) as caught:
        reshard(source, tmp_path / "out", 2)
    assert caught.value.code == "GP213"


def test_a_part_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    source, out = synthesize(tmp_path / "source"), tmp_path / "out"

    def hook(operation: str, path: str) -> None:
        if operation == "publish" and path.endswith(".safetensors"):
            raise Crash

    storage.faults.hook = hook
    with pytest.raises(Crash):
        reshard(source, out, 2)
    storage.faults.hook = None
    assert len(Journal(str(out / ".grokpack")).receipts()) > 1
    for part in out.rglob("*.part"):
        os.truncate(part, 10)
    reshard(source, out, 2)
    reshard(source, tmp_path / "clean", 2)
    assert tree(out) == tree(tmp_path / "clean")


def test_restarting_removes_nothing_outside_the_output_whatever_the_manifest_says(
    tmp_path: Path,
) -> None:
    out, mine = synthesize(tmp_path / "out"), tmp_path / "mine"
    mine.write_text("mine")
    document = json.loads((out / "grokpack.json").read_text())
    entry = next(iter(document["files"].values()))
    document["files"] |= {"../mine": entry, "ckpt-0/../../mine": entry, str(mine): entry}
    document["finals"] |= {"../mine": entry}
    (out / "grokpack.json").write_text(json.dumps(document))
    with pytest.raises(GrokpackError) as caught:
        execute(plan_synth(SMALL, 1), str(out), RunOptions(restart=True))
    assert caught.value.code == "GP330"
    assert mine.read_text() == "mine"


def test_nothing_is_published_where_a_tile_was_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.execution.run.tasks", lambda *_: iter(()))
    with pytest.raises(GrokpackError) as caught:
        execute(plan_synth(SMALL, 0), str(tmp_path))
    assert caught.value.code == "GP901"
    assert {p.suffix for p in (tmp_path / "ckpt-0").iterdir()} == {".part"}


def test_a_damaged_receipt_is_not_believed(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.record([Receipt(0, 0, (("aa",),))])
    journal.record([Receipt(1, 0, (("bb",),))])
    log = Path(journal.path("done.jsonl"))
    log.write_text(log.read_text().replace("aa", "ac"))
    assert journal.receipts() == [Receipt(1, 0, (("bb",),))]


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("plan.json", "[1]", Journal.plan),
        ("plan.json", '{"schema": "grokpack/journal/1"}', Journal.plan),
        ("plan.json", '{"schema": "grokpack/journal/1", "digest": 5, "files": []}', Journal.plan),
        ("run.json", "[1]", lambda journal: journal.stamps("x")),
        ("run.json", '{"places": [1]}', lambda journal: journal.stamps("x")),
        ("run.json", '{"places": {"x": {"a": 5}}}', lambda journal: journal.stamps("x")),
        ("run.json", '{"kept": {"a": []}}', Journal.kept),
        ("done.jsonl", "[1]", Journal.receipts),
        ("done.jsonl", "[[0, 0, 5]]", Journal.receipts),
        ("done.jsonl", "[NaN]", Journal.receipts),
    ],
)
def test_a_record_of_another_shape_is_refused_with_a_code(
    name: str, text: str, read: Callable[[Journal], object], tmp_path: Path
) -> None:
    line = f"{zlib.crc32(text.encode()):08x} {text}\n" if name.endswith("l") else text
    (tmp_path / name).write_text(line)
    with pytest.raises(GrokpackError) as caught:
        read(Journal(str(tmp_path)))
    assert caught.value.code == "GP209"


def test_what_is_not_durable_has_no_receipt_and_the_manifest_comes_last(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    storage.faults.hook = lambda operation, path: seen.append((operation, Path(path).name))
    execute(plan_synth(SMALL, 0), str(tmp_path / "out"), RunOptions(workers=1))
    storage.faults.hook = None
    unsafe: set[str] = set()
    for operation, name in seen:
        if operation == "write":
            unsafe.add(name)
        if operation == "sync":
            unsafe.discard(name)
        assert operation != "append" or not unsafe
    published = [name for operation, name in seen if operation == "publish"]
    small = ["config.json", "grokpack.json"]
    assert published[-2:] == small
    assert all(name.startswith("tensor") for name in published[2:-2])  # after run and plan


def test_a_second_process_on_one_output_is_refused(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    journal = Journal(str(tmp_path / "out" / ".grokpack"))
    storage.make_folder(journal.folder)
    with storage.locked(journal.lock_path), pytest.raises(GrokpackError) as caught:
        reshard(source, tmp_path / "out", 2)
    assert caught.value.code == "GP322"


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    for restart in (False, True):
        with pytest.raises(GrokpackError) as caught:
            execute(
                plan_reshard(open_checkpoint(str(source)), 2),
                str(tmp_path / "out"),
                RunOptions(restart=restart),
            )
        assert caught.value.code == "GP323"
    assert (tmp_path / "out" / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize("out", ["file", "file/below", "link"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_file_where_the_folder_is_to_be_is_refused_and_kept(
    tmp_path: Path, out: str, restart: bool
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(GrokpackError) as caught:
        execute(plan_synth(SMALL, 0), str(tmp_path / out), RunOptions(restart=restart))
    assert caught.value.code == "GP323"
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_inside_the_source_is_refused(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    with pytest.raises(GrokpackError) as caught:
        reshard(source, source / "ckpt-0" / "out", 2)
    assert caught.value.code == "GP325"


def test_too_little_memory_and_disk_are_refused_before_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = synthesize(tmp_path / "source")
    plan = plan_reshard(open_checkpoint(str(source)), 2)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"), RunOptions(memory_bytes=100 << 20))
    assert caught.value.code == "GP312"
    monkeypatch.setattr(storage, "free_bytes", lambda _: 1000)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"))
    assert caught.value.code == "GP311"
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_that_nothing_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "takes_files", lambda _: False)
    with pytest.raises(GrokpackError) as caught:
        preflight(plan_synth(SMALL, 0), str(tmp_path / "out" / "below"), RunOptions())
    assert caught.value.code == "GP324"
    assert caught.value.where is not None
    assert caught.value.where.path == str(tmp_path)


def test_a_disk_that_does_not_tell_its_room_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /proc, which takes no files, and as some file systems of a network, which do."""
    plan = plan_reshard(open_checkpoint(synthesize(tmp_path / "source")), 2)
    untold = shutil.disk_usage(tmp_path)._replace(total=0, used=0, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: untold)
    execute(plan, tmp_path / "out")
    assert (tmp_path / "out/config.json").exists()


def test_a_deadline_ends_the_run_with_try_again(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    with pytest.raises(GrokpackError) as caught:
        execute(
            plan_reshard(open_checkpoint(str(source)), 2),
            str(tmp_path / "out"),
            RunOptions(deadline_s=0),
        )
    assert caught.value.exit_status is ExitStatus.TRY_AGAIN
    reshard(source, tmp_path / "out", 2)


def test_a_finished_output_is_not_written_again(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    reshard(source, tmp_path / "out", 2)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert reshard(source, tmp_path / "out", 2).already_done
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}


def test_a_record_that_is_replaced_while_it_is_read_is_one_or_the_other(tmp_path: Path) -> None:
    path, over = str(tmp_path / "run.json"), threading.Event()
    records = [{"places": {"a": 1}}, {"places": {"b" * 20_000: 2}}]
    storage.write_whole(path, json.dumps(records[0]).encode())

    def replace() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            storage.write_whole(path, json.dumps(records[turn % 2]).encode())

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        seen = [storage.read_json(path) for _ in range(3000)]
    finally:
        over.set()
        thread.join()
    assert all(record in records for record in seen)
    assert {len(str(record)) for record in seen} == {len(str(record)) for record in records}
