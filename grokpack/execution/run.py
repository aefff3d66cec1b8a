"""Execution of a plan: refuse what cannot work, continue what was begun, write, publish."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import DeadlineReached, GrokpackError, Interrupted, Place, SourceChanged
from grokpack.core.events import Advanced, Finished, Listener, Started, ignore_event
from grokpack.core.progress import Watch
from grokpack.execution import tile_coverage, worker_checks
from grokpack.execution.data_loop import doing_tasks
from grokpack.execution.journal import recorded_plan
from grokpack.execution.preflight import Preflight, check_output, finished, preflight
from grokpack.execution.publish import publish, sum_error_stats
from grokpack.execution.receipt import Receipt, TaskInput
from grokpack.execution.remove_output import discard
from grokpack.execution.run_options import RunOptions
from grokpack.execution.workers import Job, WorkerPool, map_unordered
from grokpack.execution.written_files import WholeFiles, written_files
from grokpack.kernels.compilation import telling_of_compilation
from grokpack.planning.tasks import far_apart, short_task_bytes, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor

    from grokpack.core.layout import Layout
    from grokpack.core.paths import StrPath
    from grokpack.execution.output import Output
    from grokpack.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a run.

    Attributes:
        out: The output folder.
        written_bytes: Bytes made by this run, before any compression.
        total_bytes: Bytes of the output's files.
        seconds: Wall time of this run.
        already_done: Whether an earlier run had finished it.
        account: Error statistics by role and by tensor, if weights were quantized.
        processes: Number of tasks that each process did, by host and process number.
        published: Whether the output is whole; a part may leave others to be written.
        outstanding_bytes: Bytes that no part has written yet.
        outstanding_parts: Numbers of the parts that have some of these.
    """

    out: str
    written_bytes: int
    total_bytes: int
    seconds: float
    already_done: bool = False
    account: Mapping[str, Any] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)
    published: bool = True
    outstanding_bytes: int = 0
    outstanding_parts: tuple[int, ...] = ()

    def __repr__(self) -> str:
        whole = "whole" if self.published else f"{byte_size(self.outstanding_bytes)} outstanding"
        done = "an earlier run's" if self.already_done else f"in {self.seconds:.1f} s"
        return f"<Outcome {self.out}: {byte_size(self.total_bytes)}, {whole}, {done}>"


def execute(
    plan: Plan,
    out: StrPath,
    limits: RunOptions | None = None,
    listen: Listener = ignore_event,
    executor: Executor | None = None,
) -> Outcome:
    """Write a plan's output, or continue it, or find that it is there already.

    Args:
        plan: The plan to write.
        out: The output folder; new, empty, or of the same plan.
        limits: Memory, workers, deadline.
        listen: Receives progress.
        executor: Runs the tasks, in processes that see source and output at the same paths; it
            is left open. Threads of this process by default.

    Raises:
        GrokpackError: GP311 and GP312 for too little disk or memory, GP32x for an output that
            cannot be used, GP403 and GP404 when stopped, GP408 where the executor's workers are
            gone, GP409 where one sees other files, and errors of reading and writing.
    """
    limits = limits or RunOptions()
    return execute_judged(preflight(plan, os.fspath(out), limits), limits, listen, executor)


def execute_judged(
    judged: Preflight,
    limits: RunOptions,
    listen: Listener = ignore_event,
    executor: Executor | None = None,
) -> Outcome:
    """Execute a plan that has had its preflight, as `execute` does."""
    judged = judged.for_executor(executor)
    plan, output = judged.plan, judged.output
    journal = output.journal
    if judged.finished and not journal.lingers():
        return already(output)
    storage.make_folder(journal.folder)
    with storage.locked(journal.lock_path):
        fresh = not limits.restart and not journal.exists()
        if judged.finished or (fresh and finished(plan, output)):
            # by a run that ended between its last two steps, or by another since the preflight
            output.sink.resume_conclusion(output.manifest_path)
            journal.finish()
            return already(output)
        if limits.restart:
            discard(plan, output)
            check_output(plan, output)
        try:
            return _Whole(judged, limits, listen).run(executor)
        finally:
            output.sink.abandon()
            storage.tidy(journal.folder)


