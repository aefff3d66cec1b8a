"""The worker pool: order of results, errors and deaths of workers, and stops."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grokpack.core.errors import GrokpackError, Place, SourceUnreadable
from grokpack.core.events import ignore_event
from grokpack.core.progress import watching
from grokpack.execution.workers import Job, WorkerPool, map_unordered
from tests.support.executors import Forgetful, processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.core import progress
    from tests.support.executors import Alternating


def _pass_on(_watch: progress.Watch) -> Callable[[int], int]:
    return lambda item: item


def test_results_ready_at_once_and_losses_keep_the_order_they_were_sent_in() -> None:
    pool = WorkerPool(50, Forgetful(1))
    results = map_unordered(Job(_pass_on), range(1, 101), pool, watching(ignore_event))
    assert list(results) == list(range(1, 101))


def _die(_watch: progress.Watch) -> Callable[[int], int]:
    def work(item: int) -> int:
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    return work


def test_a_process_that_is_killed_is_an_error_that_says_so() -> None:
    with processes(count=1) as found, pytest.raises(GrokpackError) as caught:
        list(map_unordered(Job(_die), range(1, 10), WorkerPool(1, found), watching(ignore_event)))
    assert caught.value.code == "GP408"
    assert "BrokenProcessPool" in caught.value.facts[0][1]


class KilledWorker(Exception):  # as Dask's scheduler names it
    """A task's workers died again and again."""


def _fail(_watch: progress.Watch, error: type[Exception]) -> Callable[[int], int]:
    def work(item: int) -> int:
        raise error(f"of {item}\nand more")

    return work


@pytest.mark.parametrize("far", [True, False])
def test_bugs_stay_what_they_are_and_deaths_get_a_code(far: bool, workers: Alternating) -> None:
    pool = WorkerPool(2, workers if far else None)
    with pytest.raises(ZeroDivisionError):
        list(
            map_unordered(
                Job(_fail, (ZeroDivisionError,)), range(1, 9), pool, watching(ignore_event)
            )
        )
    with pytest.raises(GrokpackError) as caught:
        list(map_unordered(Job(_fail, (KilledWorker,)), range(1, 9), pool, watching(ignore_event)))
    assert caught.value.code == "GP408"
    assert caught.value.facts[0][1].startswith("KilledWorker: of ")
    assert "more" not in caught.value.facts[0][1]


def _refuse(_watch: progress.Watch) -> Callable[[int], int]:
    def work(item: int) -> int:
        if item == 3:
            where = Place("/a/b", 7, "tensor")
            raise SourceUnreadable("cannot read", where, (("found", "less"),), hint="look")
        return item

    return work


@pytest.mark.parametrize("far", [True, False])
def test_an_error_elsewhere_arrives_whole_after_what_was_done(
    far: bool, workers: Alternating
) -> None:
    done: list[int] = []
    pool = WorkerPool(2, workers if far else None)
    with pytest.raises(GrokpackError) as caught:
        done.extend(map_unordered(Job(_refuse), range(1, 1000), pool, watching(ignore_event)))
    error = caught.value
    assert (error.code, error.what, error.facts, error.hint) == (
        "GP214",
        "cannot read",
        (("found", "less"),),
        "look",
    )
    assert error.where == Place("/a/b", 7, "tensor")
    # Two are under way at a time: the third began when one of the first two had ended. How many
    # more end while its error is on the way, the machine decides.
    assert {1, 2} & set(done)
    assert set(done) < set(range(1, 1000)) - {3}


def _patient(watch: progress.Watch, marks: str) -> Callable[[int], int]:
    def work(item: int) -> int:
        Path(marks, str(item)).touch()
        ends = time.monotonic() + 60
        while not watch.stopping() and time.monotonic() < ends:
            time.sleep(0.01)
        return item

    return work


def test_processes_elsewhere_are_told_to_end_early(workers: Alternating, tmp_path: Path) -> None:
    stop = threading.Event()
    job = Job(_patient, (str(tmp_path),), stop_folder=str(tmp_path))
    threading.Thread(target=_set_after, args=(tmp_path / "1", stop)).start()
    began = time.monotonic()
    items = list(
        map_unordered(
            job, range(1, 100), WorkerPool(1, workers), watching(ignore_event, stop.is_set)
        )
    )
    assert time.monotonic() - began < 30
    assert 1 in items
    assert len(items) <= 4  # those under way, of which some were not begun
    assert not list(tmp_path.glob("stop*"))


def _set_after(path: Path, stop: threading.Event) -> None:
    while not path.exists():
        time.sleep(0.01)
    stop.set()


def test_a_job_that_is_stopped_stops_no_other(workers: Alternating, tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    (tmp_path / f"stop-{Job(_refuse).token}").touch()  # another's, in the same folder
    job = Job(_unless_stopped, stop_folder=str(tmp_path))
    items = list(range(1, 40))
    assert (
        sorted(map_unordered(job, items, WorkerPool(2, workers), watching(ignore_event))) == items
    )


def _unless_stopped(watch: progress.Watch) -> Callable[[int], int]:
    def work(item: int) -> int:
        time.sleep(0.05)
        return 0 if watch.stopping() else item

    return work
