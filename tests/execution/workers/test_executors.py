"""Any executor does the work: its processes write the bytes that a serial run writes."""

from __future__ import annotations

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack import storage
from grokpack.checkpoint import manifest_records
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError, Place, SourceUnreadable
from grokpack.core.events import ignore_event
from grokpack.execution import worker_checks
from grokpack.execution.output import Output
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.planning.tasks import tasks
from grokpack.transforms.buffer_sizes import BufferSizes
from grokpack.verification.compare import compare
from grokpack.verification.read_options import ReadOptions as Reading
from grokpack.verification.replay import replay
from grokpack.verification.verify_contents import check_contents
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import synthesize, tree
from tests.support.executors import Closed, Forgetful, processes, stop_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.planning.plan import Plan
    from tests.support.executors import Alternating

PLANS: dict[str, Callable[[Checkpoint], Plan]] = {
    "reshard": lambda source: plan_reshard(source, 4),
    "hf": lambda source: plan_convert(
        source, "hf", ConvertOptions(tokenizer="none", shard_bytes=30_000)
    ),
    "gguf": lambda source: plan_convert(
        source, "gguf", ConvertOptions(type="f32", tokenizer="none")
    ),
    "zarr": lambda source: plan_convert(source, "zarr"),
    "archive": lambda source: plan_convert(source, "archive"),
    "quantize": lambda source: plan_quantize(source, QuantizeOptions(group="32", tokenizer="none")),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("executors") / "source")


@pytest.fixture(autouse=True)
def _small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokpack.planning.tasks.TASK_BYTES", 20_000)


def whole(place: Path) -> dict[str, bytes]:
    return tree(place) if place.is_dir() else {"": place.read_bytes()}


@pytest.mark.parametrize("name", PLANS)
def test_processes_write_what_a_serial_run_writes(
    name: str, source: Path, workers: Alternating, tmp_path: Path
) -> None:
    plan = PLANS[name](open_checkpoint(str(source)))
    execute(plan, str(tmp_path / "serial"), RunOptions(workers=1))
    told: list[int] = []
    outcome = execute(
        plan,
        str(tmp_path / "far"),
        RunOptions(workers=2),
        lambda event: told.append(getattr(event, "nbytes", 0)),
        workers,
    )
    assert whole(tmp_path / "far") == whole(tmp_path / "serial")
    assert len(outcome.processes) == min(2, len(list(tasks(plan.target, {}))))
    assert f":{os.getpid()}" not in "".join(outcome.processes)
    assert sum(told) == outcome.written_bytes == plan.target.layout.nbytes
    assert not (tmp_path / "far" / ".grokpack").exists()


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_forks_of_this_process_write_it_too(method: str, source: Path, tmp_path: Path) -> None:
    plan = PLANS["reshard"](open_checkpoint(str(source)))
    execute(plan, str(tmp_path / "serial"), RunOptions(workers=1))
    with processes(method) as found:
        outcome = execute(plan, str(tmp_path / "far"), executor=found)
    assert tree(tmp_path / "far") == tree(tmp_path / "serial")
    assert len(outcome.processes) == 2
    assert outcome.written_bytes == plan.target.layout.nbytes  # told by those who wrote it


def test_threads_that_were_given_are_left_open(source: Path, tmp_path: Path) -> None:
    plan = PLANS["reshard"](open_checkpoint(str(source)))
    with ThreadPoolExecutor(2) as threads:
        execute(plan, str(tmp_path / "a"), executor=threads)
        execute(plan, str(tmp_path / "b"), executor=threads)
        assert threads.submit(int, "7").result() == 7
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_relative_source_and_output_are_found_by_processes_elsewhere(
    source: Path, workers: Alternating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)  # where the processes are not: they began before
    relative = os.path.relpath(tmp_path / "out")
    execute(plan_reshard(open_checkpoint(source.name), 4), relative, executor=workers)
    assert (tmp_path / "out" / "grokpack.json").exists()


@pytest.mark.parametrize("begins", ["here", "elsewhere"])
def test_a_run_goes_on_in_other_hands(
    begins: str, source: Path, workers: Alternating, tmp_path: Path
) -> None:
    plan = plan_reshard(open_checkpoint(str(source)), 4, "ckpt-0")
    execute(plan, str(tmp_path / "clean"), RunOptions(workers=1))
    executors = [None, workers] if begins == "here" else [workers, None]
    limits = RunOptions(workers=1)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"), limits, stop_after(limits, 4), executors[0])
    assert caught.value.code == "GP403"
    journal = Output.of(plan.target, str(tmp_path / "out")).journal
    assert journal.receipts()
    assert not list(Path(journal.folder).glob("stop*"))
    outcome = execute(plan, str(tmp_path / "out"), executor=executors[1])
    assert 0 < outcome.written_bytes < plan.target.layout.nbytes
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_tasks_that_an_executor_gives_up_are_given_again(source: Path, tmp_path: Path) -> None:
    plan = PLANS["reshard"](open_checkpoint(str(source)))
    execute(plan, str(tmp_path / "serial"), RunOptions(workers=1))
    forgetful = Forgetful(5)
    execute(plan, str(tmp_path / "out"), RunOptions(workers=1), executor=forgetful)
    assert set(forgetful.seen.values()) == {6}
    assert tree(tmp_path / "out") == tree(tmp_path / "serial")


