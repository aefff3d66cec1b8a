"""Proof that a file is unchanged since a run wrote it: regular, with its size, mark and checksums.

A mark is the inode number and modification time after the run's last write. If they are unchanged,
nobody else has written; if not, tiles are read and compared.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

import xxhash

from grokpack.core.tiles import tile_range
from grokpack.storage.fault_injection import reading
from grokpack.storage.new_files import open_own

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FileMark = tuple[int, int]
"""Inode number and modification time (ns) of a file."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WrittenParts:
    """Parts of a file that a run has written, according to its receipts.

    Attributes:
        nbytes: The file's size on disk.
        sums: Checksum (xxh3_128, hex) by tile, of the bytes on disk.
        marks: The file's marks, one for each receipt that has one.
        whole: True if every tile is written.
    """

    nbytes: int
    sums: Mapping[int, str]
    marks: tuple[FileMark, ...]
    whole: bool


def regular(path: str) -> os.stat_result | None:
    """Return the state of a regular file; None for anything else."""
    try:
        state = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def changed_tiles(path: str, written: WrittenParts) -> set[int]:
    """Return the tiles of a file that are no longer as they were written.

    A file that others than its last recorded writer may have written to is read. For an incomplete
    file, whose last writer may have been stopped before it could record, the first and the last
    tile stand for all.

    Raises:
        GrokpackError: GP214 if the file cannot be read.
    """
    state = regular(path)
    if state is None or state.st_size != written.nbytes:
        return set(written.sums)
    return _changed_since(path, state, written)


def is_as_written(path: str, written: WrittenParts) -> bool:
    """Return whether a file has its size and every tile that was written.

    Raises:
        GrokpackError: GP214 if the file cannot be read.
    """
    return is_state_written(path, regular(path), written)


def is_state_written(path: str, state: os.stat_result | None, written: WrittenParts) -> bool:
    """Return what `is_as_written` does for a file in this state; None if it is no regular one.

    Raises:
        GrokpackError: GP214 if the file cannot be read.
    """
    if state is None or state.st_size != written.nbytes:
        return False
    return not _changed_since(path, state, written)


def _changed_since(path: str, state: os.stat_result, written: WrittenParts) -> set[int]:
    """Return what `changed_tiles` does for a file in this state, which has its size."""
    if not written.marks or mark_of(state) == max(written.marks, key=itemgetter(1)):
        return set()
    tiles = sorted(written.sums)
    own = state.st_ino in {inode for inode, _ in written.marks}
    if own and not written.whole and not differing_tiles(path, written, {tiles[0], tiles[-1]}):
        return set()
    return differing_tiles(path, written, tiles)


def mark_of(state: os.stat_result) -> FileMark:
    """Return the mark of a file in this state."""
    return state.st_ino, state.st_mtime_ns


def differing_tiles(path: str, written: WrittenParts, tiles: Iterable[int]) -> set[int]:
    """Return those of some tiles whose checksum has changed.

    Raises:
        GrokpackError: GP214 if the file cannot be read.
    """
    found = set()
    with reading(path):
        handle = open_own(path, os.O_RDONLY)
        try:
            for tile in tiles:
                if _sum(handle, *tile_range(tile, written.nbytes)) != written.sums[tile]:
                    found.add(tile)
        finally:
            os.close(handle)
    return found


def tile_bytes(tile: int, nbytes: int) -> int:
    """Return the size of a tile of a file of `nbytes`."""
    start, stop = tile_range(tile, nbytes)
    return stop - start


def is_exactly(path: str, data: bytes) -> bool:
    """Return whether a regular file holds exactly these bytes.

    Raises:
        GrokpackError: GP214 if the file cannot be read.
    """
    state = regular(path)
    if state is None or state.st_size != len(data):
        return False
    with reading(path):
        handle = open_own(path, os.O_RDONLY)
        try:
            return os.pread(handle, len(data), 0) == data
        finally:
            os.close(handle)


def _sum(handle: int, start: int, stop: int) -> str:
    digest = xxhash.xxh3_128()
    while start < stop:
        block = os.pread(handle, min(_BLOCK_BYTES, stop - start), start)
        if not block:
            break
        digest.update(block)
        start += len(block)
    return digest.hexdigest()
