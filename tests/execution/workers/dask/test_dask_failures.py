"""A Dask cluster whose workers are killed, restarted and badly connected loses nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.execution.workers import Job, dask_cluster
from tests.support import forked
from tests.support.checkpoints import tree
from tests.support.servers import Answer, Asked, Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.planning.plan import Plan
from tests.support.dask_clusters import distributed


def is_payload(asked: Asked) -> bool:
    """Whether a request is for more than headers."""
    return asked.range is not None and asked.range[1] - asked.range[0] > 8192


@contextmanager
def slow(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the source that takes its time for every answer."""
    impatient(monkeypatch)
    with serving(root) as server:
        yield server


def test_a_worker_that_is_killed_in_mid_task_loses_nothing(
    cluster: Any,
    workers: dask_cluster.Cluster,
    clean: dict[str, bytes],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with distributed.Client(cluster) as client:
        victims = list(client.run(os.getpid).values())
    killed: list[int] = []
    payload = [0]

    def kill(asked: Asked, _: Answer) -> None:
        """At the third, the sixth and the ninth read of weights: a worker, any of the two."""
        if is_payload(asked):
            payload[0] += 1
            if payload[0] % 3 == 0 and len(killed) < 2:
                killed.append(victims[len(killed)])
                os.kill(killed[-1], signal.SIGKILL)
            time.sleep(0.02)

    with slow(root, monkeypatch) as server:
        plan = plan_reshard(open_checkpoint(f"{server.url}/source"), 4, "ckpt-0")
        server.fault = kill
        outcome = execute(
            plan, str(tmp_path / "out"), RunOptions(workers=1, width=2), executor=workers
        )
    assert len(killed) == 2
    assert tree(tmp_path / "out") == clean
    assert outcome.published
    alive = {where.rpartition(":")[2] for where in outcome.processes}
    assert alive - {str(pid) for pid in killed}  # those that came after them


def test_storage_that_is_slow_and_fails_now_and_then_changes_no_byte(
    workers: dask_cluster.Cluster,
    clean: dict[str, bytes],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(asked: Asked, answer: Answer) -> None:
        time.sleep(0.005)
        if asked.number % 19 == 3:
            answer.status, answer.body = 503, b""
        elif asked.number % 19 == 5:
            answer.cut = len(answer.body) // 2

    with slow(root, monkeypatch) as server:
        plan = plan_reshard(open_checkpoint(f"{server.url}/source"), 4, "ckpt-0")
        server.fault = fault
        execute(plan, str(tmp_path / "out"), RunOptions(workers=1, width=2), executor=workers)
    assert tree(tmp_path / "out") == clean


def test_ctrl_c_ends_a_run_on_a_cluster_and_it_goes_on(
    url: str,
    clean: dict[str, bytes],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    reading = threading.Event()

    def hold(asked: Asked, _: Answer) -> None:
        if is_payload(asked):
            reading.set()
            time.sleep(0.1)

    with slow(root, monkeypatch) as server:
        command = ["reshard", f"{server.url}/source", "--tp", "4", "--to", "ckpt-0"]
        server.fault = hold
        with subprocess.Popen(
            [*forked.COMMAND, *command, "-o", str(out), "--workers", url],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert reading.wait(60)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "GP403" in said
        server.fault = None
        again = forked.run(*command, "-o", out, "-q")
    assert again.returncode == 0
    assert tree(out) == clean


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("there", [False, True], ids=["no scheduler", "no workers"])
def test_a_cluster_that_is_not_there_is_named(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "_CONNECT_S", 1)
    monkeypatch.setattr(dask_cluster, "_FIRST_WORKER_S", 0.5)
    port = free_port()
    if there:
        with (
            distributed.LocalCluster(n_workers=0, dashboard_address=":0", scheduler_port=port),
            pytest.raises(GrokpackError) as caught,
            dask_cluster.cluster(f"dask://127.0.0.1:{port}"),
        ):
            pass
        assert "no workers" in caught.value.what
    else:
        with (
            pytest.raises(GrokpackError) as caught,
            dask_cluster.cluster(f"dask://127.0.0.1:{port}"),
        ):
            pass
        assert "no scheduler" in caught.value.what
    assert caught.value.code == "GP410"
    assert caught.value.hint


class Processes:
    """A scheduler and a worker of two threads as people start them: processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        worker = ("worker", f"127.0.0.1:{self.port}", "--nthreads", "2", "--no-nanny")
        for command in (("scheduler", "--port", str(self.port)), worker):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command, "--no-dashboard"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.folder,
            )
            self.running.append(process)

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        self.running = []


def test_a_cluster_without_workers_ends_the_run(
    plan: Plan, clean: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.execution.workers.worker_pool._QUIET_S", 1.0)
    ours = Processes(tmp_path)
    ours.start()
    limits = RunOptions(workers=1, width=2)

    def kill(event: object) -> None:
        if getattr(event, "nbytes", 0):
            for process in ours.running[1:]:
                process.kill()

    try:
        with dask_cluster.cluster(f"dask://127.0.0.1:{ours.port}") as workers:
            began = time.monotonic()
            with pytest.raises(GrokpackError) as caught:
                execute(plan, str(tmp_path / "out"), limits, kill, workers)
            assert time.monotonic() - began < 60
    finally:
        ours.stop()
    assert caught.value.code == "GP408"
    assert execute(plan, str(tmp_path / "out")).written_bytes < plan.target.layout.nbytes
    assert tree(tmp_path / "out") == clean


def test_workers_that_die_while_they_are_asked_are_left(workers: dask_cluster.Cluster) -> None:
    def die(**_: Any) -> dict[str, Any]:
        return {"tcp://1:1": OSError("Connection closed"), "tcp://2:2": None}

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(workers._client, "run", lambda *_, **options: die(**options))
    workers.prepare(Job(_nothing))
    monkeypatch.undo()


def _nothing(_watch: object) -> Any:
    return abs


def test_a_scheduler_that_is_restarted_loses_nothing(
    clean: dict[str, bytes], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Processes(tmp_path)
    ours.start()
    reads = [0]

    def fault(asked: Asked, _: Answer) -> None:
        if is_payload(asked):
            reads[0] += 1
            time.sleep(0.03)

    def restart() -> None:
        ends = time.monotonic() + 60
        while reads[0] < 5 and time.monotonic() < ends:
            time.sleep(0.01)
        ours.stop()
        ours.start()
        restarted.set()

    restarted = threading.Event()
    try:
        with slow(root, monkeypatch) as server:
            plan = plan_reshard(open_checkpoint(f"{server.url}/source"), 4, "ckpt-0")
            with dask_cluster.cluster(f"dask://127.0.0.1:{ours.port}") as workers:
                server.fault = fault
                restarting = threading.Thread(target=restart)
                restarting.start()
                limits = RunOptions(workers=1, width=2)
                outcome = execute(plan, str(tmp_path / "out"), limits, executor=workers)
                assert restarted.is_set()  # in mid-run
                restarting.join()
    finally:
        ours.stop()
    assert reads[0] > 5
    assert outcome.published
    assert outcome.processes
    assert tree(tmp_path / "out") == clean
