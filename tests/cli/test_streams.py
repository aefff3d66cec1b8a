"""Standard streams that are full, closed or read by nobody: the work is done all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokpack.cli import crash_report
from tests.support.checkpoints import synthesize

FULL, CLOSED, UNREAD = "/dev/full", "closed", "unread"
DESCRIPTORS = {"into": 0, "out": 1, "err": 2}
FORMS = (
    ("verify", "base"),
    ("verify", "base", "--json"),
    ("verify", "base", "--format", "github"),
    ("verify", "base", "--format", "junit"),
    ("inspect", "base", "--progress", "json"),
    ("synth", "made", "--preset", "tiny", "--seed", "2"),
    ("explain", "GP101"),
    ("help", "exit-codes"),
    ("--help",),
    ("verify", "--help"),
    ("--version",),
    (),
)

# One interpreter, forked for each command: what they import is loaded once. A stream that is
# closed when Python starts has no object.
PROGRAM = """
import json, os, sys
import rich.progress
import grokpack.checkpoint.open_checkpoint, grokpack.cli.app, grokpack.cli.run_plan
import grokpack.conversion.plan_synth, grokpack.execution.run
import grokpack.verification.verify_structure
from grokpack.__main__ import main

def child(words, streams, said):
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for number, how in streams.items():
        number = int(number)
        if how == "closed":
            os.close(number)
            setattr(sys, ("stdin", "stdout", "stderr")[number], None)
        elif how == "unread":
            reading, writing = os.pipe()
            os.close(reading)
            os.dup2(writing, number)
        else:
            os.dup2(os.open(how, os.O_WRONLY), number)
    os.closerange(3, 64)
    sys.argv = ["grokpack", *words]
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(int(end.code or 0))

for line in sys.stdin:
    process = os.fork()
    if not process:
        try:
            child(*json.loads(line))
        finally:
            os._exit(99)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class Shell:
    """Runs commands in a folder that holds a checkpoint, with their streams changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=folder,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ended(self, *words: str, **streams: str) -> tuple[int, str]:
        """Status of a command, and what it said on standard error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        said = self.folder / "said"
        row = words, {DESCRIPTORS[name]: how for name, how in streams.items()}, str(said)
        self.process.stdin.write(json.dumps(row) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()), said.read_text()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("streams")
    synthesize(folder / "base")
    made = Shell(folder)
    yield made
    made.process.communicate(timeout=60)


@pytest.mark.parametrize("words", FORMS, ids=" ".join)
def test_an_answer_that_cannot_be_written_is_told_by_the_status(
    words: tuple[str, ...], shell: Shell
) -> None:
    for how in (FULL, CLOSED)[: 1 + (words in FORMS[-3:])]:
        status, said = shell.ended(*words, out=how)
        assert status == 5, said
        assert "error[GP411]" in said
        assert "Traceback" not in said
    assert ("made" not in words) or (shell.folder / "made" / "grokpack.json").exists()


def test_a_reader_that_has_gone_ends_nothing_early(shell: Shell) -> None:
    assert shell.ended("synth", "unread", "--preset", "tiny", "-q", out=UNREAD) == (141, "")
    assert (shell.folder / "unread" / "grokpack.json").exists()
    assert shell.ended("--help", out=UNREAD) == (141, "")
    assert shell.ended("verify", "absent", out=UNREAD)[0] == 3


@pytest.mark.parametrize("how", [FULL, CLOSED])
def test_what_is_lost_on_standard_error_changes_nothing(how: str, shell: Shell) -> None:
    assert shell.ended("verify", "base", err=how)[0] == 0
    assert shell.ended("verify", "absent", err=how)[0] == 3
    assert shell.ended("reshard", "base", "--tp", "7", "-o", "no", "--json", err=how)[0] == 2
    assert shell.ended("--unknown", err=how)[0] == 2


@pytest.mark.parametrize("form", ["bar", "json"])
def test_a_run_goes_on_where_its_progress_is_lost(form: str, shell: Shell) -> None:
    words = ("synth", form, "--preset", "tiny", "--progress", form)
    assert shell.ended(*words, err=FULL)[0] == 0
    assert (shell.folder / form / "grokpack.json").exists()


@pytest.mark.parametrize("how", [FULL, CLOSED, UNREAD])
def test_an_error_keeps_its_status_where_its_document_is_lost(how: str, shell: Shell) -> None:
    status, said = shell.ended("verify", "absent", "--json", out=how)
    assert status == 3
    assert "error[GP201]" in said


def test_no_file_is_opened_in_place_of_a_closed_stream(shell: Shell) -> None:
    words = ("synth", "whole", "--preset", "tiny")
    closed = dict.fromkeys(("into", "out", "err"), CLOSED)
    assert shell.ended(*words, **closed)[0] == 5
    assert shell.ended("verify", "whole", "--data")[0] == 0


def test_a_crash_report_that_cannot_be_written_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hint = str(crash_report.bug(ValueError("x")).hint)
    (report,) = tmp_path.glob("crash-*.txt")
    assert str(report) in hint
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    hint = str(crash_report.bug(ValueError("x")).hint)
    assert "crash-" not in hint
    assert "--verbose" in hint
