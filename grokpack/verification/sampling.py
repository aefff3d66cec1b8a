"""Choice of the tiles to read: all, a slice, or those read longest ago."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.tiles import tile_range, tiles_range
from grokpack.verification.check_history import NEVER_CHECKED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from grokpack.checkpoint.manifest_records import Record
    from grokpack.verification.check_history import FileHistory

_MOST_TILES = 16  # in one item of work: 256 MiB, read in order


@dataclass(frozen=True, slots=True)
class Sample:
    """Amount of a checkpoint to read.

    Attributes:
        part: Slice n of t equal ones, `(n, t)` with n from 1; None for all.
        fraction: Fraction of all bytes; None for all.
        nbytes: Number of bytes; None for all.
        max_age_s: Tiles found good in this time are left out; None reads them again.
    """

    part: tuple[int, int] | None = None
    fraction: float | None = None
    nbytes: int | None = None
    max_age_s: float | None = None

    def slice_of(self, count: int) -> range:
        """Return the tiles of a file that are in the slice; all if there is none."""
        n, of = self.part or (1, 1)
        return range((n - 1) * count // of, n * count // of)


@dataclass(frozen=True, slots=True)
class TileRun:
    """Consecutive tiles of a file, from `first` up to `last`."""

    record: Record
    first: int
    last: int

    @property
    def nbytes(self) -> int:
        """Bytes to read."""
        start, stop = tiles_range(self.first, self.last, self.record.nbytes)
        return stop - start


def choose(
    records: Sequence[Record], known: Mapping[str, FileHistory], share: Sample, now: float
) -> list[TileRun]:
    """Choose the tiles to read, in the order of the files; bad ones are always among them.

    A share of the bytes takes tiles first that were never read, then those read longest ago. So
    the same command, repeated, reaches all of them.
    """
    every = [(record, tile) for record in records for tile in range(len(record.tiles))]
    age = [now - known[record.file.path].good[tile] for record, tile in every]
    bad = {i for i, (record, tile) in enumerate(every) if tile in known[record.file.path].bad}
    wanted = {i for i in range(len(every)) if not _young(age[i], share.max_age_s)}
    wanted &= set(share.slice_of(len(every)))
    limit = share.nbytes
    if share.fraction is not None:
        limit = round(share.fraction * sum(record.nbytes for record in records))
    if limit is not None:
        wanted = _oldest(every, age, wanted, limit)
    return list(_runs([every[i] for i in sorted(wanted | bad)]))


def _young(age_s: float, max_age_s: float | None) -> bool:
    """Return whether a result still counts; one from the future, by a wrong clock, does not."""
    return max_age_s is not None and 0 <= age_s <= max_age_s


def _oldest(
    every: Sequence[tuple[Record, int]], age: Sequence[float], wanted: set[int], limit: int
) -> set[int]:
    """Choose the tiles read longest ago, up to so many bytes, and at least one."""
    found: set[int] = set()
    for index in sorted(wanted, key=lambda i: (-age[i], i)):
        start, stop = tile_range(every[index][1], every[index][0].nbytes)
        limit -= stop - start
        if found and limit < 0:
            break
        found.add(index)
    return found


def _runs(tiles: Sequence[tuple[Record, int]]) -> Iterator[TileRun]:
    first = 0
    for i in range(1, len(tiles) + 1):
        record, tile = tiles[first]
        if i < len(tiles) and i - first < _MOST_TILES and tiles[i] == (record, tile + i - first):
            continue
        yield TileRun(record, tile, tile + i - first)
        first = i


def unread(records: Sequence[Record], known: Mapping[str, FileHistory]) -> int:
    """Count the bytes of tiles that were never read."""
    return sum(
        stop - start
        for record in records
        for tile, at in enumerate(known[record.file.path].good)
        if at == NEVER_CHECKED and tile not in known[record.file.path].bad
        for start, stop in (tile_range(tile, record.nbytes),)
    )
