"""Commands of grokpack for checks that run in environments without it: one process does them all.

`python -m tests.oracle.grokpack_process`, in grokpack's own environment, reads a command a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

Grokpack = Callable[..., None]
"""Runs `grokpack ARGUMENT...`; fails where it fails."""


def grokpack_at(python: Path | str, implementation: str = "auto") -> Grokpack:
    """Start grokpack of another environment, and return it as a function.

    Args:
        python: An interpreter that has grokpack.
        implementation: Kind of kernels, as `GROKPACK_KERNELS` has it.
    """
    said = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
    process = subprocess.Popen(
        [str(python), "-m", __name__],
        env={**os.environ, "GROKPACK_KERNELS": implementation},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def run(*arguments: object) -> None:
        print(json.dumps([*map(str, arguments), "--quiet"]), file=asked, flush=True)
        if (answer := answers.readline()) != "0\n":
            said.seek(0)
            words = said.read().decode(errors="replace")[-4000:]
            raise RuntimeError(f"grokpack {' '.join(map(str, arguments))}: {answer}{words}")

    return run


def run_all(python: str, commands: Iterable[list[str]], implementation: str = "auto") -> None:
    """Run commands one after another, with one kind of kernels."""
    run = grokpack_at(python, implementation)
    for command in commands:
        run(*command)


def _serve() -> None:
    """Answer every command with its exit status; what it prints goes to stderr."""
    from grokpack.cli.app import main

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        sys.argv = ["grokpack", *json.loads(line)]
        print(main(), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
