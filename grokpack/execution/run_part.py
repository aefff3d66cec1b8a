"""One part of a plan, for job arrays, whose jobs know nothing of each other.

Parts share the output's lock while they write, and each keeps a log of its own. A part that ends
tries to take the lock alone. If it gets the lock and finds all tiles written, it publishes; if not,
other parts are still at work, and will try in turn.
"""

from __future__ import annotations

import os
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import GrokpackError, LockHeld, Place, WriteFailed
from grokpack.core.events import Finished, Listener, Started, ignore_event
from grokpack.execution import tile_coverage
from grokpack.execution.journal import Journal
from grokpack.execution.preflight import Preflight, check_output, finished, preflight
from grokpack.execution.run import Outcome, RunState, already
from grokpack.execution.run_options import RunOptions

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from grokpack.core.paths import StrPath
    from grokpack.execution.tile_coverage import Tiles
    from grokpack.planning.plan import Plan

_ROUNDS = 20  # each fails only if another process began, published or discarded the output
_BEGIN_S = 60.0  # wait for a process that records the plan, creates the files, or publishes


@dataclass(frozen=True, slots=True)
class RunPart:
    """Number of a part, and how many there are.

    Attributes:
        number: Number of the part, from 1 to `count`.
        count: Number of parts.
    """

    number: int
    count: int


def execute_part(
    plan: Plan,
    out: StrPath,
    part: RunPart,
    limits: RunOptions | None = None,
    listen: Listener = ignore_event,
    executor: Executor | None = None,
) -> Outcome:
    """Write one part of a plan's output; publish it where that was the last.

    Parts may run at once, in any order, twice, and on other machines, as long as they see the same
    folder and its locks.

    Args:
        plan: The whole plan.
        out: The output; new, empty, or of the same plan.
        part: Which part.
        limits: Memory, workers, deadline.
        listen: Receives progress.
        executor: Runs the tasks, as in `execute`.

    Raises:
        GrokpackError: GP304 for outputs that are not written in parts, GP322 where a process
            writes all of the output; what `execute` raises.
    """
    limits, out = limits or RunOptions(), os.fspath(out)
    refuse_part(plan, out, part, limits)
    return execute_judged_part(preflight(plan, out, limits), part, limits, listen, executor)


def execute_judged_part(
    judged: Preflight,
    part: RunPart,
    limits: RunOptions,
    listen: Listener = ignore_event,
    executor: Executor | None = None,
) -> Outcome:
    """Execute one part of a plan that has had its preflight, as `execute_part` does."""
    judged = judged.for_executor(executor)
    session = _Part(judged, limits, listen, part)
    try:
        return _until_done(session, executor)
    finally:
        storage.tidy(judged.output.journal.folder)


def _until_done(session: _Part, executor: Executor | None) -> Outcome:
    """Attempt a part until no other process interferes."""
    for _ in range(_ROUNDS):
        try:
            outcome = session.attempt(executor)
        except WriteFailed:
            if storage.is_folder(session.journal.folder):
                raise
            continue  # it was published before this process had the lock
        if outcome is not None:
            return outcome
    what = "other processes begin and end this output again and again"
    where = Place(session.output.path)
    raise LockHeld(what, where, hint="look for a job that uses `--restart`")


def part_bytes(plan: Plan, part: RunPart) -> int:
    """Count the bytes of a part's share of the output."""
    share = tile_coverage.shares(plan.target, part.count)[part.number - 1]
    return tile_coverage.bytes_of(plan.target.layout, share)


def refuse_part(plan: Plan, out: str, part: RunPart, limits: RunOptions) -> None:
    """Refuse a plan that cannot be written in parts.

    Raises:
        GrokpackError: GP304.
    """
    what = hint = ""
    if not 1 <= part.number <= part.count:
        what, hint = f"there is no part {part.number} of {part.count}", "parts are 1 to n"
    elif limits.restart:
        what = "--restart would discard what other parts have written"
        hint = "remove the output first, or run once with `--restart` and without `--part`"
    elif storage.is_url(out):
        what = "parts of an output meet in a folder that all of them see, not in a bucket"
        hint = "write to shared storage, or use `--workers dask://`"
    elif plan.target.codec is not None:
        what = "compressed files are written by one process each"
        hint = "leave out `--part`; `--workers dask://` spreads the files over machines"
    elif plan.target.fixed_path is not None:
        what, hint = "a view has nothing to write in parts", "leave out `--part`"
    if what:
        raise GrokpackError("GP304", what, Place(out), hint=hint)


