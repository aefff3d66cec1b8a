"""Predictions follow from rates, and say what would have to be faster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.execution.estimate import Work, estimate, predict
from grokpack.execution.throughput import Rates
from tests.support import forked
from tests.support.checkpoints import synthesize

GB = 1e9


@pytest.mark.parametrize(
    ("rates", "workers", "cores", "seconds", "limit"),
    [
        (Rates(10 * GB, 10 * GB, 1 * GB, 8 * GB, 8), 1, True, 320, "workers"),
        (Rates(10 * GB, 10 * GB, 1 * GB, 8 * GB, 8), 4, True, 80, "workers"),
        (Rates(10 * GB, 10 * GB, 1 * GB, 8 * GB, 8), 32, True, 40, "cores"),
        (Rates(10 * GB, 20 * GB, 1 * GB, 8 * GB, 8), 32, False, 32, "reading"),
        (Rates(20 * GB, 10 * GB, 1 * GB, 8 * GB, 8), 64, False, 32, "writing"),
        (Rates(None, None, 1 * GB, 8 * GB, 8), 2000, False, 0.32, "tasks"),
        (Rates(2 * GB, 10 * GB, 1 * GB, 8 * GB, 8), 8, True, 160, "reading"),
    ],
)
def test_the_slowest_resource_decides(
    rates: Rates, workers: int, cores: bool, seconds: float, limit: str
) -> None:
    work = Work(round(320 * GB), round(320 * GB), 1000)
    found = predict(work, rates, workers, cores=cores)
    assert found.seconds == pytest.approx(seconds)
    assert found.limit == limit


def test_tasks_are_not_cut_for_workers() -> None:
    rates = Rates(None, None, 1 * GB, 1 * GB, 1)
    work = Work(0, round(3 * GB), 3)
    seconds = [predict(work, rates, n, cores=False).seconds for n in (1, 2, 3, 4)]
    assert seconds == pytest.approx([3, 2, 1, 1])


rate = st.floats(1e6, 1e11)
works = st.builds(Work, st.integers(0, 10**12), st.integers(1, 10**12), st.integers(1, 5000))
measured = st.builds(
    lambda read, write, one, factor: Rates(read, write, one, one * factor, 8),
    st.none() | rate,
    st.none() | rate,
    rate,
    st.floats(1, 8),
)


@given(works, measured, st.integers(1, 200))
def test_more_workers_are_never_slower_and_useless_where_it_says_so(
    work: Work, rates: Rates, threads: int
) -> None:
    found = estimate(work, rates, threads)
    assert found.here.workers == threads
    assert threads in [row.workers for row in found.elsewhere]
    times = [row.seconds for row in found.elsewhere]
    assert times == sorted(times, reverse=True)
    best = next(row for row in found.elsewhere if row.workers == found.useful_workers)
    many = predict(work, rates, 10**6, cores=False)
    whole_rounds = 1 + found.useful_workers / work.tasks  # a last round that is not full
    assert many.seconds <= best.seconds <= many.seconds * whole_rounds * (1 + 1e-9)
    if found.useful_workers > 1:
        fewer = predict(work, rates, found.useful_workers - 1, cores=False)
        assert fewer.seconds >= best.seconds
    assert found.here.seconds >= predict(work, rates, threads, cores=False).seconds


@pytest.mark.parametrize("to", ["hf", "archive"])
def test_a_dry_run_tries_the_plan_out_and_leaves_nothing(to: str, tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    before = sorted(path.name for path in tmp_path.iterdir())
    options = ("-o", str(tmp_path / "out"), "--workers", "3", "--json", "--dry-run")
    run = forked.run("convert", source, "--to", to, *options)
    assert run.returncode == 0, run.stderr
    guess = json.loads(run.stdout)["data"]["estimate"]
    assert guess["workers"] == 3
    assert guess["one_bytes_per_s"] > 1e4
    assert guess["here_bytes_per_s"] >= guess["one_bytes_per_s"]
    assert 0 < guess["seconds"] < 60
    assert guess["elsewhere"][0]["workers"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
