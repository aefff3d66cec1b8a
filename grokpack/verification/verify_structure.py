"""Check of a checkpoint's structure: files, framing, shapes, duplicates, recorded sizes."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import (
    companion_files,
    manifest_records,
    open_checkpoint,
    unparsed_files,
)
from grokpack.checkpoint.checkpoint import Survey, array_slices
from grokpack.checkpoint.readers import expected_counts
from grokpack.core.counts import counted
from grokpack.core.errors import (
    NO_FAULT_OF_FILES,
    GrokpackError,
    NothingThere,
    SourceUnreadable,
    UnfinishedOutput,
)
from grokpack.core.exit_status import ExitStatus
from grokpack.core.finding import Finding, of_kinds, only_errors
from grokpack.core.tiles import SAMPLE_BYTES, tile_count, tile_range
from grokpack.formats import zstd_seekable
from grokpack.models import registry
from grokpack.storage import hashing
from grokpack.verification import content_findings, tokenizer_findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.checkpoint.manifest_records import Record
    from grokpack.core.documents.verification_json import CheckResult, VerificationStatus
    from grokpack.core.layout import ArraySlice, FileLayout
    from grokpack.core.paths import StrPath
    from grokpack.verification.read_and_compare import ReadResult

_COMPARE_BYTES = 4 << 20
_SHORT_BYTES = 1 << 20  # of last tiles, of which several are in memory at a time
_OF_CONTENTS = ("GP110", "GP117")  # findings about contents, not about names, headers or sizes


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict of a verification.

    Attributes:
        survey: The survey of the headers.
        findings: All findings, the survey's first.
        checks: Result of each check: `ok`, `failed`, `skipped`, or `partial` if a part was read
            and nothing was wrong.
        contents: Result of reading the files, if they were read.
        counted: Numbers of values, scales among them, that were read and that were to be; None if
            values were not asked for.
        refusal: The reason why the headers cannot be read; None if they can.
    """

    survey: Survey
    findings: tuple[Finding, ...]
    checks: dict[str, CheckResult]
    contents: ReadResult | None = None
    counted: tuple[int, int] | None = None
    refusal: GrokpackError | None = None

    def __repr__(self) -> str:
        checks = ", ".join(f"{name} {result}" for name, result in self.checks.items())
        found = counted(len(self.findings), "finding")
        return f"<Verdict {self.survey.place}: {self.word}; {checks}; {found}>"

    @property
    def whole(self) -> bool:
        """True if no error was found."""
        return not only_errors(self.findings)

    @property
    def unreadable(self) -> bool:
        """True if all that is wrong is that files cannot be read, which says nothing of them."""
        wrong = only_errors(self.findings)
        return bool(wrong) and of_kinds(wrong, SourceUnreadable.CODE) == wrong

    @property
    def complete(self) -> bool | None:
        """True if all files are there; None if nothing tells how many there should be."""
        if not self.whole:
            return False
        listed = self.contents is not None and self.contents.lists_all
        return True if self.survey.count_source or listed else None

    @property
    def ended(self) -> bool:
        """True if nothing that was to be read was left out for want of time."""
        contents = self.contents is None or self.contents.ended
        return contents and self.checks["values"] != "partial"

    @property
    def word(self) -> VerificationStatus:
        """Verdict in a word.

        `whole` covers all files and, if contents were read, all bytes. `ok` says that nothing is
        wrong with the files that are there, but not whether these are all.
        """
        if not self.whole:
            return "unreadable" if self.unreadable else "damaged"
        if not self.ended:
            return "unfinished"
        partial = self.contents is not None and self.contents.never_bytes
        unlisted = of_kinds(self.findings, "GP118")
        return "whole" if self.complete and not partial and not unlisted else "ok"

    @property
    def bad_files(self) -> list[str]:
        """Files with an error, in order."""
        return sorted({f.file for f in only_errors(self.findings) if f.file})

    @property
    def superfluous_files(self) -> list[str]:
        """Files with an error that belong to no tensor of the model, and have no other name."""
        found = of_kinds(only_errors(self.findings), "GP102")
        return sorted({f.file for f in found if f.file and not f.tensor and not f.expected})

    @property
    def damaged_files(self) -> list[str]:
        """Files with an error that hold weights: no config, no tokenizer, and no foreign file."""
        strange = {f.file for f in of_kinds(self.findings, tokenizer_findings.CODE)}
        strange |= {f.file for f in of_kinds(self.findings, "GP102") if not f.tensor}
        own = [f for f in self.bad_files if f not in strange and not companion_files.is_one(f)]
        return own[: self.survey.expected]


def look(path: str, head_dim: int | None = None) -> Verdict:
    """Check the structure of the checkpoint at a path, damaged or not.

    If its headers cannot be read at all, its manifest decides: a difference is damage. The verdict
    then has the refusal, which stands if nothing differs.

    Args:
        path: A checkpoint.
        head_dim: Size of an attention head, where no config.json tells it.

    Raises:
        GrokpackError: GP201 where there is nothing, GP212 for the output of a run that is not
            finished, and where no answer comes from a server.
    """
    try:
        return verify_structure(open_checkpoint.survey(path, head_dim), path)
    except (*NO_FAULT_OF_FILES, NothingThere, UnfinishedOutput):
        raise
    except GrokpackError as error:
        if error.exit_status is not ExitStatus.SOURCE:
            raise
        return _unread(path, error)


