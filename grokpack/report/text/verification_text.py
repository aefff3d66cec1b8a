"""Text of `grokpack verify`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import companion_files, manifest_file
from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.errors import OtherFormat, SourceUnreadable
from grokpack.core.escaping import escape_line
from grokpack.core.finding import alike, of_kinds, only_errors
from grokpack.report.text import numbers
from grokpack.report.text.name_ranges import name_ranges
from grokpack.report.text.shown_paths import shown_path
from grokpack.verification import tokenizer_findings
from grokpack.verification.download_state import progress
from grokpack.verification.repair import release_downloads, renaming_commands, repair_command

if TYPE_CHECKING:
    from grokpack.core.finding import Finding
    from grokpack.verification.download_state import Progress
    from grokpack.verification.verify_structure import Verdict

_MOST_SHOWN = 50  # findings; more say nothing new
_MOST_RANGES = 6  # of names, before the rest is counted


def render(verdict: Verdict, seconds: float) -> str:
    """Render findings, the verdict, and what to do."""
    lines: list[str] = []
    kinds = alike(verdict.findings, lambda one: (one.severity, one.code, one.message))
    for kind in kinds[:_MOST_SHOWN]:
        own = _finding(verdict, kind[0]) if len(kind) == 1 else _together(verdict, kind)
        lines += [own, ""]
    more = sum(map(len, kinds[_MOST_SHOWN:]))
    lines += [f"{numbers.others(more, 'finding')} (`--json` has all)", ""] if more else []
    lines += _verdict(verdict, seconds)
    return "\n".join([*lines, *_advice(verdict)])


def _advice(verdict: Verdict) -> list[str]:
    """Say what to do about what is wrong."""
    fix, renaming = repair_command(verdict), renaming_commands(verdict)
    superfluous: set[str | None] = {*verdict.superfluous_files}
    lines = ["", "hint: rename what is here under another name, then verify"] if renaming else []
    lines += [f"      {command}" for command in renaming[:_MOST_SHOWN]]
    if fix and progress(verdict) is not None:
        lines += ["", "hint: go on with the download; what is whole stays", f"      {fix}"]
    elif fix:
        lines += ["", "hint: fetch just these again, then verify", f"      {fix}"]
    elif verdict.unreadable:
        lines += ["", "hint: look at permissions, links and mounts; then verify again"]
    elif of_kinds(verdict.findings, OtherFormat.CODE):
        lines += ["", "hint: fetch the files themselves: `git lfs pull` in a clone; or a release"]
        lines += [f"      {command}" for command in release_downloads(verdict)]
    elif of_kinds(verdict.findings, "GP116"):
        lines += ["", "hint: restore them, or make the view anew: `--to view --restart`"]
    elif not renaming and {f.file for f in only_errors(verdict.findings)} - superfluous:
        lines += ["", "hint: fetch the files named above again from where they came from"]
    elif verdict.whole:
        lines += _companions_advice(verdict)
    return [*lines, *_superfluous(verdict)]


def _companions_advice(verdict: Verdict) -> list[str]:
    """Say what to do about a config or a tokenizer that is missing or says too little."""
    found = of_kinds(verdict.findings, "GP131", tokenizer_findings.CODE)
    names = dict.fromkeys(f.file for f in found if f.file and companion_files.is_one(f.file))
    listed = " and ".join(escape_line(name) for name in names)
    return ["", f"hint: put the model's own {listed} beside the weights"] if names else []


def _superfluous(verdict: Verdict) -> list[str]:
    """Say what to do with files that do not belong to the model: no other copy would."""
    names = list(map(escape_line, verdict.superfluous_files))
    if not names:
        return []
    few = names if len(names) <= _MOST_RANGES else [f"the {len(names)} files of GP102"]
    return ["", f"hint: move out of the folder: {', '.join(few)}"]


def _together(verdict: Verdict, kind: list[Finding]) -> str:
    """Say once what was found of many files, and list them by ranges of their names."""
    first, files = kind[0], dict.fromkeys(f.file or f.tensor or "" for f in kind)
    ranges = name_ranges(files)
    more = [f"and {len(ranges) - _MOST_RANGES} more"] if len(ranges) > _MOST_RANGES else []
    of = counted(len(files), "file" if first.file else "tensor")
    lines = [
        f"{first.severity}[{first.code}]: {first.message}: {of}",
        f"  --> {shown_path(verdict.survey.place)}",
        *(f"      {escape_line(names)}" for names in [*ranges[:_MOST_RANGES], *more]),
    ]
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
    place = shown_path(verdict.survey.place)
    if not finding.file:
        return place
    file = escape_line(finding.file)
    return place if os.path.basename(place) == file else f"{place}/{file}"


def _damage(verdict: Verdict) -> str:
    bad, expected = len(verdict.damaged_files), verdict.survey.expected
    if not bad:
        count = len(only_errors(verdict.findings))
        return f"not whole: {counted(count, 'error')}, listed above"
    others, state = expected - bad, progress(verdict)
    if state is not None:
        are = "is" if bad == 1 else "are"
        lacking = f"{bad} of {counted(expected, 'file')} {are} not here whole"
        return f"incomplete: {lacking}{_arrived(state)}"
    if verdict.unreadable:
        return f"not known: {bad} of {counted(expected, 'file')} cannot be read"
    unread = len({f.file for f in of_kinds(verdict.findings, SourceUnreadable.CODE)})
    also = f"; {unread} of these cannot be read, which says nothing of them" if unread else ""
    rest = "is as it should be" if others == 1 else "are as they should be"
    tail = f"; the other {others} {rest}" if others else ""
    return f"damaged: {bad} of {counted(expected, 'file')}{also}{tail}"


def _arrived(state: Progress) -> str:
    """Say how much of a download is there, and how many of its files have been begun."""
    count = state.on_their_way
    begun = f"; {count} {'is on its' if count == 1 else 'are on their'} way" if count else ""
    if not state.total or state.here is None:
        return begun
    missing, total = byte_size(state.total - state.here), byte_size(state.total)
    share = 100 * state.here // state.total
    return f"; {missing} of {total} are missing, {share}% are here{begun}"


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
        which = "values" if verdict.whole else "values of the tensors that are whole"
        rows.append(f"ok  {which}: no NaN, no infinities, every scale positive")
    if verdict.checks["values"] == "partial" and verdict.counted is not None:
        read, total = verdict.counted
        sound = "; nothing is wrong in those" if read else ""
        rows.append(f"--  values: {read:,} of {total:,} were read before the time was over{sound}")
    if verdict.checks["values"] == "skipped" and verdict.whole and verdict.contents is None:
        rows.append("--  values: not read; `--values` reads them all")
    rows += _ranks(verdict)
    if not verdict.whole:
        rows.append(_damage(verdict))
    return rows


def _files(verdict: Verdict) -> str:
    """Count the files, and say of which family of models they are."""
    checkpoint, count = verdict.survey.checkpoint, counted(verdict.survey.expected, "file")
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
    files, origin = counted(found.total_files, "file"), shown_path(found.origin)
    if found.all_bytes:
        return [f"ok  contents: {total} in {files} match {origin}"]
    files = f"{found.compared_files:,} of {files}"
    rows = [f"ok  contents: {read} of {total}, {files}, match {origin}"]
    if found.never_bytes:
        rows.append(f"--  contents: {byte_size(found.never_bytes)} were never compared")
    if not found.ended:
        rows.append("stopped before the end; run it again with `--max-age` to go on")
    return rows
