"""Output to the hub: files are made in a local folder, and leave it once the hub lists them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from grokpack.formats import bounded_json
from grokpack.storage import hashing, part_files, reading
from grokpack.storage.hub.hub_publisher import HubPublisher
from grokpack.storage.local_sink import LocalSink

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from grokpack.core.events import Listener
    from grokpack.storage.change_detection import WrittenParts
    from grokpack.storage.sink_protocol import FileWriter, PublishingOptions


class HubSink:
    """Sink for a repository of the hub; it implements `storage.sink_protocol.Sink`.

    Args:
        out: The output's URL.
        journal: Local folder of the run's journal.
        options: What was chosen.
    """

    held_bytes = 0
    client_bytes = 64 << 20  # the client's modules, and a commit that has small files in it

    def __init__(self, out: str, journal: str, options: PublishingOptions) -> None:
        self._made_of = out, journal, options
        self._out, self._keep_local = out, options.keep_local
        self._publisher = HubPublisher(out, journal, options)
        self.disk = self._publisher.disk
        self._local = LocalSink(self.disk, self.disk)

    def __reduce__(self) -> tuple[type[HubSink], tuple[str, str, PublishingOptions]]:
        """Pickle what it was made of: another process asks the hub by itself."""
        return type(self), self._made_of

    def _name(self, path: str) -> str:
        return path[len(self._out) + 1 :]

    def _here(self, path: str) -> str:
        """Return the local path of a file."""
        return os.path.join(self.disk, self._name(path))

    @property
    def waiting_bytes(self) -> int | None:
        """Bytes of whole files that wait on the disk at most; None if all of them stay."""
        return None if self._keep_local else self._publisher.waiting_bytes

    def allocated_bytes(self, path: str) -> int:
        """Return the bytes that an unfinished file takes on the disk."""
        return self._local.allocated_bytes(self._here(path))

    def check(self) -> None:
        """Refuse a repository that cannot take the output."""
        self._publisher.check()

    def prepare(self, plan: Mapping[str, Any]) -> None:
        """Create and claim the repository."""
        self._publisher.begin(plan)

    def create(self, path: str, nbytes: int, known: int | None = None) -> int:
        """Begin a file in the local folder."""
        return self._local.create(self._here(path), nbytes, known)

    def reopen(self, path: str, written: WrittenParts, lost: set[int]) -> None:
        """Make the local file ready to be written again."""
        self._local.reopen(self._here(path), written, lost)

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Return no tickets: one process makes all files."""
        return self._local.tickets(paths)

    def accept(self, tickets: Mapping[str, str]) -> None:
        """Do nothing: there are no tickets."""

    def writer(self, path: str, nbytes: int | None) -> FileWriter:
        """Return a writer of the local file."""
        return self._local.writer(self._here(path), nbytes)

    def lost_tiles(self, path: str, written: WrittenParts) -> set[int]:
        """Return the tiles that are neither published nor here as they were written."""
        if self._publisher.holds(self._name(path)):
            return set()
        return self._local.lost_tiles(self._here(path), written)

    def lost_files(self, files: Mapping[str, WrittenParts], *, published: bool) -> list[str]:
        """Return the published files that the hub lists otherwise; others are checked as sent."""
        if not published:
            return []
        self._publisher.state(fresh=True)
        return [path for path in files if not self._publisher.holds(self._name(path))]

    def offer(self, files: Mapping[str, WrittenParts], listen: Listener) -> None:
        """Publish whole files in the background; wait while too many are on the disk."""
        own = {self._name(path): written for path, written in files.items()}
        held = self._publisher.holds
        self._publisher.offer({n: w for n, w in own.items() if not held(n)}, listen)

    def publish_all(self, files: Mapping[str, WrittenParts], listen: Listener) -> None:
        """Publish all files that are not published yet, and wait for it."""
        self.offer(files, listen)
        self._publisher.drain(listen)

    def settle(self, folders: set[str]) -> None:
        """Do nothing: a commit is durable."""

    def write_small(self, files: Mapping[str, bytes]) -> None:
        """Publish small files in one commit."""
        own = {self._name(path): data for path, data in files.items()}
        if own:
            self._publisher.add(own, f"Add {', '.join(own)}, written by grokpack")
        if self._keep_local:
            self._local.write_small({self._here(path): data for path, data in files.items()})

    def conclude(self, path: str, data: bytes) -> None:
        """Publish the manifest in the last commit; remove the local folder unless it is kept."""
        self._publisher.conclude(self._name(path), data)
        if self._keep_local:
            self._local.conclude(self._here(path), data)
        else:
            self._remove_folders(self._publisher.record.files)

    def resume_conclusion(self, path: str) -> None:
        """Do what a run left undone in the local folder once the manifest was at the hub."""
        if not self._keep_local:
            self._remove_folders(self._publisher.listed())
        elif reading.is_folder(self.disk):
            data = reading.read_whole(path, bounded_json.MOST_BYTES)
            self._local.conclude(self._here(path), data)

    def _remove_folders(self, names: Iterable[str]) -> None:
        """Remove the local folders of files that have left them."""
        above, folder = os.path.split(self.disk)
        part_files.remove_empty_folders(above, [os.path.join(folder, name) for name in names])

    def abandon(self) -> None:
        """End uploads in the background."""
        self._publisher.cancel()

    def size_of(self, path: str) -> int | None:
        """Return the size of a file in the repository; None if there is none."""
        row = self._publisher.listed().get(self._name(path))
        return None if row is None else row.nbytes

    def names(self, folder: str) -> list[str]:  # noqa: ARG002  # see `Sink`
        """Return the names in the repository, and what is in the local folder."""
        there = {name.partition("/")[0] for name in self._publisher.listed()}
        here = self._local.names(self.disk)
        return [*sorted(there), *(os.path.join(self.disk, name) for name in here)]

    def is_free_or_own(self, path: str, written: WrittenParts | None, inode: int | None) -> bool:
        """Return whether neither repository nor folder has the file, or provably the run's own."""
        return self._is_own_there(path, written) and self._local.is_free_or_own(
            self._here(path), written, inode
        )

    def _is_own_there(self, path: str, written: WrittenParts | None) -> bool:
        """Return whether the repository has no such file, or provably the run's own."""
        name, nbytes = self._name(path), self.size_of(path)
        if nbytes is None or self._publisher.holds(name):
            return True
        return (
            written is not None
            and nbytes == written.nbytes
            and hashing.has_a_tile(path, nbytes, written.sums)
        )

    def foreign_files(self, root: str, own: Collection[str]) -> list[str]:  # noqa: ARG002
        """Return what is in the repository or in the local folder beside these files."""
        names = {self._name(path) for path in own}
        there = [f"{self._out}/{name}" for name in self._publisher.listed() if name not in names]
        here = self._local.foreign_files(self.disk, [self._here(path) for path in own])
        return [*there, *here]

    def discard(self, root: str, paths: Sequence[str]) -> None:  # noqa: ARG002  # see `Sink`
        """Remove files from the repository, whose history keeps them, and from the local folder."""
        self._publisher.remove([self._name(path) for path in paths])
        self._local.discard(self.disk, [self._here(path) for path in paths])
