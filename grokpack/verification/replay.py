"""Replay of an output's plan from its source, for `verify OUT --source SRC`.

Nothing is written: each tile's bytes are made as the run made them, and compared with the file's.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack import storage
from grokpack.checkpoint import manifest_file, manifest_paths
from grokpack.checkpoint.reading_memory import DEFAULT_MEMORY_BYTES
from grokpack.core.errors import GrokpackError, Place, SourceUnreadable
from grokpack.core.events import Listener, Started, ignore_event
from grokpack.core.finding import Finding
from grokpack.core.tiles import tile_count
from grokpack.execution import worker_checks
from grokpack.execution.data_loop import TaskContext, file_group_blocks
from grokpack.execution.output import Output
from grokpack.execution.quantization_error import TileErrorStats
from grokpack.execution.workers import Job
from grokpack.planning.memory_budget import budget
from grokpack.planning.tasks import TileRange
from grokpack.verification import content_findings
from grokpack.verification.read_and_compare import ReadResult, read_all
from grokpack.verification.read_options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.layout import FileLayout
    from grokpack.core.progress import Watch
    from grokpack.planning.plan import Plan
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.verification.sampling import Sample

_TILES = 16  # in one item of work
_DIFF = "`grokpack diff SRC OUT` compares the weights themselves"


def replay(
    out: Checkpoint,
    source: Checkpoint,
    limits: ReadOptions | None = None,
    listen: Listener = ignore_event,
) -> ReadResult:
    """Make an output's tiles again from its source, and compare them with its files.

    Args:
        out: The output, with its manifest.
        source: The checkpoint that it is said to be made from, wherever that is now.
        limits: Amount to compare, and when to end. Each run draws another share.
        listen: Receives progress.

    Raises:
        GrokpackError: GP229 where there is no manifest, GP231 where it has no plan that can be made
            again, GP232 where it was made from another source; errors of planning and reading.
    """
    limits = limits or ReadOptions()
    path = manifest_paths.present(out)
    if path is None:
        raise GrokpackError("GP229", "there is no manifest with a plan", Place(out.place))
    document = manifest_file.load_file(path)
    plan = _plan(document, source, out, path)
    if limits.executor is not None:
        plan, out = plan.anywhere(), out.anywhere()
    output = Output.of(plan.target, out.place if plan.target.single else out.home)
    runs = list(_chosen(plan, limits.share))
    total = sum(file.nbytes for file in plan.target.layout.files())
    wanted = sum(run.nbytes(plan.target.layout) for run in runs)
    allowed = budget(plan, DEFAULT_MEMORY_BYTES, limits.workers)
    job = Job(_replaying, (plan, output, allowed.buffer_sizes), _setup)
    begin = Started("replay", wanted)
    results = list(read_all(begin, job, runs, limits, allowed.workers, listen))
    named = _named(out, plan)
    findings = [named(finding) for result in results for finding in result.findings]
    findings.sort(key=lambda finding: finding.file or "")
    read = sum(result.nbytes for result in results)
    origin = f"{plan.command} of {source.place}"
    finals = _finals(plan, output)
    ended, files = read == wanted, sum(1 for _ in plan.target.layout.files())
    compared = files if read == total else 0
    return ReadResult(
        (*finals, *findings), origin, total, read, total - read, ended, files, compared
    )


def _named(out: Checkpoint, plan: Plan) -> Callable[[Finding], Finding]:
    """Give a finding's file the name that it has in the checkpoint, not in the plan."""
    if plan.target.single:
        return lambda finding: replace(finding, file=os.path.basename(out.place))
    prefix = manifest_paths.below_home(out)
    return lambda finding: replace(finding, file=(finding.file or "").removeprefix(prefix))


def _plan(document: Mapping[str, Any], source: Checkpoint, out: Checkpoint, path: str) -> Plan:
    """Make the manifest's plan again from the source."""
    if document.get("source") is None or "plan" not in document:
        what = "the manifest has no plan that reads a source"
        raise GrokpackError("GP231", what, Place(path), hint=_DIFF)
    found = source.identity()
    if document["source"] != found:
        facts = (("made from", document["source"]), ("given", found))
        what = "the output was made from another source, by its headers"
        raise GrokpackError("GP232", what, Place(path), facts, _DIFF)
    refused = None
    for make in _candidates(document, source, out):
        try:
            plan = make()
        except GrokpackError as error:
            refused = error
            continue
        if plan.digest() == document["plan"]:
            return _possible(plan, path)
    notes = [("written by", str(document.get("tool", {}).get("version")))]
    if refused is not None:
        notes.append(("planning", refused.what))
    what = "the plan cannot be made again from what the manifest says"
    hint = f"a policy, a calibration or a tokenizer from elsewhere is not in it; {_DIFF}"
    raise GrokpackError("GP231", what, Place(path), tuple(notes), hint)


def _possible(plan: Plan, path: str) -> Plan:
    """Return the plan; refuse one whose files are not made tile by tile."""
    if plan.target.codec is not None or plan.target.fixed_path is not None:
        what = f"files of {plan.target.format} are not made tile by tile"
        raise GrokpackError("GP231", what, Place(path), hint=_DIFF)
    return plan