def already(output: Output) -> Outcome:
    """Return the outcome of a run whose output was finished before."""
    document = output.manifest() or {"files": {}}
    nbytes = sum(row["bytes"] for row in document["files"].values())
    return Outcome(output.path, 0, nbytes, 0.0, already_done=True)


class RunState:
    """State of one process's work on one output, under its lock."""

    def __init__(self, judged: Preflight, limits: RunOptions, listen: Listener) -> None:
        self.plan, self.output, self.allowed = judged.plan, judged.output, judged.budget
        self.limits, self.listen, self.journal = limits, listen, judged.output.journal
        self.layout: Layout = self.plan.target.layout
        self.began = time.monotonic()
        self.written = 0
        self.processes: dict[str, int] = {}
        self._whole = WholeFiles(self.layout)
        self._guard = threading.Lock()

    def begin_or_continue(self) -> list[Receipt]:
        """Record the plan and create the files, or return the receipts of the run that did."""
        source = self.plan.source
        receipts: list[Receipt] = []
        self.output.sink.prepare(recorded_plan(self.plan))
        if self.journal.exists():
            self.check_source()
            receipts = self.receipts()
        else:
            stamps = source.stamps(as_opened=True) if source else {}
            places = {storage.absolute(source.folder): stamps} if source else {}
            self.journal.begin(self.plan, places)
        self.create_files(receipts)
        return receipts

    def create_files(self, receipts: list[Receipt]) -> None:
        """Create the files that are missing and not written yet."""
        compressed = self.plan.target.codec is not None  # has no size before it is written
        sink, left = self.output.sink, written_files(self.layout, receipts)
        known, made = self.journal.made(), {}
        for file in self.layout.files():
            row, path = left.get(file.path), self.output.file(file.path)
            if row is not None and (row.sums or sink.size_of(path) == 0):
                continue
            before = known.get(file.path)
            number = sink.create(path, 0 if compressed else file.nbytes, before)
            if number is not None and number != before:
                made[file.path] = number
        self.journal.note_made(made)

    def receipts(self) -> list[Receipt]:
        """Return receipts of the tiles that are there, each in one; lost tiles are left out."""
        receipts = tile_coverage.distinct(
            tile_coverage.fitting(self.layout, self.journal.receipts())
        )
        files = written_files(self.layout, receipts)
        sink = self.output.sink
        lost = {path: sink.lost_tiles(self.output.file(path), row) for path, row in files.items()}
        if self.plan.target.sparse:  # holes are never written, so nothing else may be there
            lost = {path: set(files[path].sums) for path, tiles in lost.items() if tiles}
        file_groups = tile_coverage.file_groups_of(self.layout, lost)
        for number in file_groups:
            for path in (file.path for file in self.layout.file_groups[number]):
                if path in files:
                    sink.reopen(self.output.file(path), files[path], lost.get(path, set()))
        if self.plan.target.codec is not None:  # tiles of a compressed file are not the group's
            file_groups = {
                number: tile_coverage.everything(self.layout)[number] for number in file_groups
            }
        return tile_coverage.distinct(receipts, file_groups)

    def check_source(self) -> None:
        """Refuse a source that changed since this run first read it at its path.

        At another path its headers are the same, or the plan would differ.
        """
        source = self.plan.source
        if source is None:
            return
        folder = storage.absolute(source.folder)
        then, now = self.journal.stamps(folder), source.stamps()
        if then is None:
            self.journal.remember_also({folder: now})
            return
        changed = [path for path in now if then.get(path) != now[path]]
        if changed:
            hint = "restore the source, or begin anew with `--restart`"
            what = "source changed since this run began"
            raise SourceChanged(what, Place(source.path(changed[0])), hint=hint)

    def work(self, executor: Executor | None, done: tile_coverage.Tiles) -> list[Receipt]:
        """Write all tiles except these, and record them as they are written."""
        arguments = (self.plan, self.output, self.allowed.buffer_sizes)
        job = Job(
            doing_tasks,
            arguments,
            setup=worker_checks.check_run,
            teardown=worker_checks.end_run,
            stop_folder=self.journal.folder,
        )
        pool = WorkerPool(self.limits.at_once(self.allowed), executor)
        watch = Watch(self._advance, self.stopping)
        receipts: list[Receipt] = []
        results = map_unordered(job, self._task_inputs(done, pool.width), pool, watch)
        here = "numpy" if executor else self.allowed.buffer_sizes.implementation
        try:
            with telling_of_compilation(here, self.listen):
                for where, written in results:
                    self.journal.record(written)
                    receipts += written
                    self.offer(written)
                    self.processes[where] = self.processes.get(where, 0) + 1
        except BaseException as error:
            if not _is_stop(error):
                self.limits.stop.set()
            raise
        finally:
            results.close()
        self._raise_if_stopped()
        return receipts

    def offer(self, receipts: list[Receipt]) -> None:
        """Offer the files that are whole with these receipts to a sink that publishes early."""
        offer = self.output.sink.offer
        if offer is None:
            return
        whole = self._whole.add(receipts)
        if whole:
            offer({self.output.file(path): row for path, row in whole.items()}, self.listen)

    def _task_inputs(self, done: tile_coverage.Tiles, at_once: int) -> Iterator[TaskInput]:
        target = self.plan.target
        portions = tasks(target, done, short_task_bytes(target.layout, at_once))
        if self._local():
            portions = far_apart(portions, at_once)
        for runs in portions:
            files = {f.path for run in runs for f in target.layout.file_groups[run.file_group]}
            paths = [self.output.file(path) for path in sorted(files)]
            # a compressed file is started over by the process that writes it
            yield TaskInput(runs, {} if target.codec else self.output.sink.tickets(paths))

    def _local(self) -> bool:
        """Return whether nothing goes over a network, where ranges and files come in order."""
        source = self.plan.source
        places = [self.output.path] if source is None else [self.output.path, source.folder]
        return not any(map(storage.is_url, places))

    def _advance(self, nbytes: int) -> None:
        with self._guard:
            self.written += nbytes
        self.listen(Advanced(nbytes))

    def stopping(self) -> bool:
        """Return whether to end between two tiles."""
        return self.limits.stop.is_set() or self._late()

    def _late(self) -> bool:
        deadline = self.limits.deadline_s
        return deadline is not None and time.monotonic() - self.began > deadline

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Guard a block: its waits end when the run is stopped, with the error that says why."""
        try:
            with storage.interruptible(self.stopping):
                yield
        except GrokpackError as error:
            if _is_stop(error):
                self._raise_if_stopped()
            raise

    def _raise_if_stopped(self) -> None:
        hint = "run the same command again to continue"
        if self.limits.stop.is_set():
            raise Interrupted("stopped; finished tiles are recorded", hint=hint)
        if self._late():
            raise DeadlineReached("stopped at the deadline; finished tiles are recorded", hint=hint)

    def seconds(self) -> float:
        """Return the wall time so far."""
        return time.monotonic() - self.began

    def publish(self, receipts: list[Receipt]) -> Outcome:
        """Publish the whole output, if the source is still the one that was read."""
        self.check_source()
        account = {**sum_error_stats(self.plan, receipts), **self.plan.target.account}
        nbytes = publish(self.plan, self.output, receipts, account, self.listen)
        seconds = self.seconds()
        self.listen(Finished(self.plan.command, seconds))
        out, written = self.output.path, self.written
        return Outcome(out, written, nbytes, seconds, account=account, processes=self.processes)


class _Whole(RunState):
    """Run of a whole plan."""

    def run(self, executor: Executor | None) -> Outcome:
        with self.stoppable():
            receipts = self.begin_or_continue()
            done = tile_coverage.tiles_of(receipts)
            written = tile_coverage.bytes_of(self.layout, done)
            self.listen(Started(self.plan.command, self.layout.nbytes, written))
            self.offer(receipts)
            return self.publish(receipts + self.work(executor, done))


def _is_stop(error: BaseException) -> bool:
    """Return whether an error says that a wait ended because the run is to stop."""
    return isinstance(error, Interrupted)
