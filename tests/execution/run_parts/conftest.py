"""A plan of small tasks and what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.execution.run import execute
from tests.support.checkpoints import synthesize, tree

if TYPE_CHECKING:
    from grokpack.planning.plan import Plan
from tests.support.run_parts import ONE


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("sharing") / "source")


@pytest.fixture(scope="module")
def plan(source: Path) -> Plan:
    return plan_reshard(open_checkpoint(str(source)), 4, "ckpt-0")


@pytest.fixture(scope="module")
def clean(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("clean") / "out"
    execute(plan, str(out), ONE)
    return tree(out)


@pytest.fixture(autouse=True)
def _small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokpack.planning.tasks.TASK_BYTES", 20_000)
    monkeypatch.setattr("grokpack.execution.tile_coverage.TASK_BYTES", 20_000)
