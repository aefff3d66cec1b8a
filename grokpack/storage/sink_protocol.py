"""Protocols of sinks, and the size limits of the files they write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from grokpack.storage.ownership import Mark, WrittenParts


PART_BYTES = 8 << 20
"""Size of a part of an upload: half a tile."""


MOST_OBJECT_BYTES = 10_000 * PART_BYTES
"""Largest file in a bucket: an upload has at most 10,000 parts."""


class FileWriter(Protocol):
    """Writer of one unfinished file."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data` at `offset`."""

    def sync(self) -> None:
        """Make the written bytes durable, as far as they are whole tiles or end the file."""

    def mark(self) -> Mark | None:
        """Return a mark that shows later whether others wrote to the file; None without one."""

    def close(self) -> None:
        """Release the writer's resources."""


class Sink(Protocol):
    """Destination of files that get their names only when they are whole."""

    @property
    def held_bytes(self) -> int:
        """Memory that a writer holds, beside the bytes that it is given."""

    def prepare(self) -> None:
        """Check that the destination can be written to, before the first byte."""

    def create(self, path: str, nbytes: int, known: int | None = None) -> int | None:
        """Begin a file of a given size, unless it is begun; one of size 0 is begun anew.

        Args:
            path: The file.
            nbytes: Its size.
            known: The result of an earlier call for the file.

        Returns:
            An identity of the file that was begun; None without one.
        """

    def reopen(self, path: str, written: WrittenParts, lost: set[int]) -> None:
        """Make a begun or published file ready to be written again.

        Args:
            path: The file.
            written: The parts of it that were written.
            lost: Tiles that are missing; if it is all of them, the file is removed.
        """

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Return what another process needs to write to begun files as well."""

    def accept(self, tickets: Mapping[str, str]) -> None:
        """Accept tickets of another process."""

    def writer(self, path: str, nbytes: int | None) -> FileWriter:
        """Return a writer for a begun file; without a size, one that writes in order."""

    def lost_tiles(self, path: str, written: WrittenParts) -> set[int]:
        """Return the tiles of a file that were written and are missing now."""

    def lost_files(self, files: Mapping[str, WrittenParts], *, published: bool) -> list[str]:
        """Return those whole files that are not as they were written, as far as that is visible.

        Args:
            files: The written parts of each.
            published: True if all of them have their names.
        """

    def publish(self, path: str, nbytes: int) -> None:
        """Give a file its name, unless it has it already."""

    def each(self, work: Callable[[str], object], paths: Sequence[str]) -> None:
        """Apply a function to many files, in parallel where each waits for a response."""

    def settle(self, folders: set[str]) -> None:
        """Make the names in folders durable."""

    def write_whole(self, path: str, data: bytes) -> None:
        """Write a small file atomically: it is absent, the old one, or complete."""

    def size_of(self, path: str) -> int | None:
        """Return the size of a published file; None if there is none."""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""

    def is_free_or_own(self, path: str, written: WrittenParts | None, inode: int | None) -> bool:
        """Return whether a path is free, or provably holds the run's own file."""

    def foreign_files(self, root: str, own: Collection[str]) -> list[str]:
        """Return what lies below a folder beside these files."""

    def discard(self, root: str, paths: Sequence[str]) -> None:
        """Remove files, and the folders below a root that this empties."""
