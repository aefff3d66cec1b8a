"""Compiling is told of: to the caller as events, to the user as one line, and not as slow work."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numba
import pytest

from grokpack.core.events import Advanced, Compiled, Compiling, Event, Started
from grokpack.kernels import dispatch
from grokpack.kernels.compilation import telling_of_compilation
from grokpack.report import progress_display

needs_numba = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")


def _half(value: int) -> int:
    return value // 2


@needs_numba
def test_a_listener_hears_of_the_outermost_compilation_alone() -> None:
    half: Any = numba.njit(_half)
    quarter: Any = numba.njit(lambda value: half(half(value)))
    heard: list[Event] = []
    with telling_of_compilation("numba", heard.append):
        assert quarter(8) == quarter(9) == 2
    half(8.0)
    assert [type(event) for event in heard] == [Compiling, Compiled]


@pytest.mark.parametrize("form", ["bar", "lines"])
def test_the_user_reads_of_it_once(form: str) -> None:
    stream = io.StringIO()
    listen = progress_display.listener(form, quiet=False, stream=stream)
    for event in (Started("quantize", 10), Compiling(), Compiled(1), Compiling(), Compiled(1)):
        listen(event)
    assert stream.getvalue().count("compiling kernels, once") == 1


def test_the_rate_is_that_of_the_time_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("grokpack.report.progress_display.time.monotonic", lambda: now)
    meter = progress_display.ProgressLines(io.StringIO())
    meter(Started("quantize", 1000))
    now = 112.0
    for event in (Compiling(), Compiled(8.0), Advanced(400)):
        meter(event)
    assert meter.rate == 100


@needs_numba
def test_numba_has_imported_its_modules_before_threads_use_kernels() -> None:
    code = "import sys, grokpack.kernels.compiled; print('numba.np.polynomial' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"
