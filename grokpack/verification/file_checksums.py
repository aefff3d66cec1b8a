"""Check of whole files against one digest each, several files at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import SourceUnreadable
from grokpack.core.events import Finished, Listener, Started
from grokpack.core.finding import Finding
from grokpack.core.progress import watching
from grokpack.execution import worker_checks
from grokpack.execution.workers import Job, map_unordered
from grokpack.storage import hashing
from grokpack.verification import read_options
from grokpack.verification.verify_contents import ReadResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.core.progress import Watch
    from grokpack.verification.checksums.digests import Sum
    from grokpack.verification.read_options import ReadOptions


@dataclass(frozen=True, slots=True)
class _FileResult:
    """Result of one file."""

    nbytes: int
    ended: bool
    finding: Finding | None = None


def check_sums(
    checkpoint: ComparedFiles,
    expected: Mapping[str, Sum],
    origin: str,
    limits: ReadOptions,
    listen: Listener,
) -> ReadResult:
    """Read files and compare the digest of each; files of another size are not read.

    Args:
        checkpoint: The checkpoint with the files.
        expected: The digest of each file, by its path in the checkpoint.
        origin: Origin of the digests, for people.
        limits: When to end.
        listen: Receives progress.
    """
    sizes = {name: storage.size_of(checkpoint.path(name)) or 0 for name in expected}
    other = [name for name, own in expected.items() if own.nbytes not in (None, sizes[name])]
    total, began = sum(sizes.values()), time.monotonic()
    listen(Started("contents", total))
    # The largest first, so that no thread is left alone with one at the end.
    order = sorted(expected.keys() - set(other), key=lambda name: (-sizes[name], name))
    pool = read_options.pool(checkpoint.folder, limits)
    paths = {name: storage.absolute(checkpoint.path(name)) for name in order}
    sizes_by_path = {path: sizes[name] for name, path in paths.items()}
    job = Job(_Judge, (sizes_by_path, paths, expected), worker_checks.check_files)
    results = list(map_unordered(job, order, pool, watching(listen, limits.stopping)))
    listen(Finished("contents", time.monotonic() - began))
    findings = [result.finding for result in results if result.finding]
    findings += [_other_size(name, expected[name], sizes[name]) for name in other]
    findings.sort(key=lambda finding: finding.file or "")
    done = [result.nbytes for result in results if result.ended]
    read, ended = sum(done), len(done) == len(order)
    unlisted = [f.nbytes for f in checkpoint.layout.files() if f.path not in expected]
    total += sum(unlisted)
    files = len(expected) + len(unlisted)
    return ReadResult(tuple(findings), origin, total, read, total - read, ended, files, len(done))


def _other_size(name: str, own: Sum, nbytes: int) -> Finding:
    what = "file has another size than was published"
    return Finding("GP112", what, name, None, f"{own.nbytes:,} bytes", f"{nbytes:,} bytes")


@dataclass(frozen=True, slots=True)
class _Judge:
    """Comparer of files; one serves all threads of a process."""

    watch: Watch
    sizes: Mapping[str, int]
    paths: Mapping[str, str]
    expected: Mapping[str, Sum]

    def __call__(self, name: str) -> _FileResult:
        """Result of one file."""
        own, path = self.expected[name], self.paths[name]
        nbytes = self.sizes[path]
        try:
            digest = hashing.sum_of(own.digest(nbytes), path, nbytes, self.watch)
        except SourceUnreadable as error:
            what = f"contents cannot be read: {error.what}"
            return _FileResult(nbytes, ended=True, finding=Finding("GP117", what, name))
        if digest is None:
            return _FileResult(nbytes, ended=False)
        if digest == own.value:
            return _FileResult(nbytes, ended=True)
        wrong = Finding("GP110", "contents changed", name, None, f"{own.kind} {own.value}", digest)
        return _FileResult(nbytes, ended=True, finding=wrong)
