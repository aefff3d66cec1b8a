"""Check of every byte against the checksums of a manifest, for `verify --data`."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import SourceUnreadable
from grokpack.core.events import Finished, Listener, Started, ignore
from grokpack.core.finding import Finding
from grokpack.core.progress import watching
from grokpack.core.tiles import tile_range, tiles_range
from grokpack.execution import worker_checks
from grokpack.execution.workers import Job, map_unordered
from grokpack.storage import hashing
from grokpack.verification import byte_ranges, read_options, sampling
from grokpack.verification.history import CheckHistory
from grokpack.verification.read_options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.checkpoint.manifest_records import Record, Records
    from grokpack.core.progress import Watch

OTHER_SIZE = "file has another size than the manifest recorded"
_FEW = 3
"""Errors that concern one file alone: its bytes cannot be read."""


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

    @property
    def all_bytes(self) -> bool:
        """True if every byte of every file was compared this time."""
        all_files = self.compared_files == self.total_files
        return all_files and self.read_bytes == self.total_bytes

    def also(self, findings: list[Finding]) -> ReadResult:
        """Return the result with more findings."""
        return replace(self, findings=(*self.findings, *findings))


@dataclass(frozen=True, slots=True)
class _TileResult:
    """Result of one tile; the error's text if it could not be read."""

    record: Record
    tile: int
    good: bool
    error: str | None = None


def check_contents(
    checkpoint: ComparedFiles,
    records: Records,
    limits: ReadOptions | None = None,
    listen: Listener = ignore,
    memory: CheckHistory | None = None,
) -> ReadResult:
    """Read files, compare each tile with its checksum, and remember the results.

    Files that are gone or of another size are left out: they have findings of their own.

    Args:
        checkpoint: The checkpoint with the files.
        records: Records of its files.
        limits: Amount to read, and when to end.
        listen: Receives progress.
        memory: Earlier results; the checkpoint's own by default.

    Raises:
        GrokpackError: If a server ends the work; results so far are remembered.
    """
    limits = limits or ReadOptions()
    memory = memory or CheckHistory(checkpoint)
    there = {r.path: storage.size_of(r.path) for r in (*records.files, *records.companions)}
    sound = [r for r in (*records.files, *records.companions) if there[r.path] == r.nbytes]
    known = memory.recall(sound)
    chosen = sampling.choose(sound, known, limits.share, time.time())
    listen(Started("contents", sum(stretch.nbytes for stretch in chosen)))
    began = time.monotonic()
    found: list[_TileResult] = []
    by_path = {storage.absolute(record.path): record for record in sound}
    orders = [_Order(storage.absolute(s.record.path), s.first, s.last) for s in chosen]
    sizes = {order.path: by_path[order.path].nbytes for order in orders}
    pool = read_options.pool(checkpoint.folder, limits)
    job = Job(_Reader, (sizes,), worker_checks.check_files)
    try:
        for sums in map_unordered(job, orders, pool, watching(listen, limits.stopping)):
            for own in sums:
                result = _judged(by_path[own.path], own)
                known[result.record.file.path].note(result.tile, _now(), good=result.good)
                found.append(result)
    finally:
        if found:
            memory.keep()
    listen(Finished("contents", time.monotonic() - began))
    every = (*records.files, *records.companions)
    unrecorded = _unrecorded_bytes(checkpoint, records)
    return ReadResult(
        (*_findings(found), *other_sizes(records.companions, there)),
        records.origin,
        sum(record.nbytes for record in every) + unrecorded,
        sum(_nbytes(result) for result in found),
        sampling.unread(sound, known) + unrecorded,
        len(found) == sum(stretch.last - stretch.first for stretch in chosen),
        len(every) + len(records.unknown) + len(records.absent),
        _compared(sound, found),
    )


def _unrecorded_bytes(checkpoint: ComparedFiles, records: Records) -> int:
    """Count the bytes of files that have no record."""
    unknown = set(records.unknown)
    return sum(file.nbytes for file in checkpoint.layout.files() if file.path in unknown)