def _candidates(
    document: Mapping[str, Any], source: Checkpoint, out: Checkpoint
) -> Iterator[Callable[[], Plan]]:
    """Yield plans that the manifest may mean, since it does not say where the tokenizer was."""
    from grokpack.conversion import plan_convert, plan_quantize, plan_reshard

    given = dict(document.get("parameters") or {})
    tokenizers = (None, out.home, "none")
    if document.get("command") == "reshard":
        to, tp = given.pop("to", ""), given.pop("tp", 0)
        for wider in (False, True):
            yield lambda wider=wider: plan_reshard.plan_reshard(  # type: ignore[misc]
                source, tp, to, forward_only=wider, **given
            )
    elif document.get("command") == "convert":
        to = given.pop("to", "")
        for folder in tokenizers:
            yield lambda folder=folder: plan_convert.plan_convert(  # type: ignore[misc]
                source, to, plan_convert.ConvertOptions(**given, tokenizer=folder)
            )
    elif document.get("command") == "quantize":
        chosen = _quantization(given)
        for folder in tokenizers:
            yield lambda folder=folder: plan_quantize.plan_quantize(  # type: ignore[misc]
                source, plan_quantize.QuantizeOptions(**chosen, tokenizer=folder)
            )


def _quantization(given: dict[str, Any]) -> dict[str, Any]:
    """Restore the options of `quantize` from its parameters, which include the defaults."""
    from grokpack.conversion.writers import writer_registry

    name = given.get("to", "")
    takes_group = (
        name in writer_registry.QUANTIZING and "group" in writer_registry.quantizing(name).scheme
    )
    chosen = {**given, "keep": tuple(given.get("keep", ()))}
    chosen.pop("importance", None)
    group = chosen.pop("group", None)
    if takes_group:
        chosen["group"] = None if group is None else str(group)
    return chosen


def _chosen(plan: Plan, share: Sample) -> Iterator[TileRange]:
    """Group the tiles to be made again into items of work."""
    every = [
        (group, tile)
        for group, files in enumerate(plan.target.layout.file_groups)
        for tile in range(tile_count(files[0].nbytes))
    ]
    picked: Sequence[int] = share.slice_of(len(every))
    if share.fraction is not None or share.nbytes is not None:
        total = sum(file.nbytes for file in plan.target.layout.files())
        part = share.fraction or min(1.0, (share.nbytes or 0) / max(total, 1))
        count = min(len(every), max(1, round(part * len(every))))
        picked = sorted(random.SystemRandom().sample(range(len(every)), count))
    first = 0
    for at in range(1, len(picked) + 1):
        group, tile = every[picked[at - 1]]
        more = at < len(picked) and every[picked[at]] == (group, tile + 1)
        if not more or at - first == _TILES:
            yield TileRange(group, every[picked[first]][1], tile + 1)
            first = at


@dataclass(frozen=True, slots=True)
class _ReplayResult:
    """Result of one item of work."""

    nbytes: int
    findings: tuple[Finding, ...]


def _replaying(watch: Watch, plan: Plan, output: Output, buffer_sizes: BufferSizes) -> _Replayer:
    """Make the function that makes a plan's tiles again, in any process."""
    return _Replayer(plan, TaskContext.of(watch, plan, output, buffer_sizes))


def _setup(plan: Plan, output: Output, _step_sizes: BufferSizes) -> None:
    """Check that a remote process has source and output."""
    if plan.source is not None:
        worker_checks.check_checkpoint(plan.source)
    worker_checks.check_files({output.file(f.path): f.nbytes for f in plan.target.layout.files()})


@dataclass(frozen=True, slots=True)
class _Replayer:
    """Maker and comparer of tiles; one serves all threads of a process."""

    plan: Plan
    context: TaskContext

    def __call__(self, run: TileRange) -> _ReplayResult:
        """Make and compare a range of tiles; none if it is time to stop."""
        if self.context.stopping():
            return _ReplayResult(0, ())
        group = self.plan.target.layout.file_groups[run.file_group]
        at, stop = run.span(group[0])
        bad: dict[str, list[tuple[int, int]]] = {file.path: [] for file in group}
        errors: dict[str, str] = {}
        for blocks in file_group_blocks(
            self.context, group, at, stop, TileErrorStats(self.context.buffer_sizes.implementation)
        ):
            for file, block in zip(group, blocks, strict=True):
                if file.path not in errors:
                    self._compare(file, at, block, bad[file.path], errors)
            at += len(blocks)
            self.context.advanced(len(blocks) * len(group))
        findings = [_differs(file, bad[file.path]) for file in group if bad[file.path]]
        for path, what in errors.items():
            findings.append(content_findings.unreadable_finding(path, what))
        return _ReplayResult(run.nbytes(self.plan.target.layout), tuple(findings))

    def _compare(
        self,
        file: FileLayout,
        at: int,
        block: memoryview,
        bad: list[tuple[int, int]],
        errors: dict[str, str],
    ) -> None:
        found = np.empty(len(block), np.uint8)
        try:
            storage.read_into(self.context.output.file(file.path), at, found.data)
        except SourceUnreadable as error:
            errors[file.path] = error.what
            return
        unlike = np.flatnonzero(found != np.frombuffer(block, np.uint8))
        if len(unlike):
            bad.append((at + int(unlike[0]), at + int(unlike[-1]) + 1))


def _differs(file: FileLayout, ranges: Sequence[tuple[int, int]]) -> Finding:
    start, stop = ranges[0][0], ranges[-1][1]
    where, tensor = content_findings.located(file, start, stop)
    return Finding("GP110", "not what the source gives", file.path, tensor, None, where)


def _finals(plan: Plan, output: Output) -> list[Finding]:
    """Compare the small files, which the plan holds whole."""
    findings = []
    for name, data in plan.target.finals.items():
        path = os.path.join(output.root, name)
        found = None
        with suppress(GrokpackError):
            reader = storage.FileBytes(path)
            found = reader.read(0, reader.size()) if storage.exists(path) else None
        if found is None:
            findings.append(content_findings.missing(name))
        elif found != data:
            findings.append(Finding("GP110", "not what the source gives", name))
    return findings
