"""A Dask cluster does the work: real worker processes, killed, restarted, and badly connected."""

from __future__ import annotations

import json
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
from grokpack.conversion.plan_synth import PRESETS
from grokpack.core.errors import GrokpackError
from grokpack.execution.output import Output
from grokpack.execution.partial_run import RunPart, execute_part
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.execution.workers import Job, dask
from tests.support import forked
from tests.support.checkpoints import synthesise, tree
from tests.support.executors import stop_after
from tests.support.servers import Answer, Asked, Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.planning.plan import Plan

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as found:
        yield found


@pytest.fixture
def url(cluster: Any) -> str:
    return str(cluster.scheduler_address).replace("tcp://", "dask://")


@pytest.fixture
def workers(cluster: Any, url: str) -> Iterator[dask.Cluster]:
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
    with dask.cluster(url) as found:
        yield found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dask")
    synthesise(root / "source", PRESETS["tiny"])
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


def is_payload(asked: Asked) -> bool:
    """Whether a request is for more than headers."""
    return asked.range is not None and asked.range[1] - asked.range[0] > 8192


@contextmanager
def slow(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the source that takes its time for every answer."""
    impatient(monkeypatch)
    with serving(root) as server:
        yield server


def test_two_workers_write_what_a_serial_run_writes(
    workers: dask.Cluster, plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    assert (workers.width, workers.threads) == (2, 1)
    outcome = execute(plan, str(tmp_path / "out"), RunOptions(workers=1, width=2), executor=workers)
    assert tree(tmp_path / "out") == clean
    assert len(outcome.processes) == 2
    assert f":{os.getpid()}" not in "".join(outcome.processes)
    assert outcome.written_bytes == plan.target.layout.nbytes


def _kept() -> int:
    from grokpack.execution.workers import jobs

    return len(jobs._abroad)


def test_workers_keep_nothing_of_a_run_that_ended(
    cluster: Any, workers: dask.Cluster, plan: Plan, tmp_path: Path
) -> None:
    execute(plan, str(tmp_path / "out"), RunOptions(workers=1, width=2), executor=workers)
    with distributed.Client(cluster) as client:
        assert set(client.run(_kept).values()) == {0}


def test_a_part_is_done_on_a_cluster(
    workers: dask.Cluster, plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    execute_part(plan, out, RunPart(1, 2))
    outcome = execute_part(plan, out, RunPart(2, 2), executor=workers)
    assert outcome.published
    assert tree(tmp_path / "out") == clean


def test_a_worker_that_is_killed_in_mid_task_loses_nothing(
    cluster: Any,
    workers: dask.Cluster,
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
    workers: dask.Cluster,
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


def test_a_run_that_is_stopped_on_a_cluster_is_finished_here(
    workers: dask.Cluster, plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    limits = RunOptions(workers=1, width=2)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"), limits, stop_after(limits, 1), workers)
    assert caught.value.code == "GP403"
    assert Output.of(plan.target, str(tmp_path / "out")).journal.receipts()
    outcome = execute(plan, str(tmp_path / "out"), RunOptions(workers=1))
    assert outcome.written_bytes < plan.target.layout.nbytes
    assert tree(tmp_path / "out") == clean


def test_the_commands_take_a_cluster(url: str, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return forked.run(*arguments, "--workers", url, "--json")

    source = str(root / "source")
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
        ("quantize", source, "--group", "32", "-o", str(tmp_path / "q"), "--tokenizer", "none"),
    ):
        answer = run(*arguments)
        assert answer.returncode == 0, (arguments, answer.stderr)
    shard = next(out.glob("rank-001-of-004/*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    assert run("verify", str(out), "--data").returncode == 1


def test_a_cluster_is_found_by_its_scheduler_file(cluster: Any, tmp_path: Path) -> None:
    identity = {"address": cluster.scheduler_address, "type": "Scheduler", "id": "x", "workers": {}}
    (tmp_path / "scheduler.json").write_text(json.dumps(identity))
    with dask.cluster(f"dask://{tmp_path}/scheduler.json") as found:
        assert found.width == 2


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


def test_another_version_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "__version__", "9.9.9")
    with pytest.raises(GrokpackError) as caught, dask.cluster(url):
        pass
    assert caught.value.code == "GP409"


def test_a_worker_that_does_not_see_the_output_is_named(
    workers: dask.Cluster, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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

    found = dask.Cluster(Client())
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


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("there", [False, True], ids=["no scheduler", "no workers"])
def test_a_cluster_that_is_not_there_is_named(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "_CONNECT_S", 1)
    monkeypatch.setattr(dask, "_FIRST_WORKER_S", 0.5)
    port = free_port()
    if there:
        with (
            distributed.LocalCluster(n_workers=0, dashboard_address=":0", scheduler_port=port),
            pytest.raises(GrokpackError) as caught,
            dask.cluster(f"dask://127.0.0.1:{port}"),
        ):
            pass
        assert "no workers" in caught.value.what
    else:
        with pytest.raises(GrokpackError) as caught, dask.cluster(f"dask://127.0.0.1:{port}"):
            pass
        assert "no scheduler" in caught.value.what
    assert caught.value.code == "GP410"
    assert caught.value.hint


class Processes:
    """A scheduler and two workers as people start them, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        worker = ("worker", f"127.0.0.1:{self.port}", "--nthreads", "1", "--no-nanny")
        for command in (("scheduler", "--port", str(self.port)), worker, worker):
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
    monkeypatch.setattr("grokpack.execution.workers.pool._QUIET_S", 1.0)
    ours = Processes(tmp_path)
    ours.start()
    limits = RunOptions(workers=1, width=2)

    def kill(event: object) -> None:
        if getattr(event, "nbytes", 0):
            for process in ours.running[1:]:
                process.kill()

    try:
        with dask.cluster(f"dask://127.0.0.1:{ours.port}") as workers:
            began = time.monotonic()
            with pytest.raises(GrokpackError) as caught:
                execute(plan, str(tmp_path / "out"), limits, kill, workers)
            assert time.monotonic() - began < 60
    finally:
        ours.stop()
    assert caught.value.code == "GP408"
    assert execute(plan, str(tmp_path / "out")).written_bytes < plan.target.layout.nbytes
    assert tree(tmp_path / "out") == clean


def test_workers_that_die_while_they_are_asked_are_left(workers: dask.Cluster) -> None:
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
            with dask.cluster(f"dask://127.0.0.1:{ours.port}") as workers:
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