@pytest.mark.parametrize("broken", [Forgetful(6), Closed()], ids=["forgetful", "closed"])
def test_an_executor_that_does_nothing_is_an_error_that_says_so(
    broken: Any, source: Path, tmp_path: Path
) -> None:
    plan = PLANS["reshard"](open_checkpoint(str(source)))
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"), RunOptions(workers=1), executor=broken)
    assert caught.value.code == "GP408"
    assert caught.value.exit_status == 75
    execute(plan, str(tmp_path / "out"), RunOptions(workers=1))


def test_a_process_that_sees_other_files_does_nothing(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    plan = PLANS["reshard"](open_checkpoint(str(copy)))
    place = Output.of(plan.target, str(tmp_path / "out"))

    def code() -> str:
        with pytest.raises(GrokpackError) as caught:
            worker_checks.check_run(plan, place, BufferSizes(1, 1))
        assert caught.value.where is not None
        return f"{caught.value.code} {Path(caught.value.where.path).name}"

    assert code() == "GP409 out"  # not begun there
    storage.make_folder(place.journal.folder)
    place.journal.begin(PLANS["hf"](open_checkpoint(str(copy))), {})
    assert code() == "GP409 out"  # another plan's
    place.journal.begin(plan, {})
    worker_checks.check_run(plan, place, BufferSizes(1, 1))
    victim = copy / "ckpt-0" / "tensor00003_000"
    data = bytearray(victim.read_bytes())
    data[5] ^= 1
    victim.write_bytes(data)
    assert code() == "GP409 tensor00003_000"
    victim.write_bytes(data[:-1])
    assert code() == "GP409 tensor00003_000"
    assert not list(tmp_path.glob("out/rank*"))


texts = st.text(max_size=8)
places = st.none() | st.builds(Place, texts, st.none() | st.integers(0), st.none() | texts)


@given(texts, places, st.lists(st.tuples(texts, texts)).map(tuple), st.none() | texts)
def test_errors_are_the_same_in_another_process(
    what: str, where: Place | None, facts: Any, hint: str | None
) -> None:
    error = SourceUnreadable(what, where, facts, hint)
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.what, again.where) == ("GP214", error.what, error.where)
    assert (again.facts, again.hint) == (error.facts, error.hint)


@pytest.fixture(scope="module")
def output(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("output") / "tp4"
    execute(PLANS["reshard"](open_checkpoint(str(source))), str(out))
    return out


def test_contents_are_checked_by_processes(output: Path, workers: Alternating) -> None:
    found = open_checkpoint(str(output))
    own = manifest_records.own(found)
    assert own is not None
    contents = check_contents(found, own, Reading(executor=workers))
    assert contents.all_bytes
    assert contents.ended
    assert not contents.findings
    victim = output / "rank-002-of-004"
    file = max(victim.iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[-1] ^= 16
    file.write_bytes(data)
    (finding,) = check_contents(found, own, Reading(executor=workers)).findings
    assert finding.code == "GP110"
    data[-1] ^= 16
    file.write_bytes(data)


def test_outputs_are_made_again_by_processes(
    source: Path, output: Path, workers: Alternating
) -> None:
    one, other = open_checkpoint(str(output)), open_checkpoint(str(source))
    contents = replay(one, other, Reading(executor=workers))
    assert contents.all_bytes
    assert not contents.findings


def test_checkpoints_are_compared_by_processes(
    source: Path, output: Path, workers: Alternating, tmp_path: Path
) -> None:
    synthesize(tmp_path / "other", seed=1)
    one = open_checkpoint(str(source))
    for place in (output, tmp_path / "other"):
        second = open_checkpoint(str(place))
        assert compare(one, second, ignore_event, Reading(executor=workers)) == compare(one, second)


def test_values_are_counted_by_processes(source: Path, workers: Alternating) -> None:
    verdict = verify_structure(survey(str(source)))
    told: list[int] = []

    def listen(event: object) -> None:
        told.append(getattr(event, "nbytes", 0))

    far = verify_values(verdict, listen, limits=Reading(executor=workers))
    assert far == verify_values(verdict)
    assert sum(told) == sum(
        tensor.nbytes for tensor in open_checkpoint(str(source)).tensors.values()
    )
