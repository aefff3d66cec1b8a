"""Parts of a plan at once: they wait for each other, and the output is published once."""

from __future__ import annotations

import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.output import Output
from grokpack.execution.run import execute
from grokpack.execution.run_part import RunPart, execute_part
from tests.faults.crashing import Crash, counted, crashing, each_or_some, places
from tests.support import forked
from tests.support.checkpoints import tree
from tests.support.executors import processes

if TYPE_CHECKING:
    from grokpack.execution.run import Outcome
    from grokpack.planning.plan import Plan
from tests.support.run_parts import ONE, do, resharding


@pytest.mark.parametrize("count", [2, 5])
def test_parts_at_once_publish_once(
    count: int, plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    for turn in range(8):
        out = tmp_path / f"out{turn}"
        together = threading.Barrier(2 * count)

        def part(number: int, out: Path = out, together: Any = together) -> Outcome:
            together.wait()
            return do(plan, out, number, count)

        with ThreadPoolExecutor(2 * count) as pool:  # each part twice
            outcomes = list(pool.map(part, [*range(1, count + 1)] * 2))
        publishing = [o for o in outcomes if o.published and not o.already_done]
        assert len(publishing) == 1
        assert tree(out) == clean
        assert not (out / ".grokpack").exists()


def test_who_ends_while_another_publishes_waits_and_finds_it_done(
    plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    do(plan, out, 1, 2)
    publishing, go_on = threading.Event(), threading.Event()

    def hook(operation: str, _: str) -> None:
        if operation == "publish" and not publishing.is_set():
            publishing.set()
            go_on.wait(30)

    storage.faults.hook = hook
    try:
        with ThreadPoolExecutor(2) as pool:
            last = pool.submit(do, plan, out, 2, 2)
            assert publishing.wait(30)
            late = pool.submit(do, plan, out, 1, 2)
            with pytest.raises(TimeoutError):
                late.result(0.3)
            go_on.set()
            assert last.result(30).published
            assert late.result(30).already_done
    finally:
        storage.faults.hook = None
    assert tree(out) == clean
    assert not (out / ".grokpack").exists()


def test_the_last_waits_for_those_who_have_not_let_go_yet(
    plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    do(plan, out, 1, 2)
    journal = Output.of(plan.target, str(out)).journal
    with ThreadPoolExecutor(1) as pool:
        with storage.locked(journal.lock_path, shared=True):
            last = pool.submit(do, plan, out, 2, 2)
            with pytest.raises(TimeoutError):
                last.result(1.0)
        assert last.result(30).published
    assert tree(out) == clean


@each_or_some
def test_a_crash_at_any_operation_loses_nothing(
    plan: Plan, clean: dict[str, bytes], tmp_path: Path, most: int | None
) -> None:
    with counted() as operations:
        for number in (2, 1):
            do(plan, tmp_path / "counted", number, 2)
    for after in places(operations, most):
        out = tmp_path / f"out{after}"
        with crashing(after):
            try:
                for number in (2, 1):
                    do(plan, out, number, 2)
            except Crash:
                pass
        outcomes = [do(plan, out, number, 2) for number in (1, 2)]
        assert any(outcome.published for outcome in outcomes), operations[after]
        assert tree(out) == clean, operations[after]
        assert not (out / ".grokpack").exists(), operations[after]


def test_processes_race_to_publish(plan: Plan, source: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    execute(plan, str(whole), ONE)
    out = tmp_path / "out"
    parts = [
        *forked.COMMAND,
        *resharding(source, out),
        "--json",
        "--require-complete",
        "--workers",
        "1",
        "--part",
    ]
    running = [
        subprocess.Popen([*parts, f"{number}/3"], stdout=subprocess.PIPE) for number in (1, 2, 3)
    ]
    answers = [json.loads(process.communicate(timeout=120)[0])["data"] for process in running]
    statuses = [process.returncode for process in running]
    assert statuses.count(0) >= 1
    assert set(statuses) <= {0, 75}
    for status, answer in zip(statuses, answers, strict=True):
        assert (status == 75) == ("outstanding_parts" in answer)
    wrote = [a for a in answers if "outstanding_parts" not in a and not a["already_done"]]
    assert len(wrote) == 1
    assert tree(out) == tree(whole)


def test_a_part_may_be_done_by_other_processes(
    plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with processes() as workers:
        outcomes = [
            execute_part(plan, str(out), RunPart(number, 2), ONE, executor=workers)
            for number in (1, 2)
        ]
    assert all(len(outcome.processes) == 2 for outcome in outcomes)
    assert tree(out) == clean


def test_a_part_leaves_other_peoples_work_alone(
    plan: Plan, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.execution.run_part._BEGIN_S", 0.2)
    out = tmp_path / "out"
    do(plan_reshard(open_checkpoint(str(source)), 2), out, 1, 2)
    with pytest.raises(GrokpackError) as caught:
        do(plan, out, 1, 2)
    assert caught.value.code == "GP321"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(GrokpackError) as caught:
        do(plan, other, 1, 2)
    assert caught.value.code == "GP323"
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_part_does_not_begin_beside_a_whole_run_nor_that_beside_it(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.execution.run_part._BEGIN_S", 0.2)
    out = tmp_path / "out"
    do(plan, out, 1, 2)
    lock = Output.of(plan.target, str(out)).journal.lock_path
    with storage.locked(lock), pytest.raises(GrokpackError) as caught:
        do(plan, out, 2, 2)
    assert caught.value.code == "GP322"
    with storage.locked(lock, shared=True), pytest.raises(GrokpackError) as caught:
        execute(plan, str(out), ONE)
    assert caught.value.code == "GP322"
    with storage.locked(lock, shared=True):
        outcome = do(plan, out, 2, 2)  # beside another part that has not ended yet
    assert not outcome.published
    assert outcome.outstanding_parts == ()
    assert do(plan, out, 1, 2).published