def _unread(path: str, error: GrokpackError) -> Verdict:
    """Make the verdict on files that cannot be read as a checkpoint."""
    files = unparsed_files.listed(path)
    own = manifest_records.own(files) if files else None
    findings: list[Finding] = []
    if files is not None and own is not None:
        doubt = Finding(error.code, error.what)
        findings = [*expected_counts.listed(files, own), *against_manifest(files, [doubt])]
    count = 0 if own is None else len(own.files) + len(own.absent)
    found = Survey(files.folder if files else path, "unknown", count, tuple(findings), None)
    return Verdict(found, tuple(findings), _checks("failed"), refusal=error)


def verify_structure(survey: Survey | Checkpoint | StrPath, path: str | None = None) -> Verdict:
    """Check everything that can be known without reading the payload.

    Beyond the survey it looks for duplicate tensors and, if there is a manifest, compares the size
    and the last tile of every file, which in the release holds the scales.

    Args:
        survey: The survey of the headers, the checkpoint itself, or its path.
        path: The path that the user gave, if that is not the checkpoint's folder.
    """
    survey = open_checkpoint.surveyed(survey)
    findings = list(survey.findings)
    checkpoint = survey.checkpoint
    if checkpoint is not None:
        findings += duplicates(checkpoint)
        findings += _twice(checkpoint)
        findings += tokenizer_findings.findings(checkpoint)
    files: ComparedFiles | None = checkpoint or unparsed_files.listed(survey.folder)
    findings += against_manifest(files or unparsed_files.listed(path or survey.folder), findings)
    if checkpoint is None and not findings:
        what = "the tensors do not tell a model's dimensions"
        embedding = registry.by_config({}).rule("embedding").path
        findings.append(Finding("GP210", what, None, embedding))
    return Verdict(survey, tuple(findings), _checks("failed" if only_errors(findings) else "ok"))


def _checks(structure: CheckResult) -> dict[str, CheckResult]:
    return {"structure": structure, "contents": "skipped", "values": "skipped"}


def _twice(checkpoint: Checkpoint) -> list[Finding]:
    """Find files that are there both plain and compressed; the compressed one is not read."""
    files = list(checkpoint.layout.files())
    folders = {os.path.dirname(checkpoint.path(file.path)) for file in files}
    there = {os.path.join(folder, name) for folder in folders for name in storage.names(folder)}
    return [
        Finding("GP114", f"{path}.zst lies beside it, and is not read", path, severity="warning")
        for path in (file.path for file in files)
        if (full := checkpoint.path(path)) + zstd_seekable.SUFFIX in there
        and storage.stored(full) == full  # a name in an index need not be a file
    ]


def duplicates(checkpoint: Checkpoint) -> list[Finding]:
    """Find files of equal contents: one was copied over another.

    They are looked for where each file holds a tensor, or a rank's slices of many: headers tell the
    others apart. Arrays of one value throughout do not count: sparse layouts and fresh norms have
    them.
    """
    seen: dict[tuple[int, bytes], list[tuple[FileLayout, ArraySlice]]] = defaultdict(list)
    findings = []
    if checkpoint.format != "ckpt-0" and checkpoint.ranks == 1:
        return []
    files = list(checkpoint.layout.files())
    samples = storage.map_all(checkpoint.folder, lambda file: _sample(checkpoint, file), files)
    for file, (name, own, sample) in zip(files, samples, strict=True):
        width = own.dtype.itemsize
        if sample[width:] == sample[:-width]:
            continue
        for other, held in seen[own.nbytes, sample]:
            if (held.array, held.box) == (own.array, own.box):  # the whole array on every host
                continue
            if _equal(checkpoint, file, other):
                findings.append(
                    Finding("GP109", f"file holds the same bytes as {other.path}", file.path, name)
                )
                break
        seen[own.nbytes, sample].append((file, own))
    return findings


def _sample(checkpoint: Checkpoint, file: FileLayout) -> tuple[str, ArraySlice, bytes]:
    """Return the name of a file's first slice, the slice, and the beginning of its bytes."""
    name, (offset, own) = next(iter(array_slices(file).items()))
    data = storage.FileBytes(checkpoint.path(file.path))
    return name, own, data.read(offset, min(SAMPLE_BYTES, own.nbytes))


def _equal(checkpoint: Checkpoint, one: FileLayout, other: FileLayout) -> bool:
    if one.nbytes != other.nbytes:
        return False
    left, right = (storage.FileBytes(checkpoint.path(f.path)) for f in (one, other))
    return all(
        left.read(at, n) == right.read(at, n)
        for at in range(0, one.nbytes, _COMPARE_BYTES)
        for n in (min(_COMPARE_BYTES, one.nbytes - at),)
    )


