"""Checks before a run writes anything: output, disk, memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError, Place
from grokpack.execution.output import Output
from grokpack.execution.remove_output import own_manifest, removable
from grokpack.planning.memory_budget import Budget, budget

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
        budget: How the run keeps its memory promise.
        output: Where it writes.
        finished: Whether the output was published before, and is not to be written anew.
    """

    plan: Plan
    budget: Budget
    output: Output
    finished: bool

    def for_executor(self, executor: Executor | None) -> Preflight:
        """Make the paths of plan and output absolute if an executor is to work on them."""
        if executor is None:
            return self
        return replace(self, plan=self.plan.anywhere(), output=self.output.anywhere())


def preflight(plan: Plan, out: str, limits: RunOptions) -> Preflight:
    """Judge a plan before anything is written: refuse what the run would refuse.

    Raises:
        GrokpackError: GP311 disk, GP312 memory, GP321 to GP330 output.
    """
    refuse_url(plan, out)
    output = Output.of(plan.target, out)
    allowed = budget(plan, limits.memory_bytes, limits.workers, output.sink.held_bytes)
    refuse_overlap(plan, out)
    refuse_other_path(plan, out)
    if not storage.is_url(out):
        refuse_file(output)
    done = not limits.restart and finished(plan, output)
    if not done:
        if limits.restart:
            removable(plan, output)
        else:
            check_output(plan, output)
        if not storage.is_url(out):
            check_disk(plan, output)
    return Preflight(plan, allowed, output, done)


def refuse_url(plan: Plan, out: str) -> None:
    """Refuse an output on a web server, and a plan that cannot be written to a bucket."""
    if not storage.is_url(out):
        return
    target = plan.target
    largest = max((file.nbytes for file in target.layout.files()), default=0)
    what = hint = ""
    if not storage.is_bucket(out):
        what, hint = "outputs are written to folders and buckets only", "s3://, gs:// or a folder"
    elif target.single:
        what, hint = "one file is too much for a bucket", "use `--split 40GB` to write several"
    elif target.fixed_path is not None:
        what, hint = "a view lies on a disk: it points at files", "use a local `--out`"
    elif target.sparse:
        what, hint = "a bucket keeps no holes", "synthesize without `--sparse`, or to a folder"
    elif largest > storage.MOST_OBJECT_BYTES:
        what = f"a file of {byte_size(largest)} is more than one upload can have"
        hint = f"cut it into files of at most {byte_size(storage.MOST_OBJECT_BYTES)}, or wider"
    if what:
        raise GrokpackError("GP326", what, Place(out), hint=hint)


def refuse_overlap(plan: Plan, out: str) -> None:
    """Refuse an output inside the source, or around it."""
    if plan.source is None or storage.is_url(plan.source.folder) != storage.is_url(out):
        return
    real = storage.absolute if storage.is_url(out) else os.path.realpath
    source, target = f"{real(plan.source.folder)}/", f"{real(out)}/"
    if source.startswith(target) or (target.startswith(source) and plan.source.owns_folder):
        raise GrokpackError(
            "GP325",
            "output and source overlap",
            Place(out),
            hint="use an `--out` beside the source",
        )


def refuse_other_path(plan: Plan, out: str) -> None:
    """Refuse to write an index anywhere but where its relative paths are right."""
    fixed = plan.target.fixed_path
    if fixed is not None and os.path.realpath(fixed) != os.path.realpath(out):
        what = "the plan was made for another folder"
        raise GrokpackError("GP304", what, Place(out), (("planned for", fixed),))


def refuse_file(output: Output) -> None:
    """Refuse a folder whose name, or that of a folder above it, is that of a file."""
    if storage.is_link(output.journal.folder):
        what = "a link stands where grokpack keeps its record of the output"
        raise GrokpackError("GP330", what, Place(output.journal.folder), hint="remove the link")
    file = storage.in_the_way(output.root)
    if file is not None:
        what = "a file stands where the output's folder is to be"
        raise GrokpackError("GP323", what, Place(file), hint="use another `--out`")


def finished(plan: Plan, output: Output) -> bool:
    """Tell whether this plan's output is published, with every file at its size."""
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
        raise GrokpackError("GP323", what, Place(where), hint=hint)


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
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[:8]


def check_disk(plan: Plan, output: Output) -> None:
    """Refuse an output that does not fit on the disk.

    Raises:
        GrokpackError: GP311.
    """
    there = sum(
        storage.allocated_bytes(output.file(f.path) + end)
        for f in plan.target.layout.files()
        for end in ("", storage.PART)
    )
    needs = max(0, plan.disk_bytes - there) + _SLACK_BYTES + _scratch_bytes(plan)
    free = storage.free_bytes(output.root)
    if needs > free:
        facts = (("needs", byte_size(needs)), ("free", byte_size(free)))
        hint = "choose another disk with `--out`, or free some space"
        raise GrokpackError("GP311", "not enough disk", Place(output.path), facts, hint)


def _scratch_bytes(plan: Plan) -> int:
    """Return the bytes of a remote source that are kept on disk, because it is read in strips."""
    if plan.source is None or not plan.streams:
        return 0
    return min(storage.read_overhead(plan.source.folder).scratch_bytes, plan.reads_bytes)
