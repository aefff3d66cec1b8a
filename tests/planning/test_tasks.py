"""Order of tasks: those done at once are far apart, and none is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.execution.receipt import TaskInput
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.planning.tasks import TASK_BYTES, TileRange, far_apart, short_task_bytes, tasks
from tests.support.checkpoints import synthesize

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@given(st.integers(0, 60), st.integers(1, 9))
def test_tasks_done_at_once_are_a_stretch_apart(count: int, at_once: int) -> None:
    in_order = [(TileRange(0, number, number + 1),) for number in range(count)]
    ordered = list(far_apart(in_order, at_once))
    assert sorted(ordered, key=lambda task: task[0].first) == in_order
    stretch = -(-count // at_once)
    rounds = [[one.first for (one,) in ordered if one.first % stretch == k] for k in range(stretch)]
    assert [one.first for (one,) in ordered] == [number for some in rounds for number in some]


class _Recording(ThreadPoolExecutor):
    """Threads that remember which tasks they were given."""

    def __init__(self) -> None:
        super().__init__(2)
        self.given: list[tuple[TileRange, ...]] = []

    def submit(self, *arguments: Any, **options: Any) -> Any:
        self.given += [one.runs for one in arguments if isinstance(one, TaskInput)]
        return super().submit(*arguments, **options)


def test_a_run_begins_in_several_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokpack.planning.tasks.TASK_BYTES", 20_000)
    source = open_checkpoint(synthesize(tmp_path / "source"))
    plan = plan_convert(source, "hf", ConvertOptions(tokenizer="none", shard_bytes=30_000))
    in_order = list(tasks(plan.target, {}))
    with _Recording() as executor:
        execute(plan, tmp_path / "out", RunOptions(width=2), executor=executor)
    assert len(in_order) >= 4
    assert executor.given == list(far_apart(in_order, 2)) != in_order


def test_what_one_worker_does_alone_at_the_end_is_a_small_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.planning.tasks._SHORT_BYTES", 1)
    source = open_checkpoint(synthesize(tmp_path / "source"))
    plan = plan_convert(source, "hf", ConvertOptions(tokenizer="none", shard_bytes=20_000))
    with _Recording() as executor:
        execute(plan, tmp_path / "out", RunOptions(width=2), executor=executor)
    layout = plan.target.layout
    largest = max(sum(run.nbytes(layout) for run in runs) for runs in executor.given)
    assert largest <= 2 * max(file.nbytes for file in layout.files()) < layout.nbytes / 2


@given(st.integers(0, 1 << 42), st.integers(0, 1 << 30), st.integers(1, 64))
def test_workers_have_several_tasks_each_and_large_arrays_are_cut_seldom(
    nbytes: int, largest: int, at_once: int
) -> None:
    file = Mock(segments=[Mock(nbytes=1), Mock(nbytes=largest)])
    size = short_task_bytes(Mock(nbytes=nbytes, file_groups=[[file]]), at_once)
    assert TASK_BYTES // 4 <= size <= TASK_BYTES
    assert size == TASK_BYTES or size >= 2 * largest
    assert size * 16 * at_once <= max(nbytes, max(TASK_BYTES // 4, 2 * largest) * 16 * at_once)
