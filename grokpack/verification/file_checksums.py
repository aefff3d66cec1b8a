"""Check of whole files against one digest each, several files at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import SourceUnreadable
from grokpack.core.events import Listener, Started
from grokpack.core.finding import Finding
from grokpack.execution import worker_checks
from grokpack.execution.workers import Job
from grokpack.storage import hashing
from grokpack.storage.reading_threads import threads
from grokpack.verification.content_findings import size_finding, unreadable_finding
from grokpack.verification.read_and_compare import ReadResult, read_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.core.progress import Watch
    from grokpack.verification.checksum_lists.digests import ExpectedDigest
    from grokpack.verification.read_options import ReadOptions


@dataclass(frozen=True, slots=True)
class _FileResult:
    """Result of one file; `ended` is False if reading it was stopped."""

    name: str
    ended: bool
    finding: Finding | None = None


def check_sums(
    checkpoint: ComparedFiles,
    expected: Mapping[str, ExpectedDigest],
    origin: str,
    limits: ReadOptions,
    listen: Listener,
) -> ReadResult:
    """Read files and compare the digest of each; files of another size are not read.

    Args:
        checkpoint: The checkpoint with the files.
        expected: The digest of each file, by its path in the checkpoint.
        origin: Origin of the digests, for people.
        limits: Options of reading; here, when to end.
        listen: Receives progress.
    """
    sizes = {name: storage.size_of(checkpoint.path(name)) or 0 for name in expected}
    other = [name for name, own in expected.items() if own.nbytes not in (None, sizes[name])]
    # The largest first, so that no thread is left alone with one at the end.
    order = sorted(expected.keys() - set(other), key=lambda name: (-sizes[name], name))
    paths = {name: storage.absolute(checkpoint.path(name)) for name in order}
    sizes_by_path = {path: sizes[name] for name, path in paths.items()}
    begin = Started("contents", sum(sizes.values()))
    job = Job(_Judge, (sizes_by_path, paths, expected), worker_checks.check_files)
    results = list(read_all(begin, job, order, limits, threads(checkpoint.folder), listen))
    findings = [result.finding for result in results if result.finding]
    findings += [
        size_finding(name, expected[name].nbytes, sizes[name], "was published") for name in other
    ]
    findings.sort(key=lambda finding: finding.file or "")
    compared = {result.name: sizes[result.name] for result in results if result.ended}
    sizes |= {f.path: f.nbytes for f in checkpoint.layout.files() if f.path not in expected}
    return ReadResult.of(findings, origin, sizes, compared, ended=len(compared) == len(order))


@dataclass(frozen=True, slots=True)
class _Judge:
    """Comparison of files; one object serves all threads of a process."""

    watch: Watch
    sizes: Mapping[str, int]
    paths: Mapping[str, str]
    expected: Mapping[str, ExpectedDigest]

    def __call__(self, name: str) -> _FileResult:
        """Compare one file."""
        own, path = self.expected[name], self.paths[name]
        nbytes = self.sizes[path]
        try:
            digest = hashing.sum_of(own.digest(nbytes), path, nbytes, self.watch)
        except SourceUnreadable as error:
            return _FileResult(name, ended=True, finding=unreadable_finding(name, error.what))
        if digest is None:
            return _FileResult(name, ended=False)
        if digest == own.value:
            return _FileResult(name, ended=True)
        wrong = Finding("GP110", "contents changed", name, None, f"{own.kind} {own.value}", digest)
        return _FileResult(name, ended=True, finding=wrong)
