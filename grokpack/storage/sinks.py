"""Where an output's files go: `Sink` is what a run asks of a place, a folder or a bucket alike."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from grokpack.storage import intact, new_files, parts, removal, sources
from grokpack.storage.urls import is_url, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from grokpack.storage.intact import Mark, Written

BUCKETS = ("s3", "gs")
PART_BYTES = 8 << 20
"""Of an upload's part: half a tile."""
MOST_OBJECT_BYTES = 10_000 * PART_BYTES
"""Of a file in a bucket: an upload has at most 10,000 parts."""


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


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the local file system.

    Attributes:
        root: The folder.
        aside: Folder, on the same file system, for small files that are not whole yet.
        held_bytes: See `Sink`.
    """

    root: str
    aside: str
    held_bytes: int = 0

    def prepare(self) -> None:
        """See `Sink`: creating the parts shows it."""

    def create(self, path: str, nbytes: int, known: int | None = None) -> int:
        """See `Sink`: the inode number."""
        parts.refuse_taken(path)
        return parts.begin_part(path, nbytes, known)

    def reopen(self, path: str, written: Written, lost: set[int]) -> None:
        """See `Sink`: a published file that cannot be told to be the run's is refused."""
        state, nothing_left = intact.regular(path), len(lost) == len(written.sums)
        inodes = {inode for inode, _ in written.marks}
        if state is not None and (state.st_ino in inodes or not nothing_left):
            parts.unpublish(path)
        parts.refuse_taken(path)
        if nothing_left:
            parts.drop_part(path + parts.PART)

    def _where(self, path: str) -> str:
        """Where a file lies by now: under its name, or as a part."""
        part = path + parts.PART
        return part if sources.exists(part) else path

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002  # see `Sink`
        """See `Sink`: whoever sees the folder sees the parts."""
        return {}

    def accept(self, tickets: Mapping[str, str]) -> None:
        """See `Sink`."""

    def writer(self, path: str, nbytes: int | None) -> FileWriter:  # noqa: ARG002  # see `Sink`
        """See `Sink`."""
        return new_files.PartWriter(path + parts.PART)

    def lost_tiles(self, path: str, written: Written) -> set[int]:
        """See `Sink`."""
        return intact.changed_tiles(self._where(path), written)

    def lost_files(self, files: Mapping[str, Written], *, published: bool) -> list[str]:
        """See `Sink`."""
        found = []
        for path, written in files.items():
            place = path if published else self._where(path)
            if place != path:
                parts.refuse_taken(path)
            state = intact.regular(place)
            whole = state is not None and state.st_size == written.nbytes
            if not whole or intact.changed_tiles(place, written):
                found.append(path)
        return found

    def publish(self, path: str, nbytes: int) -> None:  # noqa: ARG002  # see `Sink`
        """See `Sink`."""
        if self._where(path) != path:
            parts.publish(path)

    def each(self, work: Callable[[str], object], paths: Sequence[str]) -> None:
        """See `Sink`: in their order."""
        for path in paths:
            work(path)

    def settle(self, folders: set[str]) -> None:
        """See `Sink`."""
        for folder in sorted(folders):
            new_files.sync_folder(folder)

    def write_whole(self, path: str, data: bytes) -> None:
        """See `Sink`."""
        if not intact.is_exactly(path, data):
            parts.refuse_taken(path)
            new_files.write_whole(path, data, self.aside, replace=False)

    def size_of(self, path: str) -> int | None:
        """See `Sink`."""
        return sources.size_of(path)

    def names(self, folder: str) -> list[str]:
        """See `Sink`."""
        return sources.names(folder)

    def proves(self, path: str, written: Written | None, inode: int | None) -> bool:
        """See `Sink`."""
        return removal.proves(self.root, path, written, inode)

    def strangers(self, root: str, own: Collection[str]) -> list[str]:
        """See `Sink`."""
        return removal.strangers(root, own, os.path.basename(self.aside))

    def discard(self, root: str, paths: Sequence[str]) -> None:
        """See `Sink`."""
        for path in paths:
            removal.remove_below(self.root, path)
        parts.remove_empty_folders(root, [os.path.relpath(path, root) for path in paths])


def is_bucket(path: str) -> bool:
    """Whether a path is that of a bucket, or in one.

    Raises:
        GrokpackError: GP224 for a URL that cannot be used.
    """
    return is_url(path) and parse(path).scheme in BUCKETS


def sink_of(path: str, journal: str, *, single: bool) -> Sink:
    """The sink for an output.

    Args:
        path: The output.
        journal: The local folder that holds what a run must remember.
        single: Whether the output is one file.

    Raises:
        GrokpackError: GP307 where a bucket's client is not installed.
    """
    if not is_bucket(path):
        return Folder(os.path.dirname(os.path.abspath(path)) if single else path, journal)
    from grokpack.storage.remote.uploads import Uploads

    return Uploads(path, journal)
