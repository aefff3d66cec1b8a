"""Drive a plan: refuse what cannot work, continue what was begun, work, publish."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack import manifest, storage
from grokpack.account import Account, document
from grokpack.errors import GrokpackError, Place
from grokpack.events import Advanced, Finished, Listener, Started, ignore
from grokpack.output import Output
from grokpack.plan import Plan, Run, tasks
from grokpack.preflight import Limits, check_output, discard, finished, preflight
from grokpack.reading import ArrayReader
from grokpack.task import Context, Receipt, run_task
from grokpack.tiling import TILE_BYTES, tile_count, tile_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.budget import Pace
    from grokpack.layout import FileLayout, Layout

_POLL_S = 0.2  # how often the main thread wakes, so that signals are handled at once


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        out: The output folder.
        written_bytes: Bytes written by this run, before they are encoded where they are.
        total_bytes: Bytes of the output's files.
        seconds: Wall time of this run.
        already_done: Whether an earlier run had finished it.
        account: What was lost, by role and by tensor, where weights were quantised anew.
    """

    out: str
    written_bytes: int
    total_bytes: int
    seconds: float
    already_done: bool = False
    account: dict[str, Any] = field(default_factory=dict)


def execute(
    plan: Plan,
    out: str,
    limits: Limits | None = None,
    listen: Listener = ignore,
    executor: Executor | None = None,
) -> Outcome:
    """Write a plan's output, or continue it, or find that it is there already.

    Args:
        plan: What to write.
        out: The output folder; new, empty, or of the same plan.
        limits: Memory, workers, deadline.
        listen: Receives progress.
        executor: Runs the tasks; threads of this process by default.

    Raises:
        GrokpackError: GP311 and GP312 for too little disk or memory, GP32x for an output that
            cannot be used, GP403 and GP404 when stopped, and what reading and writing raise.
    """
    limits = limits or Limits()
    pace = preflight(plan, out, limits).pace
    place = Output.of(plan.target, out)
    journal = place.journal
    done = not limits.restart and finished(plan, place)
    if done and not journal.exists():
        return Outcome(out, 0, _published_bytes(place), 0.0, already_done=True)
    storage.make_folder(journal.folder)
    with storage.locked(journal.lock_path):
        if done:  # a run that ended between its last two steps
            journal.finish()
            return Outcome(out, 0, _published_bytes(place), 0.0, already_done=True)
        if limits.restart:
            discard(place)
            check_output(plan, place)
        try:
            return _Session(plan, place, limits, listen, pace).run(executor)
        finally:
            storage.tidy(journal.folder)


