"""The watch under which hostile inputs are read: what it measures, and that it ends what passes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.limited import run_limited

MIB = 1 << 20


def test_the_status_the_output_and_the_memory_are_those_of_the_program(tmp_path: Path) -> None:
    code = f"import sys; held = b'x' * {64 * MIB}; print(len(held)); sys.exit(3)"
    status, peak, seconds = run_limited([sys.executable, "-c", code], tmp_path / "output")
    assert status == 3
    assert (tmp_path / "output").read_text() == f"{64 * MIB}\n"
    assert 64 * MIB < peak < 128 * MIB
    assert seconds > 0


def test_memory_of_the_runner_is_not_counted() -> None:
    held = bytes(256 * MIB)
    assert run_limited([sys.executable, "-c", ""]).peak_bytes < len(held)


@pytest.mark.parametrize(
    ("code", "limits"),
    [
        ("import time; time.sleep(60)", {"seconds": 0.3}),
        ("held = []\nwhile True: held.append(b'x' * 1048576)", {"memory_bytes": 64 * MIB}),
    ],
)
def test_a_program_that_passes_a_limit_is_ended(code: str, limits: dict[str, Any]) -> None:
    outcome = run_limited([sys.executable, "-c", code], **limits)
    assert outcome.status == -signal.SIGKILL
    assert outcome.seconds < 30
