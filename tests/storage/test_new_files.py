"""Files written beside those of others: nothing is followed, opened or replaced by guess."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.checkpoint.extract import extract
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli import report_file
from grokpack.core.errors import GrokpackError, WrongUsage
from grokpack.execution.journal import Journal
from grokpack.report.envelope import failure
from grokpack.verification.record_manifest import record
from tests.support.checkpoints import synthesize
from tests.support.forked import run

ENDS = (".tmp", ".part")


def _report(folder: Path) -> str:
    error = WrongUsage("nothing")
    report_file.write(folder / "x.json", failure("usage", error, error.exit_status))
    return "x.json"


def _extracted(folder: Path) -> str:
    checkpoint = open_checkpoint(str(folder / "model"))
    extract(checkpoint, ["language_model/rms_norm/scale"], str(folder / "x.npy"))
    return "x.npy"


def _manifest(folder: Path) -> str:
    record(open_checkpoint(str(folder / "model")), str(folder / "x.json"), workers=1)
    return "x.json"


WRITERS: dict[str, Callable[[Path], str]] = {
    "--report": _report,
    "--extract": _extracted,
    "manifest -o": _manifest,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    (tmp_path / "model").symlink_to(model)
    return tmp_path


@pytest.mark.parametrize("what", WRITERS)
def test_a_users_files_of_likely_temporary_names_survive(what: str, folder: Path) -> None:
    mine = {f"x{suffix}{end}" for suffix in (".json", ".npy") for end in ENDS}
    for name in mine:
        (folder / name).write_text(name)
    written = WRITERS[what](folder)
    assert {p.name for p in folder.iterdir()} == {*mine, "model", written}
    assert all((folder / name).read_text() == name for name in mine)


@pytest.mark.parametrize("what", WRITERS)
def test_planted_links_lead_nowhere(what: str, folder: Path) -> None:
    victim = folder / "victim"
    victim.write_text("mine")
    for suffix in (".json", ".npy"):
        for end in ENDS:
            (folder / f"x{suffix}{end}").symlink_to(victim)
    written = folder / WRITERS[what](folder)
    assert victim.read_text() == "mine"
    assert written.stat().st_size > 0
    assert not written.is_symlink()


@pytest.mark.parametrize("what", WRITERS)
def test_what_fails_leaves_nothing_behind(
    what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name for p in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(GrokpackError) as caught:
        WRITERS[what](folder)
    assert caught.value.code == "GP401"
    assert {p.name for p in folder.iterdir()} == before


def test_what_is_stopped_leaves_nothing_behind(folder: Path) -> None:
    before = {p.name for p in folder.iterdir()}
    with storage.interruptible(lambda: True), pytest.raises(GrokpackError) as caught:
        _extracted(folder)
    assert caught.value.code == "GP403"
    assert {p.name for p in folder.iterdir()} == before


def test_a_new_file_takes_nobodys_place_who_came_first(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    late = storage.new_file(str(path), 4)
    writer = late.__enter__()
    writer.write(0, memoryview(b"ours"))
    path.write_text("theirs")
    with pytest.raises(GrokpackError) as caught:
        late.__exit__(None, None, None)
    assert caught.value.code == "GP323"
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]
    assert path.read_text() == "theirs"


def test_new_files_have_the_mode_that_the_user_wants(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        storage.write_whole(str(tmp_path / "x.json"), b"{}")
    finally:
        os.umask(before)
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o640


def _link(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere)


def _fifo(path: Path, _elsewhere: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [_link, _fifo])
def test_logs_and_locks_are_regular_files(
    plant: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    for name in ("done.jsonl", "lock"):
        plant(tmp_path / name, tmp_path / "elsewhere")
    with pytest.raises(GrokpackError) as caught:
        storage.append_line(str(tmp_path / "done.jsonl"), "line")
    assert caught.value.code == "GP330"
    with pytest.raises(GrokpackError) as caught, storage.locked(str(tmp_path / "lock")):
        pass
    assert caught.value.code == "GP330"
    assert not (tmp_path / "elsewhere").exists()


def test_a_record_that_ends_leaves_what_others_put_there(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / ".grokpack"))
    storage.make_folder(journal.folder)
    names = ("plan.json", "done.jsonl", "stop-1", ".grokpack-0.tmp", "lock", "mine.txt")
    for name in names:
        Path(journal.path(name)).write_text("")
    assert journal.lingers()
    journal.finish()
    assert [p.name for p in Path(journal.folder).iterdir()] == ["mine.txt"]
    assert not journal.lingers()


def test_a_temporary_name_that_is_taken_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guesses = iter(["taken", "free"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(guesses))
    taken = tmp_path / ".grokpack-taken.tmp"
    taken.write_text("mine")
    storage.write_whole(str(tmp_path / "x.json"), b"{}")
    assert taken.read_text() == "mine"
    assert (tmp_path / "x.json").read_bytes() == b"{}"


def test_a_report_never_takes_the_place_of_a_pipe(model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.html"
    os.mkfifo(pipe)
    done = run("inspect", model, "--report", pipe)
    assert (done.returncode, "GP330" in done.stderr, done.stdout) == (5, True, "")
    assert pipe.is_fifo()


def test_no_small_file_takes_the_place_of_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "manifest.json"
    os.mkfifo(pipe)
    with pytest.raises(GrokpackError, match="GP330"):
        storage.write_whole(str(pipe), b"{}")
    assert pipe.is_fifo()
