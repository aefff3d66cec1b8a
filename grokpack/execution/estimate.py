"""How long a plan will take, which resource is the limit, and what more workers would buy. Pure.

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
    """What is to be done.

    Attributes:
        reads_bytes: Of the source.
        writes_bytes: Of the output.
        tasks: Pieces that it is done in.
    """

    reads_bytes: int
    writes_bytes: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """A time, and what it is the limit of.

    Attributes:
        workers: How many tasks are done at a time.
        seconds: Wall time.
        limit: What more of would be faster: `workers`, this machine's `cores`, the bandwidth of
            `reading` or of `writing`; or `tasks`, where there are no more of these to hand out.
    """

    workers: int
    seconds: float
    limit: Limit


@dataclass(frozen=True, slots=True)
class Estimate:
    """A guess and what it rests on.

    Attributes:
        here: With threads of this machine.
        elsewhere: With as many workers on machines of their own, as far as it goes.
        useful_workers: More workers elsewhere than these would change nothing.
        rates: What was measured.
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
    """The time of so many workers: that of the slowest of all that has to be done.

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
    """Seconds of one worker."""
    return work.writes_bytes / rates.one


def _storage_s(work: Work, rates: Rates) -> list[tuple[float, Limit]]:
    times: list[tuple[float, Limit]] = []
    if rates.read:
        times.append((work.reads_bytes / rates.read, "reading"))
    if rates.write:
        times.append((work.writes_bytes / rates.write, "writing"))
    return times


def _useful(work: Work, rates: Rates) -> int:
    """Workers at which storage, or the number of tasks, is the limit."""
    floor = max((seconds for seconds, _ in _storage_s(work, rates)), default=0.0)
    enough = math.ceil(_alone_s(work, rates) / floor) if floor > 0 else work.tasks
    return max(1, min(enough, work.tasks))
