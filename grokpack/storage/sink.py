"""Protocols of sinks, and the size limits of what they write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from grokpack.storage.ownership import Mark, Written


PART_BYTES = 8 << 20


MOST_OBJECT_BYTES = 10_000 * PART_BYTES
"""Largest file in a bucket: an upload has at most 10,000 parts."""


class FileWriter(Protocol):
    """Takes bytes of one file that is being written."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data` at `offset`."""

    def sync(self) -> None:
        """Make what was written durable, as far as it is whole tiles or ends the file."""

    def mark(self) -> Mark | None:
        """What tells later whether others have written to the file; None where nothing does."""

    def close(self) -> None:
        """Give back what the writer holds."""


class Sink(Protocol):
    """A place for files that get their names only when they are whole."""

    @property
    def held_bytes(self) -> int:
        """Memory that a writer holds, beside what it is given."""

    def prepare(self) -> None:
        """See that the place can be written to, before the first byte."""

    def create(self, path: str, nbytes: int, known: int | None = None) -> int | None:
        """Begin a file of a size, unless it is begun; one of size 0 is begun anew.

        Args:
            path: The file.
            nbytes: Its size.
            known: What an earlier call returned for the file.

        Returns:
            What tells the file that was begun from others; None where nothing does.
        """

    def reopen(self, path: str, written: Written, lost: set[int]) -> None:
        """Make a file ready to be written again, whether it is begun or published.

        Args:
            path: The file.
            written: What was written of it.
            lost: Which tiles are not there any more; where it is all, what is there is removed.
        """

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:
        """What another process must know of files that are begun, to write to them as well."""

    def accept(self, tickets: Mapping[str, str]) -> None:
        """Take such tickets."""

    def writer(self, path: str, nbytes: int | None) -> FileWriter:
        """A writer for a file that is begun; without a size, one that writes it in order."""

    def lost_tiles(self, path: str, written: Written) -> set[int]:
        """Tiles of a file that were written and are not there any more, begun or published."""

    def lost_files(self, files: Mapping[str, Written], *, published: bool) -> list[str]:
        """Those of whole files that are not there as they were written, as far as that is told.

        Args:
            files: What was written of each.
            published: Whether all of them have their names.
        """

    def publish(self, path: str, nbytes: int) -> None:
        """Give a file its name; nothing changes where it has it."""

    def each(self, work: Callable[[str], object], paths: Sequence[str]) -> None:
        """Do the same for many files, at the same time where each waits for an answer."""

    def settle(self, folders: set[str]) -> None:
        """Make the names in folders durable."""

    def write_whole(self, path: str, data: bytes) -> None:
        """Write a small file so that it is either absent, or the old one, or complete."""

    def size_of(self, path: str) -> int | None:
        """Size of a published file; None where there is none."""

    def names(self, folder: str) -> list[str]:
        """What is in a folder."""

    def proves(self, path: str, written: Written | None, inode: int | None) -> bool:
        """Whether a path is free, or what is there is proven to be what was written."""

    def strangers(self, root: str, own: Collection[str]) -> list[str]:
        """What is below a folder beside these files."""

    def discard(self, root: str, paths: Sequence[str]) -> None:
        """Remove files that are there, and the folders below a root that this empties."""
