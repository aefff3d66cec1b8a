"""Short measurement of storage, of one thread and of several, on samples of a plan.

Samples of the plan are made, hashed and written to a nameless file; nothing is left behind.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from grokpack import storage
from grokpack.core import reused_memory
from grokpack.core.events import ignore_event
from grokpack.core.progress import watching
from grokpack.execution.data_loop import TaskContext, file_group_blocks
from grokpack.execution.quantization_error import TileErrorStats
from grokpack.planning.tasks import tasks
from grokpack.storage.hashing import TileSums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.execution.output import Output
    from grokpack.planning.plan import Plan
    from grokpack.planning.tasks import TileRange
    from grokpack.transforms.buffer_sizes import BufferSizes

S = TypeVar("S")

_STEP_BYTES = 4 << 20
_STREAM_BYTES = 64 << 20  # enough to bypass a disk's write cache, quick enough not to be noticed
_STREAMS = 4  # so many requests at a time show all the bandwidth of a disk or mount
_SAMPLE_S = 1.0
_MOST_BYTES = 512 << 20  # written by a thread of samples: a slow disk takes a while for them
_GOLDEN = 0.6180339887498949  # its multiples, modulo 1, are spread evenly


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured rates in bytes per second.

    Attributes:
        read: Reading the source, several at a time; None if none of it is read.
        write: Writing to the output's file system, several at a time; None if not measured.
        one: Output of one thread, reading and writing included.
        here: Output of as many threads as this machine has cores.
        cores: Number of cores.
    """

    read: float | None
    write: float | None
    one: float
    here: float
    cores: int


def rates(plan: Plan, output: Output, buffer_sizes: BufferSizes) -> Rates:
    """Measure a plan's rates for two or three seconds."""
    cores = os.cpu_count() or 1
    sample = _Sample(TaskContext.of(watching(ignore_event), plan, output, buffer_sizes))
    sample.rate(1, 0.0)  # load compiled kernels and open files before measuring
    one = sample.rate(1, _SAMPLE_S)
    here = sample.rate(cores, _SAMPLE_S) if cores > 1 else one
    one = max(one, here / cores)  # one thread alone is never slower than beside others
    return Rates(_read_rate(plan), _write_rate(output), one, max(one, here), cores)


class _Sample:
    """Sample of the plan's tasks, done by threads."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._tasks = list(tasks(context.target, {}))

    def rate(self, threads: int, seconds: float) -> float:
        """Measure the bytes per second of so many threads; each makes one block at least."""
        with ThreadPoolExecutor(threads) as pool:
            shares = (range(n, len(self._tasks), threads) for n in range(threads))
            return sum(pool.map(lambda share: self._work(share, seconds), shares))

    def _work(self, numbers: range, seconds: float) -> float:
        """Do one thread's work until the time is over, or it has written enough."""
        made, root = 0, storage.nearest_folder(self._context.output.root)
        began = time.perf_counter()
        with storage.scratch_file(root, _MOST_BYTES) as writer:
            for block in self._blocks(numbers):
                if writer is not None:
                    writer.write(made, block)
                made += len(block)
                if made > _MOST_BYTES or time.perf_counter() > began + seconds:
                    break
            if writer is not None:
                writer.sync()
            took = time.perf_counter() - began  # removing the file is not part of the work
        return made / max(took, 1e-6)

    def _blocks(self, numbers: range) -> Iterator[memoryview]:
        """Yield blocks of tasks spread evenly over the plan, with checksums as in a run."""
        count = len(self._tasks)
        for number in numbers:
            for run in self._tasks[int((number + 0.5) * _GOLDEN % 1 * count)]:
                yield from self._blocks_of(run)

    def _blocks_of(self, run: TileRange) -> Iterator[memoryview]:
        target, implementation = self._context.target, self._context.buffer_sizes.implementation
        group = target.layout.file_groups[run.file_group]
        start, stop = run.span(group[0])
        sums = TileSums(len(group), stop - start)
        encode = target.codec.encoder(group[0]) if target.codec else None
        error_stats = TileErrorStats(implementation)
        for blocks in file_group_blocks(self._context, group, start, stop, error_stats):
            for number, block in enumerate(blocks):
                sums.update(number, block)
                if encode:
                    encode(block)
                yield block


def _read_rate(plan: Plan) -> float | None:
    """Measure reading the source's files, the largest first, from their middles on."""
    if plan.source is None or not plan.reads_bytes:
        return None
    files = sorted(plan.source.layout.files(), key=lambda file: -file.nbytes)
    streams = [
        (plan.source.path(file.path), file.nbytes // 2, file.nbytes - file.nbytes // 2)
        for file in islice(files, _STREAMS)
    ]

    def read(stream: tuple[str, int, int]) -> int:
        path, start, most = stream
        most, done, began = min(most, _STREAM_BYTES), 0, time.perf_counter()
        buffer = reused_memory.empty((min(most, _STEP_BYTES),), np.uint8).data
        while done < most and time.perf_counter() - began < _SAMPLE_S:
            step = buffer[: most - done]
            storage.read_into(path, start + done, step)
            done += len(step)
        return done

    return _together(read, streams)


def _write_rate(output: Output) -> float | None:
    if storage.is_url(output.path):
        return None
    block = memoryview(os.urandom(_STEP_BYTES))

    def write(_: int) -> int:
        with storage.scratch_file(storage.nearest_folder(output.root), _STREAM_BYTES) as writer:
            if writer is None:
                return 0
            done, began = 0, time.perf_counter()
            while done < _STREAM_BYTES and time.perf_counter() - began < _SAMPLE_S:
                writer.write(done, block)
                done += len(block)
            writer.sync()
            return done

    return _together(write, list(range(_STREAMS))) or None


def _together(work: Callable[[S], int], items: list[S]) -> float:
    """Run functions at the same time, and return their bytes per second together."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(items)) as pool:
        nbytes = sum(pool.map(work, items))
    return nbytes / max(time.perf_counter() - began, 1e-6)
