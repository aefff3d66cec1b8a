"""Settings of every test: profiles of hypothesis, temporary files, the command line, garbage."""

from __future__ import annotations

import functools
import gc
import os
import tempfile

import typer.testing
from hypothesis import HealthCheck, settings

# The same examples on every machine and worker, so that a failure is the change's and not the
# day's. No deadline: cores are shared and numba compiles on first use.
settings.register_profile(
    "grokpack",
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
# `make slow` looks for what these few examples miss.
settings.register_profile(
    "explore", parent=settings.get_profile("grokpack"), derandomize=False, max_examples=1000
)
settings.load_profile("grokpack")

# Crash tests make thousands of small files durable; memory is as good a place for them as a disk.
if os.access("/dev/shm", os.W_OK) and "TMPDIR" not in os.environ:  # noqa: S108
    tempfile.tempdir = "/dev/shm"  # noqa: S108

# `CliRunner` makes the whole command line of its table for each command, which takes longer than
# many of the commands that tests run; it is the same each time.
typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]


def pytest_collection_finish() -> None:
    """Leave modules and collected tests, a million objects, out of later garbage collections."""
    gc.collect()
    gc.freeze()
