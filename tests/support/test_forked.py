"""What is run in a forked process behaves as what is started in full."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from grokpack.core import blas_threads
from tests.faults.crashing import places
from tests.support import forked
from tests.support.checkpoints import GOLDEN


@pytest.mark.parametrize("words", [("verify", str(GOLDEN), "-q"), ("--help",), ("nothing",)])
def test_a_forked_command_says_what_one_started_in_full_says(words: tuple[str, ...]) -> None:
    forked_one = forked.run(*words)
    whole = forked.run(*words, PYTHONHASHSEED="0")  # read at the start, so that it is in full
    assert forked_one.returncode == whole.returncode
    assert forked_one.stderr == whole.stderr
    assert forked_one.stdout.split("   (")[0] == whole.stdout.split("   (")[0]


def test_a_forked_command_has_its_own_folder_and_environment(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(GOLDEN)
    done = forked.run("inspect", "here", cwd=tmp_path)
    assert done.stdout.startswith("here/ckpt-0: ")
    named = forked.run("inspect", GROKPACK_CHECKPOINT=str(GOLDEN), GROKPACK_FORMAT="json")
    assert named.stdout.startswith("{")
    assert forked.run("inspect", cwd=tmp_path).returncode == 3


def test_what_other_tests_leave_in_the_environment_starts_nothing_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in blas_threads.VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONHASHSEED", "6640")  # of clusters of Dask
    monkeypatch.setattr(subprocess, "run", None)
    assert forked.run("--version").returncode == 0


def test_a_shell_finds_the_forked_command_and_its_status(tmp_path: Path) -> None:
    forked.shim(tmp_path)
    line = f"grokpack explain GP101 | head -n 1; grokpack verify {tmp_path}/absent 2>/dev/null"
    done = subprocess.run(
        ["sh", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert "GP101" in done.stdout
    assert done.returncode == 3


def test_crashes_are_at_places_of_each_kind() -> None:
    operations = [("make_folder", "a"), *[("write", f"x/{n}.part") for n in range(9)]]
    operations += [("write", "y"), ("write", "x/10.part")]
    assert places(operations, 3) == [0, 1, 5, 10, 11]
    assert places(operations, None) == list(range(12))
