"""Check of every byte against the checksums of a manifest, for `verify --data`."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.counts import counted
from grokpack.core.errors import SourceUnreadable
from grokpack.core.events import Listener, Started, ignore_event
from grokpack.core.tiles import tile_range, tiles_range
from grokpack.execution import worker_checks
from grokpack.execution.workers import Job
from grokpack.storage import hashing
from grokpack.storage.reading_threads import threads
from grokpack.verification import content_findings, sampling
from grokpack.verification.check_history import CheckHistory
from grokpack.verification.read_and_compare import ReadResult, read_all
from grokpack.verification.read_options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.checkpoint.manifest_records import Record, Records
    from grokpack.core.finding import Finding
    from grokpack.core.progress import Watch
    from grokpack.verification.sampling import TileRun


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
    listen: Listener = ignore_event,
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
    there = {r.path: storage.size_of(r.path) for r in (*records.files, *records.sidecars)}
    sound = [r for r in (*records.files, *records.sidecars) if there[r.path] == r.nbytes]
    known = memory.recall(sound)
    chosen = sampling.choose(sound, known, limits.share, time.time())
    found: list[_TileResult] = []
    try:
        for result in _results(chosen, limits, threads(checkpoint.folder), listen):
            known[result.record.file.path].note(result.tile, _now(), good=result.good)
            found.append(result)
    finally:
        if found:
            memory.keep()
    unrecorded = _unrecorded(checkpoint, records)
    compared = ReadResult.of(
        (*_findings(found), *content_findings.size_findings(records.sidecars, there)),
        records.origin,
        {r.path: r.nbytes for r in (*records.files, *records.sidecars)} | unrecorded,
        _compared(sound, found),
        ended=len(found) == sum(run.last - run.first for run in chosen),
    )
    never = sampling.unread(sound, known) + sum(unrecorded.values())
    return replace(compared, never_bytes=never)


def _results(
    chosen: Sequence[TileRun], limits: ReadOptions, useful: int, listen: Listener
) -> Iterator[_TileResult]:
    """Read the chosen tiles, and yield the result of each as soon as it is known."""
    by_path = {storage.absolute(run.record.path): run.record for run in chosen}
    orders = [_Order(storage.absolute(run.record.path), run.first, run.last) for run in chosen]
    sizes = {path: record.nbytes for path, record in by_path.items()}
    begin = Started("contents", sum(run.nbytes for run in chosen))
    job = Job(_Reader, (sizes,), worker_checks.check_files)
    for sums in read_all(begin, job, orders, limits, useful, listen):
        for own in sums:
            yield _judged(by_path[own.path], own)


def _unrecorded(checkpoint: ComparedFiles, records: Records) -> dict[str, int]:
    """Return the bytes of files without a record; none for recorded ones that are gone."""
    held = {file.path: file.nbytes for file in checkpoint.layout.files()}
    return {name: held.get(name, 0) for name in (*records.unknown, *records.absent)}


def _compared(records: Sequence[Record], results: Sequence[_TileResult]) -> Counter[str]:
    """Count the bytes of each file that were compared."""
    read = Counter({record.path: 0 for record in records})
    for result in results:
        start, stop = tile_range(result.tile, result.record.nbytes)
        read[result.record.path] += stop - start
    return read


def _now() -> int:
    return int(time.time())


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
    # compressed files have other sizes on disk
    layout = record.file if record.nbytes == record.file.nbytes else None
    where, tensor = content_findings.located(layout, start, stop)
    if error is not None:
        return content_findings.unreadable_finding(record.file.path, error, where, tensor)
    of = len(record.tiles)
    found = f"{len(run):,} of {counted(of, 'tile')}: {where}"
    return content_findings.change_finding(record.file.path, found, tensor)
