"""Colour where it is wanted and nowhere else; any file name on any terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from grokpack.cli.options import OutputFlags
from grokpack.cli.session import session
from grokpack.core.error_codes import CODES
from grokpack.core.errors import GrokpackError
from grokpack.core.events import Advanced, Finished, Sending, Started, Warned
from grokpack.report import progress_display
from grokpack.report.text import terminal
from tests.support import forked
from tests.support.checkpoints import synthesize
from tests.support.project import ROOT

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
NOT_SET = ("NO_COLOR", "FORCE_COLOR", "GROKPACK_COLOR")


class Stream(io.StringIO):
    def __init__(self, *, tty: bool) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.mark.parametrize(
    ("choice", "environment", "tty", "coloured"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "TERM": "dumb"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_who_decides_about_colour(
    monkeypatch: pytest.MonkeyPatch,
    choice: str,
    environment: dict[str, str],
    tty: bool,
    coloured: bool,
) -> None:
    for name in (*NOT_SET, "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert terminal.is_coloured(choice, Stream(tty=tty)) is coloured


@pytest.mark.parametrize(
    ("variable", "tty", "width"),
    [("72", False, 72), ("wide", False, None), ("", False, None), ("0", True, 80), ("", True, 80)],
)
def test_the_width_is_the_variables_or_the_terminals(
    variable: str, tty: bool, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", variable)
    assert terminal.text_width(Stream(tty=tty)) == width


def test_what_is_verbatim_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    assert terminal.fitted("one two three", Stream(tty=True), "never") == "one two\n  three"
    verbatim = terminal.fitted("one two three", Stream(tty=True), "never", verbatim=True)
    assert verbatim == "one two three"


def test_a_fold_makes_no_command_to_a_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    shown = terminal.fitted("a file name ::error::", Stream(tty=True), "never")
    assert shown == "a file name\n  \\x3a:error::"


def test_colour_adds_codes_and_takes_no_word_away() -> None:
    text = "error[GP103]: ends\n  --> f\n\nhint: fetch\n      again\nok  all\n--  not read\nokay"
    painted = terminal.paint(text)
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == text
    assert painted.count("\x1b[0m") == 5
    assert painted.splitlines()[-1] == "okay"


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    inherited = {k: v for k, v in os.environ.items() if k not in NOT_SET}
    return forked.run_in({**inherited, "TERM": "xterm", **environment}, *arguments)


def test_each_stream_is_judged_on_its_own(tmp_path: Path) -> None:
    """stderr is a terminal, stdout a file: the error is coloured, the answer is not."""
    source = synthesize(tmp_path / "m")
    command = [sys.executable, "-m", "grokpack", "verify"]
    environment = {k: v for k, v in os.environ.items() if k not in NOT_SET}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb"):
        for path, stdout, stderr in ((source, b"ok  structure", b""), ("nowhere", b"", b"\x1b[")):
            done = subprocess.run(
                [*command, str(path)],
                stdout=subprocess.PIPE,
                stderr=follower,
                check=False,
                env=environment,
            )
            assert done.stdout.startswith(stdout)
            assert b"\x1b" not in done.stdout
            if stderr:
                assert stderr in os.read(leader, 4096)
    os.close(follower)


@pytest.mark.parametrize(
    ("tty", "term", "form"),
    [
        (True, "xterm", "ProgressBar"),
        (True, "dumb", "ProgressLines"),
        (False, "xterm", "ProgressLines"),
    ],
)
def test_a_bar_is_drawn_only_where_the_cursor_can_go_back(
    monkeypatch: pytest.MonkeyPatch, tty: bool, term: str, form: str
) -> None:
    monkeypatch.setenv("TERM", term)
    made = progress_display.listener("auto", quiet=False, stream=Stream(tty=tty))
    assert type(made).__name__ == form


def test_a_warning_is_seen_above_a_bar_and_in_lines() -> None:
    for form in ("bar", "lines"):
        stream = Stream(tty=False)
        listen = progress_display.listener(form, quiet=False, stream=stream)
        for event in (Started("reshard", 10), Warned("slow [disk]"), Finished("reshard", 1.0)):
            listen(event)
        assert "warning: slow [disk]" in stream.getvalue()


def test_a_command_that_ends_early_gives_the_cursor_back_before_it_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After Ctrl-C the cursor stayed hidden, and the bar stood below the error."""
    stream = Stream(tty=True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)

    def begin_and_stop() -> None:
        with session("reshard", OutputFlags(progress="bar")) as current:
            current.listener()(Started("reshard", 10))
            raise GrokpackError("GP403", "stopped")

    with pytest.raises(typer.Exit):
        begin_and_stop()
    *_, bar, end = stream.getvalue().split(HIDDEN)
    assert "reshard" in bar + end
    assert end.index(SHOWN) < end.index("stopped")


