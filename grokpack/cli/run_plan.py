"""Run of a plan from the command line: show it, execute it, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from grokpack.cli import parsing
from grokpack.cli.options import PartedRunFlags, RunFlags
from grokpack.cli.workers import open_workers, own_memory
from grokpack.core.byte_size import byte_size
from grokpack.core.counts import noun_form
from grokpack.core.errors import GrokpackError, TooLittleMemory
from grokpack.core.escaping import escape_line
from grokpack.core.exit_status import ExitStatus
from grokpack.report.text import numbers
from grokpack.report.text.shown_paths import shown_path

if TYPE_CHECKING:
    from grokpack.cli.session import Session
    from grokpack.cli.workers import WorkerOptions
    from grokpack.core.documents.plan_json import AccountsJson, PlanJson
    from grokpack.execution.estimate import Estimate
    from grokpack.execution.preflight import Preflight
    from grokpack.execution.run import Outcome
    from grokpack.execution.run_options import RunOptions
    from grokpack.execution.run_part import RunPart
    from grokpack.planning.plan import Plan


def carry_out(
    session: Session,
    plan: Plan,
    out: str,
    flags: RunFlags,
    *,
    following: str | None,
    opens: dict[str, Any] | None = None,
) -> None:
    """Show the plan; execute it and report, unless it is a dry run.

    Args:
        session: Where output goes.
        plan: The plan to run.
        out: The output folder.
        flags: Options of the run.
        following: A sensible next command, if it can be pasted into a shell.
        opens: TensorStore spec that opens the output, if it is made for that.
    """
    part = _part(flags) if isinstance(flags, PartedRunFlags) else None
    with open_workers(flags.workers) as worker_options:
        limits = _limits(session, flags, worker_options)
        _Run(session, plan, out, flags, limits, worker_options, following, opens, part).carry_out()


def _part(flags: PartedRunFlags) -> RunPart | None:
    """Return the requested part.

    Raises:
        GrokpackError: GP304 for `--require-complete` without a part, GP346 for no part.
    """
    if flags.part is None:
        if flags.require_complete:
            what = "--require-complete is about a part"
            raise GrokpackError("GP304", what, hint="add `--part i/n`")
        return None
    from grokpack.execution.run_part import RunPart

    return RunPart(*parsing.parse_part("--part", flags.part))


def _limits(session: Session, flags: RunFlags, worker_options: WorkerOptions) -> RunOptions:
    from grokpack.execution.run_options import RunOptions

    memory = parsing.parse_bytes("--memory", flags.memory)
    if worker_options.executor is None:
        memory = own_memory(memory, session)
    return RunOptions(
        worker_options.process_memory(memory),
        worker_options.threads,
        parsing.parse_seconds("--max-duration", flags.max_duration),
        flags.restart,
        session.stop,
        worker_options.width,
        keep_local=isinstance(flags, PartedRunFlags) and flags.keep_local,
        private=isinstance(flags, PartedRunFlags) and flags.private,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One run and its messages."""

    session: Session
    plan: Plan
    out: str
    flags: RunFlags
    limits: RunOptions
    worker_options: WorkerOptions
    following: str | None
    opens: dict[str, Any] | None
    part: RunPart | None

    def carry_out(self) -> None:
        from grokpack.report.text import plan_text as text

        judged = self._judged()
        guess = self._guess(judged) if self.flags.dry_run else None
        workers = self.worker_options.workers
        data = text.document(judged, self.out, self.limits, guess, workers)
        if self.part is not None:
            from grokpack.execution.run_part import part_bytes

            data["part"] = [self.part.number, self.part.count]
            data["part_bytes"] = part_bytes(self.plan, self.part)
        if self.flags.dry_run:
            rendered = text.render(data, self.out)
            self.session.result(f"{rendered}\nnothing written (--dry-run)", data)
            return
        if not judged.finished:
            self.session.say(text.summary(data))
            for note in self.plan.target.notes:
                self.session.say(f"note: {escape_line(note)}")
        outcome = self._execute(judged)
        if outcome.already_done:
            self._tell_done(data)
        elif outcome.published:
            self._tell(data, outcome)
        else:
            self._tell_part(data, outcome)

    def _judged(self) -> Preflight:
        """Judge the plan; of a dry run that is refused, show the plan before the refusal."""
        from grokpack.report.text import plan_text as text

        try:
            return self._preflight()
        except GrokpackError:
            if self.flags.dry_run:
                self.session.show(text.outline(self.plan))
            raise

    def _guess(self, judged: Preflight) -> Estimate | None:
        """Predict the time; None if nothing is written."""
        from grokpack.execution.estimate import Work, estimate
        from grokpack.execution.throughput import rates
        from grokpack.planning.tasks import short_task_bytes, tasks

        target = self.plan.target
        if target.sparse or target.fixed_path is not None:
            return None
        nbytes, at_once = target.layout.nbytes, self.limits.at_once(judged.budget)
        count = sum(1 for _ in tasks(target, {}, short_task_bytes(target.layout, at_once)))
        work = Work(self.plan.reads_bytes, nbytes, count)
        return estimate(work, rates(self.plan, judged.output, judged.budget.buffer_sizes), at_once)

    def _preflight(self) -> Preflight:
        """Judge the plan; refuse what the run would refuse."""
        from grokpack.execution.preflight import preflight

        if self.part is not None:
            from grokpack.execution.run_part import refuse_part

            refuse_part(self.plan, self.out, self.part, self.limits)
        try:
            return preflight(self.plan, self.out, self.limits)
        except TooLittleMemory as error:
            if self.worker_options.executor is None:
                raise
            hint = "workers with more memory or fewer threads: `dask worker --memory-limit 1GB "
            hint += "--nthreads 2`"
            raise TooLittleMemory(error.what, error.where, error.facts, hint) from error

    def _execute(self, judged: Preflight) -> Outcome:
        listen, executor = self.session.listener(), self.worker_options.executor
        if self.part is None:
            from grokpack.execution.run import execute_judged

            return execute_judged(judged, self.limits, listen, executor)
        from grokpack.execution.run_part import execute_judged_part

        return execute_judged_part(judged, self.part, self.limits, listen, executor)

    def _tell_done(self, data: PlanJson) -> None:
        lines = [f"already done: {shown_path(self.out)}", *self._shown()]
        data["already_done"] = True
        self._finish(data, lines)

    def _tell_part(self, data: PlanJson, outcome: Outcome) -> None:
        left = outcome.outstanding_parts
        self._measure(data, outcome)
        data["outstanding_bytes"] = outcome.outstanding_bytes
        data["outstanding_parts"] = list(left)
        written = byte_size(outcome.written_bytes)
        took = numbers.duration(outcome.seconds)
        number, count = data["part"]
        lines = [f"part {number}/{count} done: {written} written   {took}"]
        if left:
            size, of = byte_size(outcome.outstanding_bytes), numbers.ranges(left)
            parts = f"{noun_form(len(left), 'part')} {of}"
            lines.append(f"  outstanding  {size} of {parts}; the last to end publishes")
        else:
            lines.append("  all is written; another part is at work and will publish")
        awaited = isinstance(self.flags, PartedRunFlags) and self.flags.require_complete
        status = ExitStatus.TRY_AGAIN if awaited else ExitStatus.OK
        self.session.result("\n".join(lines), data, status)

    def _tell(self, data: PlanJson, outcome: Outcome) -> None:
        from grokpack.report.text import plan_text as text

        self._measure(data, outcome)
        wrote = f"wrote {shown_path(self.out)}: {text.contents(self.plan, outcome.total_bytes)}"
        lines = [f"{wrote}   {numbers.duration(outcome.seconds)}", ""]
        if "roles" in outcome.account:
            from grokpack.report.text import quantization_error_text

            data["account"] = cast("AccountsJson", outcome.account)
            lines += [quantization_error_text.table(data["account"]), ""]
        lines += self._shown()
        lines += [f"  next     {self.following}"] if self.following else []
        self._finish(data, lines)

    def _measure(self, data: PlanJson, outcome: Outcome) -> None:
        """Add the figures of a run to the document."""
        data["already_done"] = False
        data["seconds"] = round(outcome.seconds, 3)
        data["written_bytes"] = outcome.written_bytes
        data["processes"] = len(outcome.processes)

    def _finish(self, data: PlanJson, lines: list[str]) -> None:
        """Show the result of a run that left nothing to do."""
        if self.opens is not None:
            data["opens"] = self.opens
        self.session.result("\n".join(lines), data)

    def _shown(self) -> list[str]:
        opens = self.opens
        return [f"  open it  tensorstore: {numbers.one_line_json(opens)}"] if opens else []


def output_path(out: str | None, default: str) -> str:
    """Return the output folder as an absolute path; a URL unchanged.

    Raises:
        GrokpackError: GP224 for a URL that is written in another way.
    """
    from grokpack import storage

    if out is None or storage.is_url(out):
        return out or default
    meant = storage.meant_url(out)
    if meant is not None:
        hint = f"did you mean `{escape_line(meant)}`?"
        raise GrokpackError("GP224", "this is no URL, and no good name of a folder", hint=hint)
    return str(Path(out).absolute())
