"""Answers of `verify --against`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from grokpack.cli.app import app
from tests.report.test_schemas import check


def verified(model: Path, against: str | Path, *options: str) -> dict[str, Any]:
    arguments = ["verify", str(model), "--against", str(against), *options, "--json"]
    done = CliRunner().invoke(app, [*arguments, "--progress", "none"])
    document: dict[str, Any] = json.loads(done.stdout)
    check(document)
    assert done.exit_code == document["exit_code"]
    return document


def codes(document: dict[str, Any]) -> list[str]:
    return [row["code"] for row in document["findings"]]
