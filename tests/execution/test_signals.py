"""Real processes, ended by SIGKILL and by signals: they stop cleanly, and go on."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grokpack.checkpoint.open_checkpoint import survey
from grokpack.conversion.plan_synth import PRESETS, plan_synth
from grokpack.execution.journal import Journal
from grokpack.execution.run import execute
from tests.support.checkpoints import SMALL, reshard, synthesize, tree


def test_the_real_process_survives_sigkill_at_random_moments(tmp_path: Path) -> None:
    from dataclasses import replace

    source = synthesize(tmp_path / "source", replace(SMALL, vocab=32768, d_model=512))
    reshard(source, tmp_path / "clean", 4)
    command = [
        sys.executable,
        "-m",
        "grokpack",
        "reshard",
        str(source),
        "--tp",
        "4",
        "-o",
        str(tmp_path / "out"),
        "--progress",
        "none",
    ]
    chance = random.Random(7)
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.2, 0.8))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_cleanly_and_it_continues(
    tmp_path: Path, number: int, status: int
) -> None:
    out = tmp_path / "model"
    command = [
        sys.executable,
        "-m",
        "grokpack",
        "synth",
        str(out),
        "--preset",
        "small",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not Journal(str(out / ".grokpack")).exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == status
    assert "run the same command again to continue" in messages
    assert Journal(str(out / ".grokpack")).exists()
    subprocess.run(command, check=True, capture_output=True)
    assert survey(str(out)).whole


@pytest.mark.parametrize(
    ("command", "number", "status"),
    [(["verify", "--values"], signal.SIGINT, 130), (["inspect", "--stats"], signal.SIGTERM, 143)],
)
def test_a_signal_ends_a_command_that_only_reads(
    tmp_path: Path, command: list[str], number: int, status: int
) -> None:
    execute(plan_synth(PRESETS["medium"], sparse=True), str(tmp_path))
    words = [sys.executable, "-m", "grokpack", *command, str(tmp_path), "--progress", "json"]
    process = subprocess.Popen(
        [*words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "advanced" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    answer, messages = process.communicate(timeout=60)
    assert process.returncode == status
    assert "stopped before everything was read" in messages
    assert json.loads(answer)["exit_code"] == status