def _compared(records: Sequence[Record], results: Sequence[_TileResult]) -> int:
    """List the files of which every tile was read."""
    read = Counter(result.record.file.path for result in results)
    return sum(read[record.file.path] == len(record.tiles) for record in records)


def unlisted(names: Sequence[str]) -> Iterator[Finding]:
    """Warn about files that the list of checksums does not name."""
    if names:
        few = ", ".join(names[:_FEW]) + (", .." if len(names) > _FEW else "")
        what = f"nothing to compare {len(names):,} files with"
        yield Finding("GP118", what, None, None, None, few, "warning")


def other_sizes(records: Sequence[Record], sizes: Mapping[str, int | None]) -> Iterator[Finding]:
    """Yield findings for files that are gone or of another size."""
    for record in records:
        path, found = record.file.path, sizes[record.path]
        if found is None:
            yield Finding("GP101", "file is missing", path)
        elif found != record.nbytes:
            expected = f"{record.nbytes:,} bytes"
            yield Finding("GP112", OTHER_SIZE, path, None, expected, f"{found:,} bytes")


def _now() -> int:
    return int(time.time())


def _nbytes(result: _TileResult) -> int:
    start, stop = tile_range(result.tile, result.record.nbytes)
    return stop - start


@dataclass(frozen=True, slots=True)
class _Order:
    """Tiles of a file to read, from `first` up to `last`."""

    path: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Sum:
    """Checksum of a tile; None and an error's text if it could not be read."""

    path: str
    tile: int
    value: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reader of tiles; one serves all threads of a process."""

    watch: Watch
    sizes: Mapping[str, int]

    def __call__(self, order: _Order) -> list[_Sum]:
        """Compute the checksum of each tile, as far as there is time."""
        found = []
        for tile in range(order.first, order.last):
            if self.watch.stopping():
                break
            found.append(self._read(order.path, tile))
            start, stop = tile_range(tile, self.sizes[order.path])
            self.watch.advanced(stop - start)
        return found

    def _read(self, path: str, tile: int) -> _Sum:
        try:
            return _Sum(path, tile, hashing.tile_sum(path, tile, self.sizes[path]))
        except SourceUnreadable as error:
            return _Sum(path, tile, None, error.what)


def _judged(record: Record, own: _Sum) -> _TileResult:
    return _TileResult(record, own.tile, own.value == record.tiles[own.tile], own.error)


def _findings(results: Sequence[_TileResult]) -> list[Finding]:
    """Make a finding for each run of bad tiles, in the order of files and bytes."""
    bad = [result for result in results if not result.good]
    bad.sort(key=lambda result: (result.record.file.path, result.tile))
    runs: list[list[_TileResult]] = []
    for result in bad:
        last = runs[-1][-1] if runs else None
        follows = (
            last is not None
            and last.record is result.record
            and last.tile + 1 == result.tile
            and last.error == result.error
        )
        if follows:
            runs[-1].append(result)
        else:
            runs.append([result])
    return [_finding(run) for run in runs]


def _finding(run: Sequence[_TileResult]) -> Finding:
    record, error = run[0].record, run[0].error
    start, stop = tiles_range(run[0].tile, run[-1].tile + 1, record.nbytes)
    where = f"bytes {start:,} to {stop - 1:,}"
    names: list[str] = []
    if record.nbytes == record.file.nbytes:  # compressed files have other sizes on disk
        names = byte_ranges.tensors(record.file, start, stop)
        held = byte_ranges.describe_range(record.file, start, stop)
        where += f" ({held})" if held else ""
    tensor = names[0] if len(names) == 1 else None
    if error is not None:
        what = f"contents cannot be read: {error}"
        return Finding("GP117", what, record.file.path, tensor, None, where)
    of = len(record.tiles)
    found = f"{len(run)} of {of} tile{'s' * (of != 1)}: {where}"
    return Finding("GP110", "contents changed", record.file.path, tensor, None, found)