class _Part(RunState):
    """Work on one part, beside other processes."""

    def __init__(
        self, judged: Preflight, limits: RunOptions, listen: Listener, part: RunPart
    ) -> None:
        super().__init__(judged, limits, listen)
        name = f"{part.number}-of-{part.count}-{socket.gethostname()}-{os.getpid()}"
        self.journal = Journal(self.output.journal.folder, f"{name}-{uuid.uuid4().hex[:6]}")
        self._part = part
        self._shares = tile_coverage.shares(self.plan.target, part.count)

    def attempt(self, executor: Executor | None) -> Outcome | None:
        """Do the part; return None if another process interfered and it must be attempted again."""
        if finished(self.plan, self.output) and not self.journal.lingers():
            return already(self.output)
        check_output(self.plan, self.output)
        storage.make_folder(self.journal.folder)
        if not self.journal.exists() and not self._begin():
            return None
        with storage.locked(self.journal.lock_path, shared=True, wait_s=_BEGIN_S) as there:
            if not there or not self.journal.exists():
                return None
            with self.stoppable():
                self._write(executor)
        return self._end()

    def _begin(self) -> bool:
        """Record the plan and create the files, alone; tell whether the folder stayed."""
        with storage.locked(self.journal.lock_path, wait_s=_BEGIN_S) as there:
            if there and not self.journal.exists():
                if finished(self.plan, self.output):
                    self.journal.finish()  # the folder that was just made for the lock
                else:
                    self.begin_or_continue()
            return there

    def _write(self, executor: Executor | None) -> None:
        """Write the tiles of the share that are not written yet."""
        written = tile_coverage.tiles_of(self.begin_or_continue())
        own = self._shares[self._part.number - 1]
        left = tile_coverage.without(own, written)
        nbytes, total = (tile_coverage.bytes_of(self.layout, tiles) for tiles in (left, own))
        self.listen(Started(self.plan.command, total, total - nbytes))
        if left:
            self.work(executor, tile_coverage.without(tile_coverage.everything(self.layout), left))

    def _end(self) -> Outcome | None:
        """Publish, if everything is written and no other process is at work."""
        if not self.journal.exists():
            return None
        wait_s = 0.0 if self._outstanding(self._written()) else _BEGIN_S
        lock = storage.locked(self.journal.lock_path, wait_s=wait_s)
        with suppress(LockHeld), lock as there:  # others at work will try when they end
            if not there or not self.journal.exists():
                return None
            receipts = self.receipts()
            if not self._outstanding(tile_coverage.tiles_of(receipts)):
                return self.publish(receipts)
        seconds = self.seconds()
        self.listen(Finished(self.plan.command, seconds))
        outstanding = self._outstanding(self._written())
        return Outcome(
            self.output.path,
            self.written,
            0,
            seconds,
            processes=self.processes,
            published=False,
            outstanding_bytes=tile_coverage.bytes_of(self.layout, outstanding),
            outstanding_parts=self._unfinished(outstanding),
        )

    def _written(self) -> Tiles:
        return tile_coverage.tiles_of(tile_coverage.fitting(self.layout, self.journal.receipts()))

    def _outstanding(self, written: Tiles) -> Tiles:
        return tile_coverage.without(tile_coverage.everything(self.layout), written)

    def _unfinished(self, outstanding: Tiles) -> tuple[int, ...]:
        """List the parts that have tiles among these."""
        return tuple(
            number
            for number, share in enumerate(self._shares, 1)
            if any(outstanding.get(group, set()) & own for group, own in share.items())
        )
