"""Text of `grokpack verify`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.core.byte_size import byte_size
from grokpack.core.escaping import escape_line
from grokpack.core.finding import of_kinds, only_errors
from grokpack.report import numbers
from grokpack.verification.repair import repair_command

if TYPE_CHECKING:
    from grokpack.core.finding import Finding
    from grokpack.verification.verify_structure import Verdict

_MOST_SHOWN = 50  # findings; more say nothing new


def render(verdict: Verdict, seconds: float) -> str:
    """Render findings, the verdict, and what to do."""
    lines: list[str] = []
    shown = verdict.findings[:_MOST_SHOWN]
    for finding in shown:
        lines += [_finding(verdict, finding), ""]
    if len(verdict.findings) > len(shown):
        lines += [f"and {len(verdict.findings) - len(shown)} findings more (`--json` has all)", ""]
    lines += _verdict(verdict, seconds)
    fix = repair_command(verdict)
    if fix:
        lines += ["", "hint: fetch just these again, then verify", f"      {fix}"]
    elif of_kinds(verdict.findings, "GP116"):
        lines += ["", "hint: restore them, or make the view anew: `--to view --restart`"]
    elif not verdict.whole:
        lines += ["", "hint: fetch the files named above again from where they came from"]
    return "\n".join(lines)


def _finding(verdict: Verdict, finding: Finding) -> str:
    lines = [f"{finding.severity}[{finding.code}]: {finding.message}"]
    tensor = f"   {escape_line(finding.tensor)}" if finding.tensor else ""
    lines.append(f"  --> {_place(verdict, finding)}{tensor}")
    facts = (("expected", finding.expected), ("found", finding.found))
    lines += [f"      {label:<8}  {value}" for label, value in facts if value]
    return "\n".join(lines)


def _place(verdict: Verdict, finding: Finding) -> str:
    """Return the file that a finding is about, or the checkpoint if it is about none."""
    place = numbers.shown_path(verdict.survey.place)
    if not finding.file:
        return place
    file = escape_line(finding.file)
    return place if os.path.basename(place) == file else f"{place}/{file}"


def _damage(verdict: Verdict) -> str:
    bad, expected = len(verdict.damaged_files), verdict.survey.expected
    if not bad:
        count = len(only_errors(verdict.findings))
        return f"not whole: {count} error{'s' if count > 1 else ''}, listed above"
    others = expected - bad
    rest = "is as it should be" if others == 1 else "are as they should be"
    tail = f"; the other {others} {rest}" if others else ""
    return f"damaged: {bad} of {numbers.files(expected)}{tail}"


def _verdict(verdict: Verdict, seconds: float) -> list[str]:
    rows = []
    if verdict.checks["structure"] == "ok":
        rows.append(
            f"ok  structure: {_files(verdict)}, names, framing, shapes, dtypes and "
            f"sizes all as they should be   ({numbers.duration(seconds)})"
        )
    if verdict.complete is None:
        rows.append("--  completeness not known: nothing here tells how many files there should be")
    rows += _contents(verdict)
    if verdict.checks["values"] == "ok":
        rows.append("ok  values: no NaN, no infinities, every scale positive")
    if verdict.checks["values"] == "skipped" and verdict.whole and verdict.contents is None:
        rows.append("--  values: not read; `--values` reads them all")
    rows += _ranks(verdict)
    if not verdict.whole:
        rows.append(_damage(verdict))
    return rows


def _files(verdict: Verdict) -> str:
    """Count the files, and say of which family of models they are."""
    checkpoint, count = verdict.survey.checkpoint, numbers.files(verdict.survey.expected)
    return count if checkpoint is None else f"{count} of {checkpoint.model.family.title}"


def _ranks(verdict: Verdict) -> list[str]:
    """Say that nothing read so far tells one rank's slices from another's, as checksums do."""
    checkpoint = verdict.survey.checkpoint
    if checkpoint is None or checkpoint.ranks == 1 or not verdict.whole:
        return []
    recorded = storage.exists(os.path.join(checkpoint.home, manifest_file.FILE))
    if recorded or verdict.contents is not None:
        return []
    return ["--  ranks: headers do not tell whose slices a file holds; `--against` a checksum does"]


def _contents(verdict: Verdict) -> list[str]:
    """Describe the result of reading the files; nothing if they were not read."""
    found = verdict.contents
    if found is None or verdict.checks["contents"] == "failed":
        return []
    read, total = byte_size(found.read_bytes), byte_size(found.total_bytes)
    files, origin = numbers.files(found.total_files), numbers.shown_path(found.origin)
    if found.all_bytes:
        return [f"ok  contents: {total} in {files} match {origin}"]
    files = f"{found.compared_files:,} of {files}"
    rows = [f"ok  contents: {read} of {total}, {files}, match {origin}"]
    if found.never_bytes:
        rows.append(f"--  contents: {byte_size(found.never_bytes)} were never compared")
    if not found.ended:
        rows.append("stopped before the end; run it again with `--max-age` to go on")
    return rows
