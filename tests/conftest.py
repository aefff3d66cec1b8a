"""Settings of every test: profiles of hypothesis, temporary files, the command line, garbage."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import tempfile

import pytest
import typer.testing
from hypothesis import HealthCheck, settings

from grokpack.kernels.compilation_cache import compilation_cache

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

# Crash tests make thousands of small files durable; memory is as good a place for them as a disk,
# where there is enough of it.
_MEMORY = "/dev/shm"  # noqa: S108
_NEEDED_BYTES = 8 << 30
_own_folder: str | None = None  # of this run; the workers of one share it
_STATUS = pytest.StashKey[int]()

if "TMPDIR" not in os.environ:
    enough = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _NEEDED_BYTES
    _own_folder = tempfile.mkdtemp(prefix="grokpack-tests-", dir=_MEMORY if enough else None)
    os.environ["TMPDIR"] = tempfile.tempdir = _own_folder

# Tests give commands homes of their own; kernels need not be compiled for each.
os.environ.setdefault("NUMBA_CACHE_DIR", compilation_cache())

# `CliRunner` makes the whole command line of its table for each command, which takes longer than
# many of the commands that tests run; it is the same each time.
typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]


# Plans, headers and collected tests are a million small objects, none of them in a cycle.
gc.set_threshold(50_000, 20, 20)


def pytest_collection_finish() -> None:
    """Leave modules and collected tests out of later garbage collections."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep how the run ended until its workers are gone."""
    session.config.stash[_STATUS] = session.exitstatus


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what a run that passed has left; of another, people look at it."""
    if _own_folder is not None and config.stash.get(_STATUS, None) == pytest.ExitCode.OK:
        shutil.rmtree(_own_folder, ignore_errors=True)
