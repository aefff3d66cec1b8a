"""Reading of many files or tiles by several workers, and what comparing them came to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from grokpack.core.progress import phase, watching
from grokpack.execution.workers import map_unordered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.core.events import Listener, Started
    from grokpack.core.finding import Finding
    from grokpack.execution.workers import Job
    from grokpack.verification.read_options import ReadOptions

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Result of reading contents.

    Attributes:
        findings: Ranges that differ or cannot be read.
        origin: Origin of the checksums, for people.
        total_bytes: Bytes of the checkpoint's files, recorded or not, and of recorded small files
            beside them.
        read_bytes: Bytes compared this time.
        never_bytes: Bytes that no check has compared yet.
        ended: Whether everything that was to be read was read.
        total_files: Number of these files.
        compared_files: Files of which every byte was compared this time.
        lists_all: Whether the list of checksums tells which files there should be.
    """

    findings: tuple[Finding, ...]
    origin: str
    total_bytes: int
    read_bytes: int
    never_bytes: int
    ended: bool
    total_files: int = 0
    compared_files: int = 0
    lists_all: bool = False

    @classmethod
    def of(
        cls,
        findings: Iterable[Finding],
        origin: str,
        sizes: Mapping[str, int],
        compared: Mapping[str, int],
        *,
        ended: bool,
    ) -> ReadResult:
        """Sum up what was compared of each file; what was not, no check is known to have compared.

        Args:
            findings: Findings of the comparison.
            origin: Origin of the checksums, for people.
            sizes: Bytes of every file, by name.
            compared: Bytes that were compared, of the files that could be.
            ended: Whether everything that was to be read was read.
        """
        total, read = sum(sizes.values()), sum(compared.values())
        whole = sum(compared.get(name) == nbytes for name, nbytes in sizes.items())
        return cls(tuple(findings), origin, total, read, total - read, ended, len(sizes), whole)

    @property
    def all_bytes(self) -> bool:
        """True if every byte of every file was compared this time."""
        all_files = self.compared_files == self.total_files
        return all_files and self.read_bytes == self.total_bytes

    def also(self, findings: Iterable[Finding]) -> ReadResult:
        """Return the result with more findings."""
        return replace(self, findings=(*self.findings, *findings))


def read_all(
    begin: Started,
    job: Job[S, T],
    items: Iterable[S],
    limits: ReadOptions,
    workers: int,
    listen: Listener,
) -> Iterator[T]:
    """Do the items of a job, and yield the result of each as it is ready.

    Args:
        begin: The phase, and the bytes that it reads.
        job: Reads and judges an item.
        items: What to read; those not begun when it is time to stop are left.
        limits: Workers, and when to end.
        workers: Threads, unless the limits say how many.
        listen: Receives progress.
    """
    with phase(begin, listen):
        watch = watching(listen, limits.stopping)
        yield from map_unordered(job, items, limits.pool(workers), watch)
