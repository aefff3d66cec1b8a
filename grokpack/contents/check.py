"""`verify --data`: every byte against the checksums of a manifest."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import Finding
from grokpack.contents import reading, rounds, spans
from grokpack.contents.memory import Memory
from grokpack.errors import GrokpackError
from grokpack.events import Advanced, Finished, Listener, Started, ignore
from grokpack.tiling import tile_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from grokpack.checkpoint import Checkpoint
    from grokpack.contents.records import Record, Records

OTHER_SIZE = "file has another size than the manifest recorded"
UNREADABLE = ("GP213", "GP214")
"""Errors of a file's own: its bytes cannot be had. Others say nothing of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read, and when it ends.

    Attributes:
        share: Which tiles.
        stopping: Asked between tiles: whether to end now.
        workers: Threads; as many as are useful by default.
    """

    share: rounds.Share = field(default_factory=rounds.Share)
    stopping: Callable[[], bool] = bool
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What came of reading.

    Attributes:
        findings: Ranges that differ or cannot be read.
        origin: What was compared with.
        total_bytes: Bytes of all files that something was recorded of.
        read_bytes: Bytes read this time.
        never_bytes: Bytes that no check has found good yet.
        ended: Whether all that was to be read was read.
    """

    findings: tuple[Finding, ...]
    origin: str
    total_bytes: int
    read_bytes: int
    never_bytes: int
    ended: bool

    @property
    def all_bytes(self) -> bool:
        """Whether every byte was read this time."""
        return self.read_bytes == self.total_bytes

    def also(self, findings: list[Finding]) -> Contents:
        """The same with more findings."""
        return replace(self, findings=(*self.findings, *findings))


@dataclass(frozen=True, slots=True)
class _Result:
    """How reading a tile went; an error's text where it could not be read."""

    record: Record
    tile: int
    good: bool
    error: str | None = None


def check_contents(
    checkpoint: Checkpoint,
    records: Records,
    limits: Limits | None = None,
    listen: Listener = ignore,
    memory: Memory | None = None,
) -> Contents:
    """Read files and compare each tile with its checksum; remember what was found.

    Files whose size is another, or that are gone, are left out: that is a finding of its own.

    Args:
        checkpoint: Whose files.
        records: What was recorded of them.
        limits: How much is read, and when it ends.
        listen: Receives progress.
        memory: What was found before; the checkpoint's own by default.

    Raises:
        GrokpackError: Where a server ends the work; what was found till then is remembered.
    """
    limits = limits or Limits()
    memory = memory or Memory(checkpoint)
    sizes = {r.path: storage.size_of(r.path) for r in (*records.files, *records.companions)}
    sound = [r for r in (*records.files, *records.companions) if sizes[r.path] == r.nbytes]
    known = memory.recall(sound)
    chosen = rounds.choose(sound, known, limits.share, time.time())
    listen(Started("contents", sum(stretch.nbytes for stretch in chosen)))
    began = time.monotonic()
    found: list[_Result] = []
    threads = limits.workers or reading.workers(checkpoint.folder)
    work = _Reader(limits.stopping, listen).results
    try:
        for results in reading.spread(work, chosen, threads):
            for result in results:
                known[result.record.file.path].note(result.tile, _now(), good=result.good)
            found += results
    finally:
        if found:
            memory.keep()
    listen(Finished("contents", time.monotonic() - began))
    return Contents(
        (*_findings(found), *other_sizes(records.companions, sizes)),
        records.origin,
        sum(record.nbytes for record in (*records.files, *records.companions)),
        sum(_nbytes(result) for result in found),
        rounds.unread(sound, known),
        len(found) == sum(stretch.last - stretch.first for stretch in chosen),
    )


def other_sizes(records: Sequence[Record], sizes: Mapping[str, int | None]) -> Iterator[Finding]:
    """Findings for files that are gone or of another size; the structure's check has no others."""
    for record in records:
        path, found = record.file.path, sizes[record.path]
        if found is None:
            yield Finding("GP101", "file is missing", path)
        elif found != record.nbytes:
            expected = f"{record.nbytes:,} bytes"
            yield Finding("GP112", OTHER_SIZE, path, None, expected, f"{found:,} bytes")


def _now() -> int:
    return int(time.time())


def _nbytes(result: _Result) -> int:
    start, stop = tile_range(result.tile, result.record.nbytes)
    return stop - start


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads stretches of tiles; one serves all threads."""

    stopping: Callable[[], bool]
    listen: Listener

    def results(self, stretch: rounds.Stretch) -> list[_Result]:
        """How each tile went, as far as there was time."""
        found = []
        for tile in range(stretch.first, stretch.last):
            if self.stopping():
                break
            result = self._read(stretch.record, tile)
            found.append(result)
            self.listen(Advanced(_nbytes(result)))
        return found

    @staticmethod
    def _read(record: Record, tile: int) -> _Result:
        try:
            digest = reading.tile_sum(record.path, tile, record.nbytes)
        except GrokpackError as error:
            if error.code not in UNREADABLE:
                raise
            return _Result(record, tile, good=False, error=error.what)
        return _Result(record, tile, good=digest == record.tiles[tile])


def _findings(results: Sequence[_Result]) -> list[Finding]:
    """One finding for each run of bad tiles of a file, in the order of files and bytes."""
    bad = [result for result in results if not result.good]
    bad.sort(key=lambda result: (result.record.file.path, result.tile))
    runs: list[list[_Result]] = []
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


def _finding(run: Sequence[_Result]) -> Finding:
    record, error = run[0].record, run[0].error
    start, _ = tile_range(run[0].tile, record.nbytes)
    _, stop = tile_range(run[-1].tile, record.nbytes)
    where = f"bytes {start:,} to {stop - 1:,}"
    names: list[str] = []
    if record.nbytes == record.file.nbytes:  # not of a compressed file as it lies there
        names = spans.tensors(record.file, start, stop)
        held = spans.describe(record.file, start, stop)
        where += f" ({held})" if held else ""
    tensor = names[0] if len(names) == 1 else None
    if error is not None:
        what = f"contents cannot be read: {error}"
        return Finding("GP117", what, record.file.path, tensor, None, where)
    of = len(record.tiles)
    found = f"{len(run)} of {of} tile{'s' * (of != 1)}: {where}"
    return Finding("GP110", "contents changed", record.file.path, tensor, None, found)
