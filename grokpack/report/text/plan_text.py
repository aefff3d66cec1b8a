"""Plans as text and as JSON."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.escaping import escape_line
from grokpack.models import registry
from grokpack.models.family import OTHER_DIMENSIONS
from grokpack.planning.plan import in_words
from grokpack.report.text import numbers
from grokpack.report.text.shown_paths import shown_path

if TYPE_CHECKING:
    from grokpack.core.documents.plan_json import EstimateJson, PlanJson, PredictionJson
    from grokpack.execution.estimate import Estimate, Prediction
    from grokpack.execution.preflight import Preflight
    from grokpack.execution.run_options import RunOptions
    from grokpack.planning.plan import Plan


def document(
    judged: Preflight,
    out: str,
    limits: RunOptions,
    guess: Estimate | None,
    processes: int | None = None,
) -> PlanJson:
    """Return the plan as JSON values.

    Args:
        judged: The plan, its output and its memory budget.
        out: Path of the output.
        limits: Options of the run.
        guess: Predicted time, if it was measured.
        processes: Number of the cluster's processes; None for threads of this process.
    """
    plan, allowed, sink = judged.plan, judged.budget, judged.output.sink
    described = plan.description()
    data: PlanJson = {
        "plan": plan.digest(),
        "encoding": described.get("encoding"),
        "command": described["command"],
        "parameters": described["parameters"],
        "source": described["source"],
        "format": described["format"],
        "source_folder": plan.source.place if plan.source else None,
        "family": plan.source.model.title if plan.source else None,
        "out": out,
        "reads_bytes": plan.reads_bytes,
        "source_files": sum(1 for _ in plan.source.layout.files()) if plan.source else 0,
        "writes_bytes": plan.writes_bytes,
        "files": sum(1 for _ in plan.target.layout.files()),
        "disk_bytes": judged.disk_bytes,
        "disk_free_bytes": 0 if sink.disk is None else storage.free_bytes(sink.disk) or 0,
        "memory_bytes": allowed.memory_bytes,
        "memory_allowed_bytes": limits.memory_bytes,
        "workers": allowed.workers,
        "cluster": None
        if processes is None
        else {"workers": processes, "threads": limits.at_once(allowed)},
        "lossless": plan.target.lossless,
        "notes": list(plan.target.notes),
        "estimate": None if guess is None else _guessed(guess, elsewhere=processes is not None),
    }
    if "allocation" in plan.target.account:
        data["allocation"] = plan.target.account["allocation"]
    if sink.disk is not None and storage.is_url(out):
        data["made_in"] = sink.disk
    return data


def _guessed(guess: Estimate, *, elsewhere: bool) -> EstimateJson:
    """Return a prediction as JSON values; of the cluster, if that does the work."""
    asked = guess.here
    if elsewhere:
        asked = next(row for row in guess.elsewhere if row.workers == asked.workers)
    return {
        **_predicted(asked),
        "useful_workers": guess.useful_workers,
        "elsewhere": [_predicted(row) for row in guess.elsewhere],
        "read_bytes_per_s": guess.rates.read,
        "write_bytes_per_s": guess.rates.write,
        "one_bytes_per_s": guess.rates.one,
        "here_bytes_per_s": guess.rates.here,
    }


def _predicted(row: Prediction) -> PredictionJson:
    return {"workers": row.workers, "seconds": row.seconds, "limit": row.limit}


def summary(data: PlanJson) -> str:
    """Render the line that is shown before a run."""
    writes = f"{'at most ' if data['encoding'] else ''}{byte_size(data['writes_bytes'])}"
    what = f"{writes} to write"
    if data["reads_bytes"]:
        what = f"{_family(data)}, {byte_size(data['reads_bytes'])} -> {writes}"
    return f"plan {data['plan'][:6]}  {what}, {byte_size(data['memory_bytes'])} memory"


def _family(data: PlanJson) -> str:
    """Return the family that the source was taken for."""
    name = (data["family"] or "").removesuffix(OTHER_DIMENSIONS)
    return registry.FAMILIES[name].title if name else "no source"


def render(data: PlanJson, out: str) -> str:
    """Render the whole plan, for `--dry-run`."""
    made = "every value kept (lossless)" if data["lossless"] else "NOT lossless, as noted below"
    source = "a seed"
    if data["source_folder"]:
        source = f"{shown_path(data['source_folder'])} ({_family(data)})"
    options = escape_line(", ".join(f"{k} {in_words(v)}" for k, v in data["parameters"].items()))
    rows = [
        f"plan {data['plan'][:6]}  {data['command']} {source} -> {data['format']}, {made}",
        f"  options  {options}",
    ]
    if data["reads_bytes"]:
        rows.append(
            f"  reads    {byte_size(data['reads_bytes']):>10}   "
            f"{counted(data['source_files'], 'file')}, each byte once"
        )
    rows += [
        (
            f"  writes   {byte_size(data['writes_bytes']):>10}   {_bytes_written(data)} "
            f"in {counted(data['files'], 'file')}"
        ),
        (
            f"  memory   {byte_size(data['memory_bytes']):>10}   of "
            f"{byte_size(data['memory_allowed_bytes'])} allowed ({workers_in_words(data)})"
        ),
    ]
    if not storage.is_bucket(out):
        disk, free = byte_size(data["disk_bytes"]), data["disk_free_bytes"]
        folder = shown_path(data.get("made_in") or os.path.dirname(out))
        room = f"{byte_size(free)} free at {folder}" if free else f"{folder} tells of no room"
        rows.append(f"  disk     {disk:>10}   {room}")
    if "part" in data:
        number, count = data["part"]
        rows.append(f"  part     {byte_size(data['part_bytes']):>10}   is part {number} of {count}")
    if data["estimate"]:
        rows += _times(data["estimate"], here=data["cluster"] is None)
    return "\n".join(rows + [f"  note     {escape_line(note)}" for note in data["notes"]])


def outline(plan: Plan) -> str:
    """Render what a plan reads and writes, where a run of it would be refused."""
    source = "a seed" if plan.source is None else shown_path(plan.source.place)
    rows = [f"plan {plan.digest()[:6]}  {plan.command} {source} -> {plan.target.format}"]
    if plan.reads_bytes:
        rows.append(f"  reads    {byte_size(plan.reads_bytes):>10}")
    count = sum(1 for _ in plan.target.layout.files())
    rows.append(f"  writes   {byte_size(plan.writes_bytes):>10}   in {counted(count, 'file')}")
    return "\n".join(rows + [f"  note     {escape_line(note)}" for note in plan.target.notes])


def workers_in_words(data: PlanJson) -> str:
    """Describe the workers: `2 threads`, or `in each of 4 workers, 8 threads in all`."""
    if data["cluster"] is None:
        return counted(data["workers"], "thread")
    workers, threads = data["cluster"]["workers"], data["cluster"]["threads"]
    return f"in each of {counted(workers, 'worker')}, {counted(threads, 'thread')} in all"


def _bytes_written(data: PlanJson) -> str:
    """Describe the bytes of the output: exact, or at most, if files are compressed."""
    exact = f"{data['writes_bytes']:,} bytes"
    return f"at most {exact}, less what compressing saves," if data["encoding"] else exact


_LIMITS = {
    "workers": "how many there are",
    "cores": "this machine's cores",
    "reading": "reading",
    "writing": "writing",
    "tasks": "that there are no more tasks",
}


def _times(guess: EstimateJson, *, here: bool) -> list[str]:
    """Describe the predicted times and the rates behind them, for threads here or a cluster."""
    basis = [
        f"{verb} {numbers.byte_rate(rate)}"
        for verb, rate in (
            ("one worker makes", guess["one_bytes_per_s"]),
            ("all cores here", guess["here_bytes_per_s"]),
            ("storage reads", guess["read_bytes_per_s"]),
            ("writes", guess["write_bytes_per_s"]),
        )
        if rate
    ]
    who = counted(guess["workers"], "thread" if here else "worker") + (" here" if here else "")
    by = f"{who}; the limit is {_LIMITS[guess['limit']]}"
    rows = [f"  time     about {numbers.duration(guess['seconds'])} with {by}"]
    useful = guess["useful_workers"]
    if useful > 1:
        best = next(row for row in guess["elsewhere"] if row["workers"] == useful)
        rows.append(
            f"           {useful} workers on machines of their own would take "
            f"{numbers.duration(best['seconds'])}, and more would gain nothing"
        )
    rows.append(f"           from a short probe: {', '.join(basis)}")
    return rows


def contents(plan: Plan, nbytes: int) -> str:
    """Describe what an output folder holds.

    Args:
        plan: The plan that was run.
        nbytes: Bytes of its files.
    """
    layout = plan.target.layout
    total = byte_size(nbytes)
    if plan.target.format == "safetensors":
        ranks = len(layout.file_groups[0])
        per_rank = sum(group[0].nbytes for group in layout.file_groups if len(group) == ranks)
        return f"{counted(ranks, 'rank')} x {byte_size(per_rank)}, common, grokpack.json"
    if plan.target.single:
        return total
    if plan.target.fixed_path is not None and plan.source is not None:
        return f"an index of {total}; {byte_size(plan.source.layout.nbytes)} stay where they are"
    count = sum(1 for _ in layout.files())
    small = [name for name in ("config.json",) if name in plan.target.finals]
    return ", ".join([counted(count, "file"), total, *small, "grokpack.json"])
