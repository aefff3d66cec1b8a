"""Run a plan from the command line: show it, write it, say what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.cli import quantities
from grokpack.render import numbers

if TYPE_CHECKING:
    from grokpack.cli.session import Session
    from grokpack.plan import Plan


def carry_out(
    session: Session,
    plan: Plan,
    out: str,
    *,
    workers: str | None,
    memory: str,
    max_duration: str | None,
    dry_run: bool,
    restart: bool,
    following: str,
    opens: dict[str, Any] | None = None,
) -> None:
    """Show the plan; unless it is a dry run, execute it and report.

    Args:
        session: Where output goes.
        plan: What to do.
        out: The output folder.
        workers: As given on the command line; memory, max_duration likewise.
        memory: Resident memory.
        max_duration: Deadline.
        dry_run: Stop after showing the plan.
        restart: Discard what is there.
        following: A sensible next command.
        opens: What opens the output in TensorStore, where it is made for that.
    """
    from grokpack.estimate import estimate
    from grokpack.output import Output
    from grokpack.preflight import Limits, finished, preflight, usual_workers
    from grokpack.render import plan as text
    from grokpack.run import execute

    limits = Limits(
        quantities.parse_bytes(memory),
        quantities.parse_workers(workers) or usual_workers(plan),
        quantities.parse_seconds(max_duration),
        restart,
        session.stop,
    )
    needs = preflight(plan, out, limits).memory_bytes
    already = not restart and finished(plan, Output.of(plan.target, out))
    guess = estimate(plan, out, limits.workers) if dry_run else None
    data: dict[str, Any] = text.document(plan, out, limits, needs, guess)
    if dry_run:
        session.result(text.render(data, out) + "\nnothing written (--dry-run)", data)
        return
    shown = []
    if opens is not None:
        shown = [f"  open it  tensorstore: {numbers.compact(opens)}"]
    if already:
        execute(plan, out, limits)  # clears away what a crash at the very end has left
        lines = [f"already done: {numbers.shown(out)}", *shown]
        session.result("\n".join(lines), data | {"already_done": True} | _opens(opens))
        return
    session.say(text.summary(data))
    for note in plan.target.notes:
        session.say(f"note: {note}")
    outcome = execute(plan, out, limits, session.listener())
    data |= {
        "already_done": False,
        "seconds": round(outcome.seconds, 3),
        "written_bytes": outcome.written_bytes,
    }
    wrote = f"wrote {numbers.shown(out)}: {text.contents(plan, outcome.total_bytes)}"
    lines = [f"{wrote}   {numbers.duration(outcome.seconds)}", ""]
    if outcome.account:
        from grokpack.render import account

        data["account"] = outcome.account
        lines += [account.table(outcome.account), ""]
    lines += [*shown, f"  next     {following}"]
    session.result("\n".join(lines), data | _opens(opens))


def _opens(spec: dict[str, Any] | None) -> dict[str, Any]:
    return {} if spec is None else {"opens": spec}


def absolute(out: str | None, default: str) -> str:
    """The output folder as an absolute path; a URL as it is."""
    if out is None or storage.is_url(out):
        return out or default
    return str(Path(out).absolute())
