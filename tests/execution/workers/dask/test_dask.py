"""A Dask cluster does the work: real worker processes write what a serial run writes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.execution.output import Output
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.execution.run_part import RunPart, execute_part
from grokpack.execution.workers import dask_cluster
from tests.support import forked, grok2
from tests.support.checkpoints import synthesize, tree
from tests.support.executors import stop_after

if TYPE_CHECKING:
    from grokpack.planning.plan import Plan
from tests.support.dask_clusters import distributed


def test_two_workers_write_what_a_serial_run_writes(
    workers: dask_cluster.Cluster, plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    assert (workers.width, workers.threads) == (2, 1)
    outcome = execute(plan, str(tmp_path / "out"), RunOptions(workers=1, width=2), executor=workers)
    assert tree(tmp_path / "out") == clean
    assert len(outcome.processes) == 2
    assert f":{os.getpid()}" not in "".join(outcome.processes)
    assert outcome.written_bytes == plan.target.layout.nbytes


def test_workers_write_the_store_of_another_family(
    workers: dask_cluster.Cluster, tmp_path: Path
) -> None:
    plan = plan_convert(open_checkpoint(str(grok2.RELEASE)), "zarr", ConvertOptions(tp=1))
    execute(plan, str(tmp_path / "out"), RunOptions(workers=1, width=2), executor=workers)
    execute(plan, str(tmp_path / "serial"), RunOptions(workers=1))
    assert tree(tmp_path / "out") == tree(tmp_path / "serial")


def _kept() -> int:
    from grokpack.execution.workers import jobs

    return len(jobs._remote_jobs)


def test_workers_keep_nothing_of_a_run_that_ended(
    cluster: Any, workers: dask_cluster.Cluster, plan: Plan, tmp_path: Path
) -> None:
    execute(plan, str(tmp_path / "out"), RunOptions(workers=1, width=2), executor=workers)
    with distributed.Client(cluster) as client:
        assert set(client.run(_kept).values()) == {0}


def test_a_part_is_done_on_a_cluster(
    workers: dask_cluster.Cluster, plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    execute_part(plan, out, RunPart(1, 2))
    outcome = execute_part(plan, out, RunPart(2, 2), executor=workers)
    assert outcome.published
    assert tree(tmp_path / "out") == clean


def test_a_run_that_is_stopped_on_a_cluster_is_finished_here(
    workers: dask_cluster.Cluster, plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    limits = RunOptions(workers=1, width=2)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"), limits, stop_after(limits, 1), workers)
    assert caught.value.code == "GP403"
    assert Output.of(plan.target, str(tmp_path / "out")).journal.receipts()
    outcome = execute(plan, str(tmp_path / "out"), RunOptions(workers=1))
    assert outcome.written_bytes < plan.target.layout.nbytes
    assert tree(tmp_path / "out") == clean


def test_the_commands_take_a_cluster(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", None)  # none of them is started in full
    out = tmp_path / "out"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return forked.run(*arguments, "--workers", url, "--json")

    source = str(synthesize(tmp_path / "source"))
    wrote = run("reshard", source, "--tp", "4", "-o", str(out))
    assert wrote.returncode == 0, wrote.stderr
    data = json.loads(wrote.stdout)["data"]
    assert data["processes"] >= 1
    assert data["cluster"] == {"workers": 2, "threads": 2}
    assert json.loads(run("reshard", source, "--tp", "4", "-o", str(out)).stdout)["data"][
        "already_done"
    ]
    for arguments in (
        ("verify", str(out), "--data", "--values"),
        ("verify", str(out), "--source", source),
        ("diff", source, str(out)),
        ("convert", source, "--to", "hf", "-o", str(tmp_path / "hf"), "--tokenizer", "none"),
        ("quantize", source, "--method", "rtn", "--group", "32", "-o", str(tmp_path / "q")),
    ):
        answer = run(*arguments)
        assert answer.returncode == 0, (arguments, answer.stderr)
    shard = next(out.glob("rank-001-of-004/*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    assert run("verify", str(out), "--data").returncode == 1


def test_a_cluster_is_found_by_its_scheduler_file(cluster: Any, tmp_path: Path) -> None:
    identity = {"address": cluster.scheduler_address, "type": "Scheduler", "id": "x", "workers": {}}
    (tmp_path / "scheduler.json").write_text(json.dumps(identity))
    with dask_cluster.cluster(f"dask://{tmp_path}/scheduler.json") as found:
        assert found.width == 2


def test_another_version_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "__version__", "9.9.9")
    with pytest.raises(GrokpackError) as caught, dask_cluster.cluster(url):
        pass
    assert caught.value.code == "GP409"


def test_a_worker_that_does_not_see_the_output_is_named(
    workers: dask_cluster.Cluster, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "grokpack.planning.plan.Plan.digest", lambda _: "0" * 64
    )  # in this process only
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"), executor=workers)
    error = caught.value
    assert error.code == "GP409"
    assert ("worker", workers.workers[0].address) in error.facts or (
        "worker",
        workers.workers[1].address,
    ) in error.facts
    assert not list((tmp_path / "out").glob("ckpt-0/tensor*[0-9]"))


@pytest.mark.parametrize("limits", [(None, None), (1 << 30, 512 << 20), (400 << 20, None)])
def test_tasks_keep_to_the_smallest_workers_memory(limits: tuple[int | None, int | None]) -> None:
    class Client:
        def get_executor(self, **_: Any) -> None: ...

        def scheduler_info(self, **_: Any) -> Any:
            rows = {f"tcp://{n}": (n + 1, limit or 0) for n, limit in enumerate(limits)}
            return {
                "workers": {
                    address: {"nthreads": threads, "memory_limit": limit}
                    for address, (threads, limit) in rows.items()
                }
            }

    found = dask_cluster.Cluster(Client())
    smallest = min((limit for limit in limits if limit), default=None)
    assert found.memory_bytes == (int(0.8 * smallest) if smallest else None)
    assert (found.width, found.threads) == (3, 2)


def test_a_worker_with_too_little_memory_is_refused_before_the_first_task(
    root: Path, tmp_path: Path
) -> None:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=64, memory_limit="180MB", dashboard_address=":0"
    ) as small:
        url = str(small.scheduler_address).replace("tcp://", "dask://")
        where = ("-o", str(tmp_path / "o"), "--workers", url)
        run = forked.run("reshard", root / "source", *where)
    assert run.returncode == 5
    assert "GP312" in run.stderr
    assert "--nthreads" in run.stderr
    assert not (tmp_path / "o").exists()
