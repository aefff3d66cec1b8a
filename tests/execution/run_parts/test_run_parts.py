"""Parts of a plan: in any order, twice; the output is the whole run's."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.output import Output
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.execution.run_part import RunPart, execute_part
from tests.support import forked
from tests.support.checkpoints import synthesize, tree
from tests.support.executors import stop_after
from tests.support.fuzzing import TINY

if TYPE_CHECKING:
    from grokpack.execution.run import Outcome
    from grokpack.planning.plan import Plan
from tests.support.quantized_checkpoints import make_tiles_small
from tests.support.run_parts import ONE, do, resharding


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


def test_the_account_counts_every_tile_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiles_small(monkeypatch)
    source = synthesize(tmp_path / "source", TINY)
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
    assert "write 3/10, the third of ten" in run.stderr
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
