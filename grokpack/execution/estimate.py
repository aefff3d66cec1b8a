"""Estimate of a plan's time, of the resource that limits it, and of what more workers would gain.

docs/explanation/scaling.md has the model, and how it compares with measured runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from grokpack.execution.throughput import Rates

Limit = Literal["workers", "cores", "reading", "writing", "tasks"]
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Work:
    """Amounts of work in a plan.

    Attributes:
        reads_bytes: Bytes of the source that are read.
        writes_bytes: Bytes of the output.
        tasks: Number of tasks.
    """

    reads_bytes: int
    writes_bytes: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted time, and the resource that limits it.

    Attributes:
        workers: Tasks that are done at a time.
        seconds: Wall time.
        limit: Resource of which more would be faster: `workers`, this machine's `cores`, the
            bandwidth of `reading` or of `writing`; `tasks` if there are no more to hand out.
    """

    workers: int
    seconds: float
    limit: Limit


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted times for several numbers of workers, and the rates behind them.

    Attributes:
        here: Prediction for threads of this machine.
        elsewhere: Predictions for workers on machines of their own, up to the useful number.
        useful_workers: Number of such workers beyond which more change nothing.
        rates: Measured rates.
    """

    here: Prediction
    elsewhere: tuple[Prediction, ...]
    useful_workers: int
    rates: Rates


def estimate(work: Work, rates: Rates, threads: int) -> Estimate:
    """Predict a run from rates.

    Args:
        work: What is to be done.
        rates: What a probe has measured.
        threads: Of this machine, or workers of a cluster.
    """
    useful = _useful(work, rates)
    counts = sorted({n for n in _COUNTS if n < useful} | {useful, threads})
    return Estimate(
        predict(work, rates, threads, cores=True),
        tuple(predict(work, rates, count, cores=False) for count in counts),
        useful,
        rates,
    )


def predict(work: Work, rates: Rates, workers: int, *, cores: bool) -> Prediction:
    """Predict the time of so many workers: that of the slowest resource.

    Args:
        work: What is to be done.
        rates: What a probe has measured.
        workers: Tasks at a time.
        cores: Whether all of them run on this machine.
    """
    rounds = math.ceil(work.tasks / workers)
    of_workers = rounds * _alone_s(work, rates) / max(work.tasks, 1)
    few: Limit = "tasks" if workers >= work.tasks > 0 else "workers"
    times: list[tuple[float, Limit]] = [(of_workers, few), *_storage_s(work, rates)]
    if cores:
        times.append((work.writes_bytes / rates.here, "cores"))
    seconds, limit = max(times)
    return Prediction(workers, seconds, limit)


def _alone_s(work: Work, rates: Rates) -> float:
    """Return the seconds that one worker takes."""
    return work.writes_bytes / rates.one


def _storage_s(work: Work, rates: Rates) -> list[tuple[float, Limit]]:
    times: list[tuple[float, Limit]] = []
    if rates.read:
        times.append((work.reads_bytes / rates.read, "reading"))
    if rates.write:
        times.append((work.writes_bytes / rates.write, "writing"))
    return times


def _useful(work: Work, rates: Rates) -> int:
    """Return the number of workers at which storage, or the number of tasks, becomes the limit."""
    floor = max((seconds for seconds, _ in _storage_s(work, rates)), default=0.0)
    enough = math.ceil(_alone_s(work, rates) / floor) if floor > 0 else work.tasks
    return max(1, min(enough, work.tasks))
