"""Check of files against a torrent's pieces, which run across the ends of files."""

from __future__ import annotations

import bisect
import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.list_matching import is_weights, match
from grokpack.checkpoint.manifest_paths import below_home
from grokpack.core.errors import SourceUnreadable
from grokpack.core.events import Listener, Started
from grokpack.core.finding import Finding
from grokpack.core.progress import watching
from grokpack.execution import worker_checks
from grokpack.execution.workers import Job
from grokpack.storage import hashing
from grokpack.storage.reading_threads import threads
from grokpack.verification.checksum_lists.torrent import PUBLISHED
from grokpack.verification.content_findings import (
    change_finding,
    join_first_few,
    located,
    size_finding,
    unlisted_finding,
    unreadable_finding,
)
from grokpack.verification.read_and_compare import ReadResult, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.core.layout import FileLayout
    from grokpack.core.progress import Watch
    from grokpack.verification.checksum_lists.torrent import Torrent, TorrentFile
    from grokpack.verification.read_options import ReadOptions

_ZEROS = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class _PieceResult:
    """Result of one piece; `good` is None if it was not judged."""

    piece: int
    good: bool | None
    error: str | None = None


def check_pieces(
    checkpoint: ComparedFiles,
    torrent: Torrent,
    held: Mapping[int, PresentFile],
    limits: ReadOptions,
    listen: Listener,
) -> ReadResult:
    """Read the files that a torrent names and compare each piece.

    A piece that runs into a file which is missing, or has another size, cannot be judged.

    Args:
        checkpoint: The checkpoint with the files; others beside it are compared as well.
        torrent: The torrent to compare with.
        held: Files of the torrent that are there.
        limits: Options of reading; here, when to end.
        listen: Receives progress.
    """
    work = _Judge(watching(listen), torrent, held)
    judged = [piece for piece in range(torrent.pieces) if work.can_judge(piece)]
    begin = Started("contents", sum(work.length(piece) for piece in judged))
    job = Job(_Judge, (torrent, held), _check_files)
    read = read_all(begin, job, judged, limits, threads(checkpoint.folder), listen)
    done = sorted((r for r in read if r.good is not None), key=lambda result: result.piece)
    layouts = {file.path: file for file in checkpoint.layout.files()}
    named = {own.name: own.nbytes for own in held.values()}
    findings = [
        *_other_sizes(torrent, checkpoint, held),
        *_findings([r for r in done if not r.good], torrent, held, layouts),
        *_unjudged(torrent, set(judged)),
        *unlisted_finding([path for path in layouts if path not in named]),
        *_foreign(checkpoint, torrent),
    ]
    published = ", the one that xAI published" if torrent.info_hash == PUBLISHED else ""
    return ReadResult.of(
        findings,
        f"torrent {torrent.info_hash}{published}",
        {path: file.nbytes for path, file in layouts.items()} | named,
        _compared(torrent, held, [result.piece for result in done]),
        ended=len(done) == len(judged),
    )


def _compared(
    torrent: Torrent, held: Mapping[int, PresentFile], pieces: Sequence[int]
) -> Counter[str]:
    """Count the bytes of each file that lie in these pieces."""
    found = Counter({own.name: 0 for own in held.values()})
    for piece in pieces:
        for number, _, start, stop in file_parts(torrent, piece, piece + 1):
            if number in held:
                found[held[number].name] += stop - start
    return found


@dataclass(frozen=True, slots=True)
class PresentFile:
    """File of the torrent that is there.

    Attributes:
        path: Its absolute path.
        name: Its path in the checkpoint.
        nbytes: Its size.
    """

    path: str
    name: str
    nbytes: int


def files_of(checkpoint: ComparedFiles, torrent: Torrent) -> dict[int, PresentFile]:
    """Find the files of a torrent that are there, of any size, by their number in it."""
    files = [file.path for file in checkpoint.layout.files()]
    numbers = {e.path: n for n, e in enumerate(torrent.files) if e.path}
    named = match(files, {path: path for path in numbers}, below_home(checkpoint))
    paths = {numbers[entry]: (checkpoint.path(file), file) for file, entry in named.items()}
    for number, entry in enumerate(torrent.files):
        beside = os.path.join(checkpoint.home, *entry.path.split("/"))
        if number not in paths and entry.path and storage.exists(beside):
            paths[number] = beside, entry.path.removeprefix(below_home(checkpoint))
    held = {}
    for number, (path, name) in paths.items():
        nbytes = storage.size_of(path)
        if nbytes is not None:
            held[number] = PresentFile(storage.absolute(path), name, nbytes)
    return held


