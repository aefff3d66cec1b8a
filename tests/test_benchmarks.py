"""Benchmarks: verdicts of figures, and commands that still exist."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from benchmarks.bench import THIN
from benchmarks.figures import Figure, Table
from benchmarks.layer_memory import WRITING
from benchmarks.routes import CONVERT, GROK2, QUANTIZE, RESHARD
from grokpack.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("bounds", "reached"),
    [
        ({}, None),
        ({"at_most": 1.2}, True),
        ({"at_most": 1.19}, False),
        ({"at_least": 1.2}, True),
        ({"at_least": 1.21}, False),
    ],
)
def test_the_median_decides(bounds: dict[str, float], reached: bool | None) -> None:
    figure = Figure("reshard", (9.0, 1.2, 0.1), "x", **bounds)
    assert figure.reached is reached
    assert ("short" in figure.line()) is (reached is False)
    assert "0.100 to 9.00" in figure.line()


def test_a_table_is_written_with_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table()
    table.add("reshard", Figure("reshard --tp 8", (1.0, 3.0, 2.0), "x", at_most=1.5))
    table.add("reshard", Figure("  input", (0.5,), "GB/s"))
    table.leave_out("peer", "no interpreter")
    table.close(1.0)
    table.write(tmp_path / "new" / "bench.json", {"cores": 2})
    assert "0 of 1 figures reach" in capsys.readouterr().out
    written = json.loads((tmp_path / "new" / "bench.json").read_text(encoding="utf-8"))
    assert written["figures"][0]["median"] == 2.0
    assert written["figures"][0]["reached"] is False
    assert written["not_measured"] == {"peer": "no interpreter"}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["grok-1", "grok-2"])
def test_every_measured_command_is_one(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROKPACK_KERNELS", "numpy")
    source, run = tmp_path / "m", CliRunner().invoke
    thin = ("--preset", "medium", "--layers", "1", "--vocab", "1024", *THIN[model])
    assert run(app, ["synth", str(source), "--model", model, *thin, "-q"]).exit_code == 0
    routes = GROK2 if model == "grok-2" else (*RESHARD, *CONVERT, *QUANTIZE)
    for command, *options in dict.fromkeys([*(r.words for r in routes), *WRITING[model]]):
        out = str(tmp_path / "out")
        done = run(app, [command, str(source), *options, "-o", out, "--dry-run", "-q"])
        assert done.exit_code == 0, (command, options, done.output)