class _Session:
    """One process's work on one output, under its lock."""

    def __init__(
        self, plan: Plan, place: Output, limits: Limits, listen: Listener, pace: Pace
    ) -> None:
        self.plan, self.place, self.limits, self.journal = plan, place, limits, place.journal
        self.listen, self.pace = listen, pace
        self.layout: Layout = plan.target.layout
        self.began = time.monotonic()
        self.written = 0
        self._guard = threading.Lock()

    def run(self, executor: Executor | None) -> Outcome:
        with storage.interruptible(self._stopping):
            return self._run(executor)

    def _run(self, executor: Executor | None) -> Outcome:
        receipts = self._begin_or_continue()
        done = _tiles_done(receipts)
        total = self.layout.nbytes
        left = sum(
            _run_bytes(self.layout, run) for task in tasks(self.plan.target, done) for run in task
        )
        self.listen(Started(self.plan.command, total, total - left))
        receipts += self._work(executor, done)
        self._check_source()
        account = self._account(receipts)
        written = self._publish(receipts, account)
        seconds = time.monotonic() - self.began
        self.listen(Finished(self.plan.command, seconds))
        return Outcome(self.place.path, self.written, written, seconds, account=account)

    def _begin_or_continue(self) -> list[Receipt]:
        source = self.plan.source
        receipts: list[Receipt] = []
        self.place.sink.prepare()
        if self.journal.exists():
            self._check_source()
            receipts = [r for r in self.journal.receipts() if self._still_there(r)]
        else:
            places = {storage.absolute(source.folder): source.stamps()} if source else {}
            self.journal.begin(self.plan, places)
        if self.plan.target.encoding is None:  # others have no size before they are written
            self._create_parts()
        return receipts

    def _create_parts(self) -> None:
        for file in self.layout.files():
            self.place.sink.create(self.place.file(file.path), file.nbytes)

    def _still_there(self, receipt: Receipt) -> bool:
        """Whether what a receipt is for is there; what was cut short or lost is done again."""
        band = self.layout.bands[receipt.band]
        for file, nbytes in zip(band, _sizes(receipt, band), strict=True):
            written = range(nbytes)
            if not receipt.encoded:
                low = tile_range(receipt.first, nbytes)[0]
                written = range(low, tile_range(receipt.last - 1, nbytes)[1])
            if not self.place.sink.holds(self.place.file(file.path), nbytes, written):
                return False
        return True

    def _check_source(self) -> None:
        """See that the source is as it was when this run first read it at its place.

        Elsewhere its headers are the same, or the plan would be another.
        """
        source = self.plan.source
        if source is None:
            return
        place = storage.absolute(source.folder)
        then, now = self.journal.stamps(place), source.stamps()
        if then is None:
            self.journal.remember({place: now})
            return
        changed = [path for path in now if then.get(path) != now[path]]
        if changed:
            hint = "restore the source, or begin anew with `--restart`"
            raise GrokpackError(
                "GP213",
                "source changed since this run began",
                Place(source.path(changed[0])),
                hint=hint,
            )

    def _work(self, executor: Executor | None, done: dict[int, set[int]]) -> list[Receipt]:
        context = Context(
            self.plan.target,
            ArrayReader(self.plan.source, self.pace.engine, self.pace.block_bytes),
            self.place,
            self.pace,
            self._advance,
            self._stopping,
        )
        own = None if executor else ThreadPoolExecutor(self.limits.workers, "grokpack")
        pool = executor or own
        assert pool is not None  # noqa: S101
        receipts: list[Receipt] = []
        queue = tasks(self.plan.target, done)
        try:
            for finished_task in _completed(pool, context, queue, self.limits.workers):
                self.journal.record(finished_task)
                receipts += finished_task
        except BaseException:
            self.limits.stop.set()
            raise
        finally:
            if own:
                own.shutdown(wait=True)
        self._raise_if_stopped()
        return receipts

    def _advance(self, nbytes: int) -> None:
        with self._guard:
            self.written += nbytes
        self.listen(Advanced(nbytes))

    def _stopping(self) -> bool:
        return self.limits.stop.is_set() or self._late()

    def _late(self) -> bool:
        deadline = self.limits.deadline_s
        return deadline is not None and time.monotonic() - self.began > deadline

    def _raise_if_stopped(self) -> None:
        hint = "run the same command again to continue"
        if self.limits.stop.is_set():
            raise GrokpackError("GP403", "stopped; finished tiles are recorded", hint=hint)
        if self._late():
            raise GrokpackError(
                "GP404", "stopped at the deadline; finished tiles are recorded", hint=hint
            )

    def _account(self, receipts: list[Receipt]) -> dict[str, Any]:
        """What was lost in all tiles; empty where nothing was quantised anew."""
        total: dict[str, Account] = {}
        for receipt in receipts:
            for tile in receipt.accounts:
                for name, own in tile.items():
                    total.setdefault(name, Account()).merge(own)
        source = self.plan.source
        return document(total, source.geometry.layers) if total and source else {}

    def _publish(self, receipts: list[Receipt], account: dict[str, Any]) -> int:
        """Give the files their names, then the small files, then the manifest.

        Returns:
            Bytes of the files.
        """
        sums, decoded = _file_sums(self.layout, receipts), {}
        if self.plan.target.encoding is not None:
            sums, decoded = _encoded_sums(self.layout, receipts), sums
        folders = {self.place.root}
        for file in self.layout.files():
            path = self.place.file(file.path)
            folders.add(os.path.dirname(path))
            self.place.sink.publish(path, sums[file.path][0])
        self.place.sink.settle(folders)
        for name, data in self.plan.target.finals.items():
            self.place.sink.write_whole(os.path.join(self.place.root, name), data)
        description = {
            "plan": self.plan.digest(),
            **self.plan.description(),
            "finals": {
                name: manifest.row_of(data)
                for name, data in sorted(self.plan.target.finals.items())
            },
            "lossless": self.plan.target.lossless,
        }
        if account:
            description["account"] = account
        if self.plan.target.place is not None and self.plan.source is not None:
            self.journal.keep(self.plan.source.stamps())
        rendered = manifest.render(description, sums, self.plan.target.framings, decoded)
        self.place.sink.write_whole(self.place.manifest_path, rendered)
        self.journal.finish()
        return sum(nbytes for nbytes, _ in sums.values())


