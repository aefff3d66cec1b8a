"""`inspect --fit` from the command line: its table, its document, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grokpack.cli.app import app
from tests.report.test_schemas import check
from tests.support.checkpoints import GOLDEN
from tests.support.grok2 import RELEASE


def fitted(*arguments: str, source: Path = GOLDEN, width: int = 100) -> Result:
    line = ["inspect", str(source), *arguments]
    return CliRunner().invoke(app, line, env={"COLUMNS": str(width)})


def test_it_says_what_fits_and_which_command_writes_it() -> None:
    done = fitted("--fit", "2x1GB", "--context", "100")
    assert done.exit_code == 0, done.output
    assert "on 2 devices of 1.00 GB (0.93 GiB)" in done.stdout
    assert "`--fit 2x1GiB`" in done.stdout
    lines = done.stdout.splitlines()
    assert any(line.split()[:2] == ["int8", "SGLang"] for line in lines)
    assert any(line.split()[:3] == ["llama.cpp", "grokpack", "convert"] for line in lines)


@pytest.mark.parametrize("width", [60, 80])
def test_it_fits_the_terminal(width: int) -> None:
    table, _, commands = fitted("--fit", "1x1GB", width=width).stdout.partition("best that fits")
    assert commands
    assert max(map(len, table.splitlines()[1:])) <= width


@pytest.mark.parametrize("source", [GOLDEN, RELEASE])
def test_the_document_keeps_to_its_schema(source: Path) -> None:
    document = json.loads(fitted("--fit", "3x24GiB", "--json", source=source).stdout)
    check(document)
    fit = document["data"]["fit"]
    assert (fit["devices"], fit["device_bytes"]) == (3, 24 << 30)
    assert fit["reserve_bytes"] == (24 << 30) // 10
    assert {row["program"] for row in fit["best"]} >= {"SGLang", "vLLM"}
    assert all(load["width"] <= 3 for row in fit["formats"] for load in row["loads"])


def test_nothing_that_fits_is_a_no() -> None:
    done = fitted("--fit", "1x1MB", "--json")
    document = json.loads(done.stdout)
    check(document)
    assert (done.exit_code, document["status"]) == (1, "too-large")
    assert "nothing fits" in fitted("--fit", "1x1MB").stdout


@pytest.mark.parametrize("text", ["8x", "x80GB", "0x80GB", "8x80", "many", "8x80GB!"])
def test_what_are_no_devices_is_refused(text: str) -> None:
    done = fitted("--fit", text)
    assert done.exit_code == 2
    assert "GP346" in done.stderr
    assert "8x80GB" in done.stderr


@pytest.mark.parametrize("option", ["--context", "--batch"])
def test_work_without_devices_is_refused(option: str) -> None:
    done = fitted(option, "8")
    assert (done.exit_code, "GP304" in done.stderr) == (2, True)
