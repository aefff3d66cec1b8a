"""No command is silent for long, and a dry run that is refused shows its plan all the same."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grokpack import storage
from grokpack.cli.app import app
from grokpack.cli.wait_notices import WaitNotices
from grokpack.core.events import Finished, Started
from tests.support.checkpoints import GOLDEN


def test_silence_is_broken_with_what_has_been_read() -> None:
    said, spoken = [], threading.Event()

    def say(line: str) -> None:
        said.append(line)
        spoken.set()

    with WaitNotices(say, 60.0, first_s=0.01) as waiting:
        waiting.count(213, 770)
        assert spoken.wait(60)
    assert len(said) == 1
    assert said[0].startswith(("reading: 213 of 770 files looked at, ", "still at work, "))


def test_what_is_read_is_counted() -> None:
    counted: list[tuple[int, int]] = []
    with storage.interruptible(bool, counted=lambda *pair: counted.append(pair)):
        assert storage.map_all(".", str, [1, 2, 3]) == ["1", "2", "3"]
    assert counted == [(1, 3), (2, 3), (3, 3)]


def test_progress_that_is_shown_is_no_silence() -> None:
    said: list[str] = []
    with WaitNotices(said.append, 0.001, first_s=0.2) as waiting:
        waiting.note(Started("verify", 1))
        threading.Event().wait(0.5)
        assert said == []
        waiting.note(Finished("verify", 0.5))


def dry(*arguments: str) -> Result:
    line = ["convert", str(GOLDEN), "--to", "hf", "--dry-run", *arguments]
    return CliRunner().invoke(app, line)


@pytest.mark.parametrize(("arguments", "code"), [((), "GP311"), (("--memory", "10MB"), "GP312")])
def test_a_refused_dry_run_shows_the_plan_first(
    arguments: tuple[str, ...], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "free_bytes", lambda _: 0)
    done = dry("-o", str(tmp_path / "out"), *arguments)
    assert done.exit_code == 5
    assert done.stdout.startswith("plan ")
    assert "  writes " in done.stdout
    assert f"error[{code}]" in done.stderr
    assert code != "GP311" or "      free   0 B\n" in done.stderr


def test_a_refused_dry_run_is_one_document(tmp_path: Path) -> None:
    done = dry("-o", str(tmp_path / "out"), "--memory", "10MB", "--json")
    assert done.stdout.startswith("{")
