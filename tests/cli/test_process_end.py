"""The end of a process: memory is left to the system, and nothing else is left out."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import atexit, sys
from grokpack.__main__ import main
atexit.register(lambda: print("at the end"))
class Slow:
    def __del__(self):
        print("freed")
kept = Slow()
sys.argv = ["grokpack", {word!r}]
main()
"""


@pytest.mark.parametrize(("word", "status"), [("--version", 0), ("--nothing", 2)])
def test_what_is_registered_runs_and_is_written_and_objects_are_not_freed(
    word: str, status: int
) -> None:
    command = [sys.executable, "-c", _PROGRAM.format(word=word)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stdout.endswith("at the end\n")
    assert "freed" not in done.stdout


def test_a_profiler_reports() -> None:
    command = [sys.executable, "-m", "cProfile", "-m", "grokpack", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "function calls" in done.stdout
