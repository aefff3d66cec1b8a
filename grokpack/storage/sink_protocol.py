"""Protocols of sinks, the size limits of the files they write, and what may be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from grokpack.core.events import Listener
    from grokpack.storage.change_detection import FileMark, WrittenParts


PART_BYTES = 8 << 20
"""Size of a part of an upload: half a tile."""


MOST_OBJECT_BYTES = 10_000 * PART_BYTES
"""Largest file in a bucket: an upload has at most 10,000 parts."""


MOST_LFS_BYTES = 50 * 10**9
"""Largest file in a repository of the hub, which takes no more over LFS."""


@dataclass(frozen=True, slots=True)
class PublishingOptions:
    """Choices of an output to the hub.

    Attributes:
        keep_local: Keep the files in the local folder as well.
        private: Let only the owner see the repository.
    """

    keep_local: bool = False
    private: bool = False


class FileWriter(Protocol):
    """Writer of one unfinished file."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data` at `offset`."""

    def sync(self) -> None:
        """Make the written bytes durable, as far as they are whole tiles or end the file."""

    def mark(self) -> FileMark | None:
        """Return a mark that shows later whether others wrote to the file; None without one."""

    def close(self) -> None:
        """Release the writer's resources."""


class Sink(Protocol):
    """Destination of files that get their names only when they are whole."""

    @property
    def held_bytes(self) -> int:
        """Memory that a writer holds, beside the bytes that it is given."""

    @property
    def client_bytes(self) -> int:
        """Memory of a client: its modules, its connections, and what it sends at a time."""

    @property
    def disk(self) -> str | None:
        """Folder on whose disk files are made; None if they are made elsewhere."""

    @property
    def waiting_bytes(self) -> int | None:
        """Bytes of whole files that are on the disk at most; None if all of them stay."""

    @property
    def offer(self) -> Callable[[Mapping[str, WrittenParts], Listener], None] | None:
        """Function that publishes files before the others are whole; None where all wait."""

    def allocated_bytes(self, path: str) -> int:
        """Return the bytes that a file takes on the disk, unfinished or not."""

    def check(self) -> None:
        """Refuse a destination that cannot take the output; nothing is written."""

    def prepare(self, plan: Mapping[str, Any]) -> None:
        """Check that the destination can be written to, before the first byte.

        Args:
            plan: The plan as the journal has it, for a destination where others do not see that.
        """

    def create(self, path: str, nbytes: int, known: int | None = None) -> int | None:
        """Begin a file of a given size, unless it is begun; one of size 0 is started over.

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

    def publish_all(self, files: Mapping[str, WrittenParts], listen: Listener) -> None:
        """Give all files their names, unless they have them already."""

    def settle(self, folders: set[str]) -> None:
        """Make the names in folders durable."""

    def write_small(self, files: Mapping[str, bytes]) -> None:
        """Write small files, in order; each is absent, the old one, or complete."""

    def conclude(self, path: str, data: bytes) -> None:
        """Write the manifest, the last file of an output."""

    def resume_conclusion(self, path: str) -> None:
        """Do what a run left undone that ended right after it had published the manifest."""

    def abandon(self) -> None:
        """Cancel work in the background, if the run did not finish."""

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