def _completed(
    pool: Executor, context: Context, queue: Iterator[Any], width: int
) -> Iterator[list[Receipt]]:
    """Keep `width` tasks in flight; yields their receipts as they finish."""
    submit: Callable[[], Future[list[Receipt]] | None] = lambda: (  # noqa: E731
        None
        if context.stopping() or (task := next(queue, None)) is None
        else pool.submit(run_task, context, task)
    )
    flying = {future for _ in range(width) if (future := submit())}
    failure: BaseException | None = None
    while flying:
        landed, flying = wait(flying, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for future in landed:
            if future.exception() is not None:
                failure = failure or future.exception()
                continue
            yield future.result()
            if failure is None and (after := submit()):
                flying.add(after)
    if failure is not None:
        raise failure


def _tiles_done(receipts: list[Receipt]) -> dict[int, set[int]]:
    done: dict[int, set[int]] = {}
    for receipt in receipts:
        done.setdefault(receipt.band, set()).update(range(receipt.first, receipt.last))
    return done


def _run_bytes(layout: Layout, run: Run) -> int:
    band = layout.bands[run.band]
    low = run.first * TILE_BYTES
    high = tile_range(run.last - 1, band[0].nbytes)[1]
    return (high - low) * len(band)


def _sizes(receipt: Receipt, band: tuple[FileLayout, ...]) -> list[int]:
    """Bytes on disk of the files that a receipt is for."""
    return [file.nbytes for file in receipt.encoded or band]


def _published_bytes(place: Output) -> int:
    document = place.manifest() or {"files": {}}
    return sum(row["bytes"] for row in document["files"].values())


def _encoded_sums(layout: Layout, receipts: list[Receipt]) -> dict[str, tuple[int, list[str]]]:
    """The same of files that are encoded, as they are on disk; each has one receipt at least."""
    return {
        file.path: (written.nbytes, list(written.sums))
        for receipt in receipts
        for file, written in zip(layout.bands[receipt.band], receipt.encoded, strict=True)
    }


def _file_sums(layout: Layout, receipts: list[Receipt]) -> dict[str, tuple[int, list[str]]]:
    """Size and checksums of every file, as the layout has it.

    Raises:
        GrokpackError: GP901 where a tile has no receipt: nothing may be published then.
    """
    sums = {f.path: (f.nbytes, [""] * tile_count(f.nbytes)) for f in layout.files()}
    for receipt in receipts:
        for file, digests in zip(layout.bands[receipt.band], receipt.sums, strict=True):
            sums[file.path][1][receipt.first : receipt.last] = digests
    if any("" in digests for _, digests in sums.values()):
        raise GrokpackError("GP901", "a tile was never written, so nothing was published")
    return sums
