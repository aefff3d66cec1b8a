"""Where an output's files go: `Sink` is what a run asks of a place, a folder or a bucket alike."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.storage import new_files, ownership, reading, removal, writing
from grokpack.storage.urls import is_url, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from grokpack.storage.ownership import Written
    from grokpack.storage.sink import FileWriter, Sink

BUCKETS = ("s3", "gs")
"""Of an upload's part: half a tile."""


@dataclass(frozen=True, slots=True)
class LocalFolder:
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
        writing.refuse_taken(path)
        return writing.begin_part(path, nbytes, known)

    def reopen(self, path: str, written: Written, lost: set[int]) -> None:
        """See `Sink`: a published file that cannot be told to be the run's is refused."""
        state, nothing_left = ownership.regular(path), len(lost) == len(written.sums)
        inodes = {inode for inode, _ in written.marks}
        if state is not None and (state.st_ino in inodes or not nothing_left):
            writing.unpublish(path)
        writing.refuse_taken(path)
        if nothing_left:
            writing.drop_part(path + writing.PART)

    def _where(self, path: str) -> str:
        """Where a file lies by now: under its name, or as a part."""
        part = path + writing.PART
        return part if reading.exists(part) else path

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002  # see `Sink`
        """See `Sink`: whoever sees the folder sees the parts."""
        return {}

    def accept(self, tickets: Mapping[str, str]) -> None:
        """See `Sink`."""

    def writer(self, path: str, nbytes: int | None) -> FileWriter:  # noqa: ARG002  # see `Sink`
        """See `Sink`."""
        return new_files.PartWriter(path + writing.PART)

    def lost_tiles(self, path: str, written: Written) -> set[int]:
        """See `Sink`."""
        return ownership.changed_tiles(self._where(path), written)

    def lost_files(self, files: Mapping[str, Written], *, published: bool) -> list[str]:
        """See `Sink`."""
        found = []
        for path, written in files.items():
            place = path if published else self._where(path)
            if place != path:
                writing.refuse_taken(path)
            state = ownership.regular(place)
            whole = state is not None and state.st_size == written.nbytes
            if not whole or ownership.changed_tiles(place, written):
                found.append(path)
        return found

    def publish(self, path: str, nbytes: int) -> None:  # noqa: ARG002  # see `Sink`
        """See `Sink`."""
        if self._where(path) != path:
            writing.publish(path)

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
        if not ownership.is_exactly(path, data):
            writing.refuse_taken(path)
            new_files.write_whole(path, data, self.aside, replace=False)

    def size_of(self, path: str) -> int | None:
        """See `Sink`."""
        return reading.size_of(path)

    def names(self, folder: str) -> list[str]:
        """See `Sink`."""
        return reading.names(folder)

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
        writing.remove_empty_folders(root, [os.path.relpath(path, root) for path in paths])


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
        return LocalFolder(os.path.dirname(os.path.abspath(path)) if single else path, journal)
    from grokpack.storage.bucket_sink import Uploads

    return Uploads(path, journal)