@dataclass(frozen=True, slots=True)
class _Judge:
    """Comparer of pieces; one serves all threads of a process."""

    watch: Watch
    torrent: Torrent
    held: Mapping[int, PresentFile]

    def length(self, piece: int) -> int:
        """Return the length of a piece."""
        start = piece * self.torrent.piece_bytes
        return min(self.torrent.piece_bytes, self.torrent.nbytes - start)

    def can_judge(self, piece: int) -> bool:
        """Return whether all bytes of a piece are there."""
        return all(
            not entry.path or (n in self.held and self.held[n].nbytes == entry.nbytes)
            for n, entry, _, _ in file_parts(self.torrent, piece, piece + 1)
        )

    def __call__(self, piece: int) -> _PieceResult:
        """Compare a piece."""
        if self.watch.stopping():
            return _PieceResult(piece, None)
        digest = hashlib.sha1(usedforsecurity=False)
        try:
            for number, entry, start, stop in file_parts(self.torrent, piece, piece + 1):
                for part in self._bytes(number, entry, start, stop):
                    digest.update(part)
        except SourceUnreadable as error:
            return _PieceResult(piece, good=False, error=error.what)
        self.watch.advanced(self.length(piece))
        return _PieceResult(piece, digest.digest() == self.torrent.sum_of(piece))

    def _bytes(
        self, number: int, entry: TorrentFile, start: int, stop: int
    ) -> Iterator[bytes | memoryview]:
        if entry.path:
            yield from hashing.pieces(self.held[number].path, start, stop)
            return
        for at in range(start, stop, len(_ZEROS)):  # padding
            yield _ZEROS[: min(len(_ZEROS), stop - at)]


def _check_files(_torrent: Torrent, held: Mapping[int, PresentFile]) -> None:
    """Check that a remote process has the files."""
    worker_checks.check_files({own.path: own.nbytes for own in held.values()})


def file_parts(
    torrent: Torrent, first: int, last: int
) -> Iterator[tuple[int, TorrentFile, int, int]]:
    """Yield the parts of files in pieces `first` to `last`: number, file, first byte, last + 1."""
    low, high = first * torrent.piece_bytes, min(last * torrent.piece_bytes, torrent.nbytes)
    at = bisect.bisect_right(torrent.files, low, key=lambda entry: entry.start) - 1
    for number in range(at, len(torrent.files)):
        entry = torrent.files[number]
        if entry.start >= high:
            return
        start, stop = max(low - entry.start, 0), min(high - entry.start, entry.nbytes)
        if start < stop:
            yield number, entry, start, stop


def _runs(pieces: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Group ordered numbers into runs, first and last + 1."""
    first = 0
    for at in range(1, len(pieces) + 1):
        if at == len(pieces) or pieces[at] != pieces[at - 1] + 1:
            yield pieces[first], pieces[at - 1] + 1
            first = at


def _findings(
    bad: Sequence[_PieceResult],
    torrent: Torrent,
    held: Mapping[int, PresentFile],
    layouts: Mapping[str, FileLayout],
) -> Iterator[Finding]:
    """Yield a finding for each file that a run of bad pieces touches: any of them may be bad."""
    errors = {result.piece: result.error for result in bad}
    for first, last in _runs([result.piece for result in bad]):
        touched = [s for s in file_parts(torrent, first, last) if s[1].path]
        which = f"piece {first:,}" if last - first == 1 else f"pieces {first:,} to {last - 1:,}"
        others = f"; {which} holds {len(touched)} files" if len(touched) > 1 else ""
        for number, _, start, stop in touched:
            name = held[number].name
            where, tensor = located(layouts.get(name), start, stop)
            found = f"{which}: {where}{others}"
            error = next((errors[p] for p in range(first, last) if errors[p]), None)
            if error is None:
                yield change_finding(name, found, tensor)
            else:
                yield unreadable_finding(name, error, found, tensor)


def _other_sizes(
    torrent: Torrent, checkpoint: ComparedFiles, held: Mapping[int, PresentFile]
) -> Iterator[Finding]:
    known = {file.path for file in checkpoint.layout.files()}
    for number, entry in enumerate(torrent.files):
        own = held.get(number)
        if own is not None and own.nbytes != entry.nbytes:
            yield size_finding(own.name, entry.nbytes, own.nbytes, "in the torrent")
        elif own is None and entry.path not in known and is_weights(entry.path):
            yield Finding("GP101", "file is missing; the torrent has it", entry.path)


def _unjudged(torrent: Torrent, judged: set[int]) -> Iterator[Finding]:
    """Yield the warning about pieces that could not be judged."""
    left = [piece for piece in range(torrent.pieces) if piece not in judged]
    if not left:
        return
    runs = [f"{a:,} to {b - 1:,}" if b - a > 1 else f"{a:,}" for a, b in _runs(left)]
    what = f"{len(left):,} of {torrent.pieces:,} pieces cannot be judged: files are missing"
    yield Finding("GP118", what, None, None, None, f"pieces {join_first_few(runs)}", "warning")


def _foreign(checkpoint: ComparedFiles, torrent: Torrent) -> Iterator[Finding]:
    """Warn if Grok-1 itself is compared with a torrent that is not xAI's."""
    if checkpoint.model and checkpoint.model.is_release and torrent.info_hash != PUBLISHED:
        what = "the torrent is not the one that xAI published"
        yield Finding("GP119", what, None, None, PUBLISHED, torrent.info_hash, "warning")
