"""Files against one sum each: by several threads, each file by one, for sums need order."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from grokpack import elsewhere, storage
from grokpack.checkpoint import Finding
from grokpack.contents import reading
from grokpack.contents.check import UNREADABLE, Contents
from grokpack.engines import Job, spread, watching
from grokpack.errors import GrokpackError
from grokpack.events import Finished, Listener, Started

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.contents.limits import Limits
    from grokpack.contents.places import Files
    from grokpack.engines import Watch


class Digest(Protocol):
    """What hashlib's objects do."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in bytes."""

    def hexdigest(self) -> str:
        """The sum so far."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What a file's bytes must hash to.

    Attributes:
        kind: `sha256`, or `git`: the sha1 that git names a blob by.
        value: In hex.
        nbytes: The file's size; None where that is not said.
    """

    kind: str
    value: str
    nbytes: int | None = None

    def digest(self, nbytes: int) -> Digest:
        """What sums a file of so many bytes."""
        if self.kind == "sha256":
            return hashlib.sha256()
        head = f"blob {nbytes}\0".encode()
        return hashlib.sha1(head, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class _Result:
    """How a file went."""

    nbytes: int
    ended: bool
    finding: Finding | None = None


def check_sums(
    checkpoint: Files,
    expected: Mapping[str, Sum],
    origin: str,
    limits: Limits,
    listen: Listener,
) -> Contents:
    """Read files and compare the sum of each; those of another size are not read.

    Args:
        checkpoint: Whose files.
        expected: The sum of each, by its path in the checkpoint.
        origin: Where the sums are from.
        limits: When it ends.
        listen: Receives progress.
    """
    sizes = {name: storage.size_of(checkpoint.path(name)) or 0 for name in expected}
    other = [name for name, own in expected.items() if own.nbytes not in (None, sizes[name])]
    total, began = sum(sizes.values()), time.monotonic()
    listen(Started("contents", total))
    # The largest first: a thread left alone with one at the end would have no help.
    order = sorted(expected.keys() - set(other), key=lambda name: (-sizes[name], name))
    crew = reading.crew(checkpoint.folder, limits)
    paths = {name: storage.absolute(checkpoint.path(name)) for name in order}
    sizes_by_path = {path: sizes[name] for name, path in paths.items()}
    job = Job(_Judge, (sizes_by_path, paths, expected), elsewhere.see_files)
    results = list(spread(job, order, crew, watching(listen, limits.stopping)))
    listen(Finished("contents", time.monotonic() - began))
    findings = [result.finding for result in results if result.finding]
    findings += [_other_size(name, expected[name], sizes[name]) for name in other]
    findings.sort(key=lambda finding: finding.file or "")
    done = [result.nbytes for result in results if result.ended]
    read, ended = sum(done), len(done) == len(order)
    unlisted = [f.nbytes for f in checkpoint.layout.files() if f.path not in expected]
    total += sum(unlisted)
    files = len(expected) + len(unlisted)
    return Contents(tuple(findings), origin, total, read, total - read, ended, files, len(done))


def _other_size(name: str, own: Sum, nbytes: int) -> Finding:
    what = "file has another size than was published"
    return Finding("GP112", what, name, None, f"{own.nbytes:,} bytes", f"{nbytes:,} bytes")


@dataclass(frozen=True, slots=True)
class _Judge:
    """Compares files; one serves all threads of a process."""

    watch: Watch
    sizes: Mapping[str, int]
    paths: Mapping[str, str]
    expected: Mapping[str, Sum]

    def __call__(self, name: str) -> _Result:
        """How a file went."""
        own, path = self.expected[name], self.paths[name]
        nbytes = self.sizes[path]
        try:
            digest = reading.sum_of(own.digest(nbytes), path, nbytes, self.watch)
        except GrokpackError as error:
            if error.code not in UNREADABLE:
                raise
            what = f"contents cannot be read: {error.what}"
            return _Result(nbytes, ended=True, finding=Finding("GP117", what, name))
        if digest is None:
            return _Result(nbytes, ended=False)
        if digest == own.value:
            return _Result(nbytes, ended=True)
        wrong = Finding("GP110", "contents changed", name, None, f"{own.kind} {own.value}", digest)
        return _Result(nbytes, ended=True, finding=wrong)
