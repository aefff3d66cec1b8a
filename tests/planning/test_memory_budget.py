"""The memory promise: threads are as many as have room, and never a reason to refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.checkpoint.reading_memory import DEFAULT_MEMORY_BYTES
from grokpack.conversion.plan_convert import plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.kernels import dispatch
from grokpack.planning import memory_budget as budgets
from grokpack.planning.memory_budget import budget
from tests.support.byte_pair_tokenizers import RELEASE
from tests.support.checkpoints import synthesize, tree

if TYPE_CHECKING:
    from pathlib import Path

    from grokpack.planning.plan import Plan

WRITER_BYTES = 10 << 20  # what a bucket's writer holds


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_reshard(open_checkpoint(str(synthesize(tmp_path / "in"))), 8)


@pytest.mark.parametrize("cores", [1, 2, 8, 96])
def test_threads_nobody_asked_for_are_no_reason_to_refuse(
    plan: Plan, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    found = budget(plan, DEFAULT_MEMORY_BYTES, writer_bytes=WRITER_BYTES)
    assert 1 <= found.workers <= cores
    assert found.memory_bytes <= DEFAULT_MEMORY_BYTES
    more = min(cores, budgets.MOST_WORKERS)
    if more > found.workers:  # what has no room is not asked for, and refused where it is
        with pytest.raises(GrokpackError) as caught:
            budget(plan, DEFAULT_MEMORY_BYTES, more, WRITER_BYTES)
        assert caught.value.code == "GP312"
        assert f"with {more} threads" in caught.value.what
    assert (more > found.workers) == (cores > 2)


@pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
def test_fewer_threads_are_better_than_slower_kernels(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setenv(dispatch.VARIABLE, "numba")
    assert plan.source is not None
    wanted = plan_quantize(plan.source, QuantizeOptions(bits=4, group="32"))
    held = budgets.BUFFERS_PER_STEP + budgets.BAND_STEPS  # steps' bytes, for each thread
    alone = budget(wanted, 2 << 30, 1)
    fixed = alone.memory_bytes - held * alone.buffer_sizes.step_bytes
    found = budget(wanted, fixed + 3 * held * budgets.SMALLEST_STEP_BYTES)
    assert (found.buffer_sizes.implementation, found.workers) == ("numba", 3)
    assert (
        budget(
            wanted, fixed + 3 * held * budgets.SMALLEST_STEP_BYTES, 8
        ).buffer_sizes.implementation
        == "numpy"
    )


@pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
def test_a_compiler_is_loaded_for_weights_that_get_codes_and_not_for_moved_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "numba")
    source = open_checkpoint(str(RELEASE))
    for made, expected in (
        (plan_convert(source, "hf"), "numpy"),
        (plan_quantize(source, QuantizeOptions(group="32")), "numba"),
    ):
        assert made.streams
        assert budget(made, DEFAULT_MEMORY_BYTES).buffer_sizes.implementation == expected


def test_what_no_thread_has_room_for_is_refused(plan: Plan) -> None:
    with pytest.raises(GrokpackError) as caught:
        budget(plan, 64 << 20)
    assert caught.value.code == "GP312"
    memory = int((caught.value.hint or "").removeprefix("--memory ").removesuffix("MB")) * 10**6
    assert budget(plan, memory).workers == 1


def test_a_run_has_as_many_threads_as_have_room(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    small = budget(plan, DEFAULT_MEMORY_BYTES, 1).memory_bytes
    execute(plan, str(tmp_path / "small"), RunOptions(memory_bytes=small))
    execute(plan, str(tmp_path / "usual"))
    assert tree(tmp_path / "small") == tree(tmp_path / "usual")
