"""Output to a folder of the local file system: parts that are renamed when all files are whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.storage import change_detection, new_files, part_files, reading, removal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from grokpack.core.events import Listener
    from grokpack.storage.change_detection import WrittenParts
    from grokpack.storage.sink_protocol import FileWriter


@dataclass(frozen=True, slots=True)
class LocalSink:
    """Sink for a folder of the local file system.

    Attributes:
        root: The folder.
        aside: Folder, on the same file system, for incomplete small files.
        held_bytes: Memory that a writer holds: none.
        client_bytes: Memory of a client: there is none.
        waiting_bytes: Bytes of whole files that wait at most: all of them stay.
        offer: Publishing of files before the others are whole: there is none.
    """

    root: str
    aside: str
    held_bytes: int = 0
    client_bytes: int = 0
    waiting_bytes: int | None = None
    offer: None = None

    @property
    def disk(self) -> str:
        """Folder on whose disk files are made."""
        return self.root

    def allocated_bytes(self, path: str) -> int:
        """Return the bytes that a file takes on the disk, unfinished or not."""
        return sum(part_files.allocated_bytes(path + end) for end in ("", part_files.PART))

    def check(self) -> None:
        """Do nothing: disk and folder are looked at by themselves."""

    def prepare(self, plan: Mapping[str, Any]) -> None:
        """Do nothing: creating the parts shows whether the folder can be written to."""

    def create(self, path: str, nbytes: int, known: int | None = None) -> int:
        """Begin a file and return its inode number."""
        part_files.refuse_taken(path)
        return part_files.begin_part(path, nbytes, known)

    def reopen(self, path: str, written: WrittenParts, lost: set[int]) -> None:
        """Make a file ready to be rewritten; refuse a published one that may not be the run's."""
        state, nothing_left = change_detection.regular(path), len(lost) == len(written.sums)
        inodes = {inode for inode, _ in written.marks}
        if state is not None and (state.st_ino in inodes or not nothing_left):
            part_files.unpublish(path)
        part_files.refuse_taken(path)
        if nothing_left:
            part_files.drop_part(path + part_files.PART)

    def _where(self, path: str) -> str:
        """Return the current path of a file: its name, or that of its part."""
        part = path + part_files.PART
        return part if os.path.lexists(part) else path

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002  # see `Sink`
        """Return no tickets: every process that sees the folder sees the parts."""
        return {}

    def accept(self, tickets: Mapping[str, str]) -> None:
        """Do nothing: there are no tickets."""

    def writer(self, path: str, nbytes: int | None) -> FileWriter:  # noqa: ARG002  # see `Sink`
        """Return a writer of a file's part."""
        return new_files.PartWriter(path + part_files.PART)

    def lost_tiles(self, path: str, written: WrittenParts) -> set[int]:
        """Return the tiles of a file that were written and are missing now."""
        return change_detection.changed_tiles(self._where(path), written)

    def lost_files(self, files: Mapping[str, WrittenParts], *, published: bool) -> list[str]:
        """Return those whole files that are not as they were written."""
        as_written = change_detection.is_as_written if published else self._is_ready
        return [path for path, written in files.items() if not as_written(path, written)]

    def _is_ready(self, path: str, written: WrittenParts) -> bool:
        """Return whether a file is as it was written; refuse a part whose name is taken.

        Of ten thousand files each question counts: the part is asked for its state at once.
        """
        part = path + part_files.PART
        state = change_detection.regular(part)
        if state is None and self._where(path) == path:
            return change_detection.is_as_written(path, written)
        part_files.refuse_taken(path)
        return change_detection.is_state_written(part, state, written)

    def publish_all(self, files: Mapping[str, WrittenParts], listen: Listener) -> None:  # noqa: ARG002  # see `Sink`
        """Give files their names, unless they have them already."""
        for path in files:
            part_files.publish(path)

    def settle(self, folders: set[str]) -> None:
        """Make the names in folders durable."""
        for folder in sorted(folders):
            new_files.sync_folder(folder)

    def write_small(self, files: Mapping[str, bytes]) -> None:
        """Write small files atomically, unless they are there with the same contents."""
        for path, data in files.items():
            if not change_detection.is_exactly(path, data):
                part_files.refuse_taken(path)
                new_files.write_whole(path, data, self.aside, replace=False)

    def conclude(self, path: str, data: bytes) -> None:
        """Write the manifest."""
        self.write_small({path: data})

    def resume_conclusion(self, path: str) -> None:
        """Do nothing: the manifest is the last file."""

    def abandon(self) -> None:
        """Do nothing: nothing goes on in the background."""

    def size_of(self, path: str) -> int | None:
        """Return the size of a published file; None if there is none."""
        return reading.size_of(path)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        return reading.names(folder)

    def is_free_or_own(self, path: str, written: WrittenParts | None, inode: int | None) -> bool:
        """Return whether a path is free, or provably holds the run's own file."""
        return removal.is_free_or_own(self.root, path, written, inode)

    def foreign_files(self, root: str, own: Collection[str]) -> list[str]:
        """Return what lies below a folder beside these files."""
        return removal.foreign_files(root, own, os.path.basename(self.aside))

    def discard(self, root: str, paths: Sequence[str]) -> None:
        """Remove files, and the folders below a root that this empties."""
        for path in paths:
            removal.remove_below(self.root, path)
        part_files.remove_empty_folders(root, [os.path.relpath(path, root) for path in paths])