def test_a_second_signal_gives_the_cursor_back() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        display = progress_display.ProgressBar(stream, coloured=False)
        display(Started("reshard", 10))
        os.read(master, 1 << 16)
        display.leave()
        assert os.read(master, 1 << 16).endswith(SHOWN.encode())
        display.end()
    os.close(master)


@pytest.mark.parametrize(("tty", "lines"), [(True, 16), (False, 3)])
def test_a_terminal_is_never_silent_for_long(
    monkeypatch: pytest.MonkeyPatch, tty: bool, lines: int
) -> None:
    now = [0.0]
    monkeypatch.setattr("grokpack.report.progress_display.time.monotonic", lambda: now[0])
    stream = Stream(tty=tty)
    listen = progress_display.listener("lines", quiet=False, stream=stream)
    listen(Started("convert", 10**6))
    for _ in range(100):
        now[0] += 1
        listen(Advanced(1))
    assert stream.getvalue().count("eta") == lines


def test_what_has_gone_out_of_a_long_upload_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("grokpack.report.progress_display.time.monotonic", lambda: now[0])
    shown = {}
    for form in ("bar", "lines", "json"):
        stream = Stream(tty=False)
        listen = progress_display.listener(form, quiet=False, stream=stream)
        listen(Started("convert", 10))
        for megabytes in range(100):
            now[0] += 1
            listen(Sending(megabytes * 10**6, 10**9))
        listen(Finished("convert", 1.0))
        shown[form] = stream.getvalue()
    lines = [line for line in shown["lines"].splitlines() if "sending" in line]
    assert len(lines) == 3  # of 100 seconds
    assert lines[0].endswith("convert sending, 30.00 MB of 1.00 GB are out")
    assert json.loads(shown["json"].splitlines()[5])["sent_bytes"] == 4 * 10**6


def test_json_is_never_coloured(tmp_path: Path) -> None:
    done = run("verify", tmp_path / "nowhere", "--json", "--color", "always")
    assert json.loads(done.stdout)["exit_code"] == 3
    assert b"\x1b[1;31merror[GP201]:\x1b[0m" in done.stderr


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "gr\\xf6\\xdfe-\\u6a21-\\udcff"),
        ("latin-1", "größe-\\u6a21-\\udcff"),
        ("utf-8", "größe-模-\\udcff"),
    ],
)
def test_names_that_a_stream_cannot_encode_are_spelled_out(
    tmp_path: Path, encoding: str, shown: str
) -> None:
    source = synthesize(tmp_path / "größe-模-\udcff")
    done = run("inspect", source, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert f"/{shown}/ckpt-0: a model of" in done.stdout.decode(encoding)
    failed = run("inspect", source / "not-hère", PYTHONIOENCODING=encoding)
    assert failed.returncode == 3, failed.stderr


def test_the_programs_own_words_need_no_more_than_ascii() -> None:
    package = ROOT / "grokpack"
    others = [p for p in package.rglob("*") if p.suffix in (".py", ".json")]
    assert [p.name for p in others if not p.read_text(encoding="utf-8").isascii()] == []
    assert all(f"{c.title}{c.meaning}{c.remedy}".isascii() for c in CODES.values())


@pytest.mark.parametrize("option", ["--color", "--format", "--progress"])
def test_a_choice_that_there_is_not_is_refused(option: str) -> None:
    done = run("inspect", option, "sometimes")
    assert done.returncode == 2
    assert option.encode() in done.stderr
    assert b"does not take `sometimes`" in done.stderr
