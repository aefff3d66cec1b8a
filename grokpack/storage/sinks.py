"""Where an output's files go: `Sink` is what a run asks of a place, a folder or a bucket alike."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from grokpack.storage import new_files, parts, sources
from grokpack.storage.urls import is_url, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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

    def close(self) -> None:
        """Give back what the writer holds."""


class Sink(Protocol):
    """A place for files that get their names only when they are whole."""

    @property
    def held_bytes(self) -> int:
        """Memory that a writer holds, beside what it is given."""

    def prepare(self) -> None:
        """See that the place can be written to, before the first byte."""

    def create(self, path: str, nbytes: int) -> None:
        """Begin a file of a size, unless it is begun; one of size 0 is begun anew."""

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:
        """What another process must know of files that are begun, to write to them as well."""

    def accept(self, tickets: Mapping[str, str]) -> None:
        """Take such tickets."""

    def writer(self, path: str, nbytes: int | None) -> FileWriter:
        """A writer for a file that is begun; without a size, one that writes it in order."""

    def holds(self, path: str, nbytes: int, written: range) -> bool:
        """Whether these bytes of a file are still there: begun, or whole at its size."""

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

    def remove(self, path: str) -> None:
        """Remove a published file, if it is there."""

    def discard(self, root: str | None, paths: Sequence[str]) -> None:
        """Remove files, begun or published, and the folders below a root that this empties."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the local file system.

    Attributes:
        aside: Folder, on the same file system, for small files that are not whole yet.
        held_bytes: See `Sink`.
    """

    aside: str
    held_bytes: int = 0

    def prepare(self) -> None:
        """See `Sink`: creating the parts shows it."""

    def create(self, path: str, nbytes: int) -> None:
        """See `Sink`."""
        if nbytes == 0 or not sources.exists(path):
            parts.create_part(path, nbytes)

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002  # see `Sink`
        """See `Sink`: whoever sees the folder sees the parts."""
        return {}

    def accept(self, tickets: Mapping[str, str]) -> None:
        """See `Sink`."""

    def writer(self, path: str, nbytes: int | None) -> FileWriter:  # noqa: ARG002  # see `Sink`
        """See `Sink`."""
        return new_files.PartWriter(path + parts.PART)

    def holds(self, path: str, nbytes: int, written: range) -> bool:  # noqa: ARG002  # see `Sink`
        """See `Sink`: a part has its full size from the first."""
        return nbytes in (sources.size_of(path), sources.size_of(path + parts.PART))

    def publish(self, path: str, nbytes: int) -> None:  # noqa: ARG002  # see `Sink`
        """See `Sink`."""
        if sources.exists(path + parts.PART):
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
        new_files.write_whole(path, data, self.aside)

    def size_of(self, path: str) -> int | None:
        """See `Sink`."""
        return sources.size_of(path)

    def names(self, folder: str) -> list[str]:
        """See `Sink`."""
        return sources.names(folder)

    def remove(self, path: str) -> None:
        """See `Sink`."""
        new_files.remove(path)

    def discard(self, root: str | None, paths: Sequence[str]) -> None:
        """See `Sink`."""
        for path in paths:
            new_files.remove(path)
            new_files.remove(path + parts.PART)
        if root is not None:
            parts.remove_empty_folders(root, [os.path.relpath(path, root) for path in paths])


def is_bucket(path: str) -> bool:
    """Whether a path is that of a bucket, or in one.

    Raises:
        GrokpackError: GP224 for a URL that cannot be used.
    """
    return is_url(path) and parse(path).scheme in BUCKETS


def sink_of(path: str, journal: str) -> Sink:
    """The sink for an output.

    Args:
        path: The output.
        journal: The local folder that holds what a run must remember.

    Raises:
        GrokpackError: GP307 where a bucket's client is not installed.
    """
    if not is_bucket(path):
        return Folder(journal)
    from grokpack.storage.remote.uploads import Uploads

    return Uploads(path, journal)
