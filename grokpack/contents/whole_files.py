"""Files against one sha256 sum each: by several threads, each file by one, for sums need order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import Finding
from grokpack.contents import reading
from grokpack.contents.check import UNREADABLE, Contents, Limits
from grokpack.errors import GrokpackError
from grokpack.events import Advanced, Finished, Listener, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class _Result:
    """How a file went."""

    nbytes: int
    ended: bool
    finding: Finding | None = None


def check_sums(
    checkpoint: Checkpoint,
    expected: Mapping[str, str],
    origin: str,
    limits: Limits,
    listen: Listener,
) -> Contents:
    """Read files and compare the sha256 of each.

    Args:
        checkpoint: Whose files.
        expected: The sum of each, in hex, by its path in the checkpoint.
        origin: Where the sums are from.
        limits: When it ends.
        listen: Receives progress.
    """
    sizes = {name: storage.size_of(checkpoint.path(name)) or 0 for name in expected}
    total, began = sum(sizes.values()), time.monotonic()
    listen(Started("contents", total))
    # The largest first: a thread left alone with one at the end would have no help.
    order = sorted(expected, key=lambda name: -sizes[name])
    work = _Judge(checkpoint, expected, sizes, limits.stopping, listen).judge
    threads = limits.workers or reading.workers(checkpoint.folder)
    results = list(reading.spread(work, order, threads))
    listen(Finished("contents", time.monotonic() - began))
    findings = [result.finding for result in results if result.finding]
    findings.sort(key=lambda finding: finding.file or "")
    read = sum(result.nbytes for result in results if result.ended)
    ended = all(result.ended for result in results)
    return Contents(tuple(findings), origin, total, read, total - read, ended)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Compares files; one serves all threads."""

    checkpoint: Checkpoint
    expected: Mapping[str, str]
    sizes: Mapping[str, int]
    stopping: Callable[[], bool]
    listen: Listener

    def judge(self, name: str) -> _Result:
        """How a file went."""
        nbytes = self.sizes[name]
        try:
            path = self.checkpoint.path(name)
            digest = reading.sha256(path, nbytes, self._advance, self.stopping)
        except GrokpackError as error:
            if error.code not in UNREADABLE:
                raise
            what = f"contents cannot be read: {error.what}"
            return _Result(nbytes, ended=True, finding=Finding("GP117", what, name))
        if digest is None:
            return _Result(nbytes, ended=False)
        if digest == self.expected[name]:
            return _Result(nbytes, ended=True)
        wrong = Finding(
            "GP110", "contents changed", name, None, f"sha256 {self.expected[name]}", digest
        )
        return _Result(nbytes, ended=True, finding=wrong)

    def _advance(self, nbytes: int) -> None:
        self.listen(Advanced(nbytes))
