"""A cluster of Dask, and a plan for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import PRESETS
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.execution.workers import dask_cluster
from tests.support.checkpoints import synthesize, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.planning.plan import Plan
from tests.support.dask_clusters import distributed


@pytest.fixture(scope="package")  # idle, one takes an eighth of a core
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as found:
        yield found


@pytest.fixture
def url(cluster: Any) -> str:
    return str(cluster.scheduler_address).replace("tcp://", "dask://")


@pytest.fixture
def workers(cluster: Any, url: str) -> Iterator[dask_cluster.Cluster]:
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
    with dask_cluster.cluster(url) as found:
        yield found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dask")
    synthesize(root / "source", PRESETS["tiny"])
    return root


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return plan_reshard(open_checkpoint(str(root / "source")), 4, "ckpt-0")


@pytest.fixture(scope="module")
def clean(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("clean") / "out"
    execute(plan, str(out), RunOptions(workers=1))
    return tree(out)


@pytest.fixture(autouse=True)
def _small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokpack.planning.tasks.TASK_BYTES", 100_000)