def against_manifest(files: ComparedFiles | None, findings: Sequence[Finding]) -> list[Finding]:
    """Find sizes and tiles that differ from the manifest's; none without a manifest.

    The last tile of every file is read, and of small files beside them the size. If something is
    wrong, these are read too; if no finding names a file, first tiles as well. A file with an
    unreadable header has its finding already.

    Args:
        files: The files to compare.
        findings: Earlier findings.
    """
    known = manifest_records.own(files) if files else None
    if known is None:
        return []
    bad = {f.file for f in only_errors(findings)}
    bad |= {name + zstd_seekable.SUFFIX for name in bad if name}  # its compressed form
    rows = [r for r in known.files if r.file.segments or r.file.path not in bad]
    beside = [r for r in known.sidecars if not {r.file.path, os.path.basename(r.path)} & bad]
    beside = [r for r in beside if os.path.basename(r.path) != companion_files.CARD]
    sizes = _sizes(beside)
    small = [r for r in beside if bad and sizes[r.path] == r.nbytes]
    return [
        *content_findings.size_findings(beside, sizes),
        *content_findings.unlisted_finding(known.unknown),
        *_ends([*rows, *small]),
        *_beginnings([*rows, *small] if None in bad else ()),
    ]


def _sizes(records: Sequence[Record]) -> dict[str, int | None]:
    """Return the size of each file by its path; None for one that is gone."""
    paths = [record.path for record in records]
    found = storage.map_all(paths[0], storage.size_of, paths) if paths else []
    return dict(zip(paths, found, strict=True))


def _beginnings(rows: Iterable[Record]) -> Iterator[Finding]:
    """Find files whose first tile, which holds the header, differs from the manifest's.

    A file that is one tile long has no other.
    """
    for record in rows:
        if len(record.tiles) > 1 and storage.stamp(record.path)[0] == record.nbytes:
            found = hashing.tile_sum(record.path, 0, record.nbytes)
            if found != record.tiles[0]:
                what = "contents changed: the first tile differs from the manifest"
                where = f"bytes 0 to {tile_range(0, record.nbytes)[1]:,}"
                yield Finding("GP110", what, record.file.path, None, None, where)


def _ends(rows: Sequence[Record]) -> list[Finding]:
    """Find files whose size or last tile differs from the manifest's.

    Short tiles are read several at a time from a server, where each waits for a response.
    """
    if not rows:
        return []
    owners = {record.tail: record.file.path for record in rows}
    short = [row for row in rows if _last_tile_bytes(row) <= _SHORT_BYTES]
    ends = storage.map_all(rows[0].path, lambda row: _end(row, owners), short)
    early = dict(zip((row.path for row in short), ends, strict=True))
    found = [early[row.path] if row.path in early else _end(row, owners) for row in rows]
    return [finding for finding in found if finding is not None]


def _last_tile_bytes(record: Record) -> int:
    start, stop = tile_range(tile_count(record.nbytes) - 1, record.nbytes)
    return stop - start


def _end(record: Record, owners: dict[str, str]) -> Finding | None:
    """Compare the size and the last tile of a file; `owners` are the files of other last tiles."""
    file, nbytes = record.file, storage.stamp(record.path)[0]
    if nbytes != record.nbytes:
        return content_findings.size_finding(file.path, record.nbytes, nbytes)
    found = hashing.tile_sum(record.path, tile_count(nbytes) - 1, nbytes) if record.tail else ""
    return None if found == record.tail else _changed(file, nbytes, owners.get(found))


def _changed(file: FileLayout, nbytes: int, owner: str | None) -> Finding:
    if owner and owner != file.path:
        return Finding(
            "GP108",
            f"file holds the tensor of {owner}: swapped, or copied over",
            file.path,
            None,
            f"contents of {file.path}",
            f"contents of {owner}",
        )
    start, stop = tile_range(tile_count(nbytes) - 1, nbytes)
    return Finding(
        "GP110",
        "contents changed: the last tile differs from the manifest",
        file.path,
        None,
        None,
        f"bytes {start:,} to {stop:,}",
    )


def with_contents(verdict: Verdict, contents: ReadResult) -> Verdict:
    """Add the result of reading the files to a verdict.

    Findings about all tiles replace those about last tiles. A file that was swapped differs
    everywhere, which need not be said again.
    """
    swapped = {finding.file for finding in of_kinds(verdict.findings, "GP108")}
    repeated = [f for f in of_kinds(contents.findings, "GP110") if f.file in swapped]
    fresh = [finding for finding in contents.findings if finding not in repeated]
    seen = {(finding.code, finding.file) for finding in fresh}
    kept = [finding for finding in verdict.findings if (finding.code, finding.file) not in seen]
    checks = dict(verdict.checks)
    checks["contents"] = (
        "failed" if only_errors(contents.findings) else "ok" if contents.all_bytes else "partial"
    )
    if verdict.refusal is None:
        of_structure = only_errors((*kept, *fresh), besides=_OF_CONTENTS)
        checks["structure"] = "failed" if of_structure else "ok"
    return replace(verdict, findings=(*kept, *fresh), checks=checks, contents=contents)
