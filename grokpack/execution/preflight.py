"""Checks before a run writes anything: output, disk, memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError, Place
from grokpack.execution import output_checks
from grokpack.execution.output import Output
from grokpack.execution.remove_output import own_manifest, removable
from grokpack.execution.workers.worker_pool import AHEAD
from grokpack.planning.memory_budget import Budget, budget
from grokpack.planning.plan import in_words
from grokpack.planning.tasks import TASK_BYTES

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from grokpack.execution.run_options import RunOptions
    from grokpack.planning.plan import Plan

_SLACK_BYTES = 16 << 20  # manifest, journal and folders
_LONGEST_VALUE = 24  # of an option; longer ones are digests, and 8 of their digits are enough


@dataclass(frozen=True, slots=True)
class Preflight:
    """Result of judging a plan that nothing speaks against.

    Attributes:
        plan: The plan.
        budget: How the run keeps to its memory limit.
        output: Where it writes.
        finished: Whether the output was published before, and is not to be written again.
        disk_bytes: Most bytes of the output that are on its disk at a time.
    """

    plan: Plan
    budget: Budget
    output: Output
    finished: bool
    disk_bytes: int

    def for_executor(self, executor: Executor | None) -> Preflight:
        """Make the paths of plan and output absolute if an executor is to work on them."""
        if executor is None:
            return self
        if storage.is_repository(self.output.path):
            what = "files are published by the process that makes them"
            raise GrokpackError("GP304", what, hint="use `--workers N`, or write to a bucket")
        return replace(self, plan=self.plan.anywhere(), output=self.output.anywhere())


def preflight(plan: Plan, out: str, limits: RunOptions) -> Preflight:
    """Judge a plan before anything is written: refuse what the run would refuse.

    Raises:
        GrokpackError: GP311 disk, GP312 memory, GP321 to GP330 output.
    """
    output_checks.refuse_place(plan, out, limits)
    options = storage.PublishingOptions(limits.keep_local, limits.private)
    output = Output.of(plan.target, out, options)
    sink = output.sink
    allowed = budget(plan, limits.memory_bytes, limits.workers, sink.held_bytes, sink.client_bytes)
    output_checks.refuse_overlap(plan, out, sink.disk)
    output_checks.refuse_other_path(plan, out)
    if sink.disk is not None:
        output_checks.refuse_file(output, sink.disk)
    sink.check()
    done = not limits.restart and finished(plan, output)
    if not done:
        if limits.restart:
            removable(plan, output)
        else:
            check_output(plan, output)
        if sink.disk is not None:
            output_checks.refuse_unwritable(sink.disk)
            check_disk(plan, output, sink.disk, disk_bytes(plan, sink, limits.at_once(allowed)))
    return Preflight(plan, allowed, output, done, disk_bytes(plan, sink, limits.at_once(allowed)))


def finished(plan: Plan, output: Output) -> bool:
    """Return whether this plan's output is published, with every file at its size."""
    document = output.manifest()
    if document is None or document.get("plan") != plan.digest():
        return False
    recorded = {path: row["bytes"] for path, row in document["files"].items()}
    paths = [file.path for file in plan.target.layout.files()]
    return all(output.sink.size_of(output.file(path)) == recorded.get(path, -1) for path in paths)


def check_output(plan: Plan, output: Output) -> None:
    """Refuse a folder that holds anything but this plan's own unfinished output.

    Another process may be running the same plan. It makes its journal before its files, and
    removes it after publishing. So files are looked for first.

    Raises:
        GrokpackError: GP321 for another plan's output, GP323 for other files.
    """
    foreign_files = output.foreign_files()
    recorded = output.journal.recorded()
    if recorded is not None:
        if recorded["digest"] != plan.digest():
            raise _other_plan(recorded, plan, output.path)
        return
    document = own_manifest(output)
    if document is not None:
        if finished(plan, output):
            return
        if document["plan"] == plan.digest():
            what = "the output was published, and files of it are missing or changed since"
            hint = "`grokpack verify` tells which; remove what was changed, and add `--restart`"
            raise GrokpackError("GP321", what, Place(output.path), hint=hint)
        raise _other_plan({**document, "digest": str(document.get("plan"))}, plan, output.path)
    if foreign_files:
        what = "a file of that name is there" if output.single else "the folder holds other files"
        hint = "use another `--out`; grokpack overwrites nothing and writes to empty folders only"
        where = foreign_files[0] if output.single else output.path
        facts = () if output.single else (("found", foreign_files[0]),)
        raise GrokpackError("GP323", what, Place(where), facts, hint)


def _other_plan(recorded: dict[str, Any], plan: Plan, out: str) -> GrokpackError:
    here = plan.description()
    differences = [
        f"{key}: {_short(recorded.get(key))} there, {_short(here[key])} here"
        for key in ("command", "format", "source")
        if recorded.get(key) != here[key]
    ]
    theirs, ours = recorded.get("parameters") or {}, here["parameters"]
    differences += [
        f"{key}: {_short(theirs.get(key))} there, {_short(ours.get(key))} here"
        for key in sorted({*theirs, *ours})
        if theirs.get(key) != ours.get(key)
    ]
    facts = (
        ("plan", f"{recorded['digest'][:6]} there, {plan.digest()[:6]} here"),
        *(("differs", text) for text in differences),
    )
    hint = "use another `--out`, or `--restart` to discard what is there"
    return GrokpackError("GP321", "the output belongs to another plan", Place(out), facts, hint)


def _short(value: object) -> str:
    """Return the value of an option as text, in few characters."""
    text = in_words(value)
    return text if len(text) <= _LONGEST_VALUE else text[:8]


def disk_bytes(plan: Plan, sink: storage.Sink, at_once: int) -> int:
    """Return the most bytes of an output that are on its disk at a time.

    Where whole files leave it, those that wait are on it and those that are begun: the files of a
    group, and what the tasks write that are handed out.
    """
    if sink.waiting_bytes is None:
        return plan.disk_bytes
    groups = plan.target.layout.file_groups
    largest = max((sum(file.nbytes for file in group) for group in groups), default=0)
    task = TASK_BYTES if plan.target.codec is None else largest
    begun = largest + AHEAD * at_once * task
    return min(plan.disk_bytes, sink.waiting_bytes + begun)


def check_disk(plan: Plan, output: Output, disk: str, most_bytes: int) -> None:
    """Refuse an output that does not fit on the disk.

    Raises:
        GrokpackError: GP311.
    """
    sink, files = output.sink, plan.target.layout.files()
    there = sum(sink.allocated_bytes(output.file(file.path)) for file in files)
    needs = max(0, most_bytes - there) + _SLACK_BYTES + _scratch_bytes(plan)
    free = storage.free_bytes(disk)
    if free is not None and needs > free:
        facts = (("needs", byte_size(needs)), ("free", byte_size(free)))
        hint = "choose another disk with `--out`, or free some space"
        if storage.is_url(output.path):
            hint = "run it in a folder of another disk, or free some space"
        raise GrokpackError("GP311", "not enough disk", Place(output.path), facts, hint)


def _scratch_bytes(plan: Plan) -> int:
    """Return the bytes of a remote source that are kept on disk, because it is read in strips."""
    if plan.source is None or not plan.streams:
        return 0
    return min(storage.read_overhead(plan.source.folder).scratch_bytes, plan.reads_bytes)
