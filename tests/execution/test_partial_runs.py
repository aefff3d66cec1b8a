"""Parts of a plan: at once, in any order, twice; the output is the whole run's, published once."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import PRESETS, plan_synth
from grokpack.core.errors import GrokpackError
from grokpack.execution import tile_coverage
from grokpack.execution.output import Output
from grokpack.execution.partial_run import RunPart, execute_part
from grokpack.execution.quantization_error import ErrorStats
from grokpack.execution.receipt import Receipt
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from tests.faults.crashing import Crash, counted, crashing, each_or_some, places
from tests.support import forked
from tests.support.checkpoints import synthesise, tree
from tests.support.executors import processes, stop_after
from tests.support.fuzzing import TINY

if TYPE_CHECKING:
    from grokpack.execution.run import Outcome
    from grokpack.planning.plan import Plan

ONE = RunOptions(workers=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("sharing") / "source")


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


def resharding(source: Path, out: Path) -> list[str]:
    """The words of the command of `plan`."""
    return ["reshard", str(source), "--tp", "4", "--to", "ckpt-0", "-o", str(out)]


def do(plan: Plan, out: Path, number: int, count: int) -> Outcome:
    return execute_part(plan, str(out), RunPart(number, count), RunOptions(workers=1))


@given(st.integers(1, 7), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_parts_in_any_order_and_twice_make_the_whole(
    plan: Plan,
    clean: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    chance: random.Random,
) -> None:
    out = tmp_path_factory.mktemp("order") / "out"
    numbers = [*range(1, count + 1), chance.randint(1, count)]
    chance.shuffle(numbers)
    done: set[int] = set()
    for number in numbers:
        before = len(done) == count
        outcome = do(plan, out, number, count)
        done.add(number)
        assert outcome.published == (len(done) == count)
        assert outcome.already_done == before
        if not outcome.published:
            assert set(outcome.outstanding_parts) <= set(range(1, count + 1)) - done
            assert not (out / "grokpack.json").exists()
    assert tree(out) == clean
    assert not (out / ".grokpack").exists()


def test_parts_of_other_counts_fit_together(
    plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for number, count in ((1, 2), (3, 4)):
        outcome = do(plan, out, number, count)
    assert outcome.outstanding_parts == (4,)
    assert outcome.outstanding_bytes > 0
    assert do(plan, out, 2, 2).written_bytes == outcome.outstanding_bytes
    assert tree(out) == clean


@pytest.mark.parametrize("first", ["part", "whole"])
def test_a_whole_run_and_parts_go_on_with_each_other(
    first: str, plan: Plan, clean: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    if first == "part":
        part = do(plan, out, 2, 3)
        outcome = execute(plan, str(out), ONE)
        assert outcome.written_bytes == plan.target.layout.nbytes - part.written_bytes
    else:
        limits = RunOptions(workers=1)
        with pytest.raises(GrokpackError):
            execute(plan, str(out), limits, stop_after(limits, 1))
        outcomes = [do(plan, out, number, 3) for number in (1, 2, 3)]
        assert outcomes[-1].published
        assert sum(outcome.written_bytes for outcome in outcomes) < plan.target.layout.nbytes
    assert tree(out) == clean


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


def test_parts_may_see_the_source_at_other_paths(
    plan: Plan, clean: dict[str, bytes], source: Path, tmp_path: Path
) -> None:
    out, count = tmp_path / "out", 6
    do(plan, out, 1, count)
    for number in range(2, count + 1):
        (tmp_path / f"mount{number}").symlink_to(source)
    together = threading.Barrier(count - 1)

    def part(number: int) -> Outcome:
        found = open_checkpoint(str(tmp_path / f"mount{number}"))
        together.wait()
        return do(plan_reshard(found, 4, "ckpt-0"), out, number, count)

    with ThreadPoolExecutor(count) as pool:
        assert any(outcome.published for outcome in pool.map(part, range(2, count + 1)))
    assert tree(out) == clean


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


def test_the_account_counts_every_tile_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        "core.tiles",
        "storage.hashing",
        "planning.tasks",
        "execution.quantization_error",
        "checkpoint.manifest_file",
    ):
        monkeypatch.setattr(f"grokpack.{module}.TILE_BYTES", 5000)
    source = synthesise(tmp_path / "source", TINY)
    options = QuantizeOptions(group="32", tokenizer="none")
    plan = plan_quantize(open_checkpoint(str(source)), options)
    account = execute(plan, str(tmp_path / "whole"), ONE).account
    out = tmp_path / "parts"
    do(plan, out, 1, 2)
    journal = Output.of(plan.target, str(out)).journal
    (log,) = Path(journal.folder).glob("done-*.jsonl")
    (log.parent / "done-again.jsonl").write_bytes(log.read_bytes())  # by one that ran beside it
    assert do(plan, out, 2, 2).account == account
    assert tree(out) == tree(tmp_path / "whole")


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


def test_the_command_says_what_is_outstanding(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return forked.run(*resharding(source, out), "--part", *arguments)

    first = run("1/3")
    assert first.returncode == 0
    assert first.stdout.startswith("part 1/3 done: ")
    assert "outstanding" in first.stdout
    assert "of parts 2-3; the last to end publishes" in first.stdout
    assert run("1/3", "--require-complete").returncode == 75
    assert run("2/3").returncode == 0
    last = run("3/3", "--require-complete")
    assert last.returncode == 0
    assert "wrote " in last.stdout
    again = run("2/3", "--require-complete")
    assert again.returncode == 0
    assert again.stdout.startswith("already done")


def test_a_dry_run_shows_the_share_and_refuses_what_the_run_would(
    plan: Plan, source: Path, tmp_path: Path
) -> None:
    command = [*resharding(source, tmp_path / "out"), "--json", "-n", "--part"]
    shares = []
    for number in (1, 2, 3):
        run = forked.run(*command, f"{number}/3")
        assert run.returncode == 0, run.stderr
        data = json.loads(run.stdout)["data"]
        assert data["part"] == [number, 3]
        shares.append(data["part_bytes"])
    assert sum(shares) == plan.target.layout.nbytes
    assert not (tmp_path / "out").exists()
    archive = ["convert", str(source), "--to", "archive", "-n", "--part", "1/2"]
    refused = forked.run(*archive, "-o", str(tmp_path / "a"))
    assert refused.returncode == 2
    assert "GP304" in refused.stderr
    assert "plan" not in refused.stderr


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "-1/3", "1/0"])
def test_what_is_no_part_is_refused(part: str, source: Path, tmp_path: Path) -> None:
    run = forked.run(*resharding(source, tmp_path / "out"), "--part", part)
    assert run.returncode == 2
    assert "write 3/16: i from 1 to n" in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", [RunPart(0, 2), RunPart(3, 2), RunPart(1, 0)])
def test_there_is_no_other_part(part: RunPart, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(GrokpackError) as caught:
        execute_part(plan, str(tmp_path / "out"), part)
    assert caught.value.code == "GP304"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", ["restart", "archive", "bucket", "view"])
def test_what_is_not_done_in_parts_is_refused(how: str, source: Path, tmp_path: Path) -> None:
    found = open_checkpoint(str(source))
    out = str(tmp_path / "out")
    plan, limits = plan_reshard(found, 4), RunOptions(workers=1, restart=how == "restart")
    if how == "archive":
        plan = plan_convert(found, "archive")
    if how == "view":
        plan = plan_convert(found, "view", ConvertOptions(out=out))
    if how == "bucket":
        out = "s3://bucket/out"
    with pytest.raises(GrokpackError) as caught:
        execute_part(plan, out, RunPart(1, 2), limits)
    assert caught.value.code == "GP304"
    assert caught.value.hint


def test_a_part_leaves_other_peoples_work_alone(
    plan: Plan, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.execution.partial_run._BEGIN_S", 0.2)
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
    monkeypatch.setattr("grokpack.execution.partial_run._BEGIN_S", 0.2)
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


@given(st.integers(1, 40))
def test_shares_are_all_tiles_each_in_one(plan: Plan, count: int) -> None:
    shares = tile_coverage.shares(plan.target, count)
    assert len(shares) == count
    tiles = [(band, tile) for share in shares for band, own in share.items() for tile in own]
    every = tile_coverage.everything(plan.target.layout)
    assert sorted(tiles) == sorted((band, tile) for band, own in every.items() for tile in own)


def test_shares_of_the_release_are_even() -> None:
    target = plan_synth(PRESETS["grok-1"]).target
    for count in (2, 16, 100):
        sizes = [
            tile_coverage.bytes_of(target.layout, share)
            for share in tile_coverage.shares(target, count)
        ]
        assert sum(sizes) == target.layout.nbytes
        assert max(sizes) - min(sizes) < 600 << 20  # of 318 GB: a task more or less


receipts = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 6)), max_size=12
)


@given(receipts)
def test_of_receipts_that_overlap_each_tile_is_kept_once(
    drawn: list[tuple[int, int, int]],
) -> None:
    given = [
        Receipt(
            band,
            first,
            (tuple(f"{band}.{tile}" for tile in range(first, first + count)),),
            tuple({f"{band}.{tile}": ErrorStats()} for tile in range(first, first + count)),
        )
        for band, first, count in drawn
    ]
    kept = tile_coverage.distinct(given)
    tiles = [(r.band, tile) for r in kept for tile in range(r.first, r.last)]
    assert len(tiles) == len(set(tiles))
    assert tile_coverage.tiles_of(kept) == tile_coverage.tiles_of(given)
    for receipt in kept:
        names = [f"{receipt.band}.{tile}" for tile in range(receipt.first, receipt.last)]
        assert list(receipt.sums[0]) == names
        assert [name for tile in receipt.accounts for name in tile] == names
