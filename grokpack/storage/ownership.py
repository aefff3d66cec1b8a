"""Proof that a file is still what a run wrote: a regular file, its size, its mark, its checksums.

A mark is what the file system said of a file after the run's last write. Where it still says the
same, nobody else has written; where it does not, tiles are read and compared.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xxhash

from grokpack.core.tiles import tile_range
from grokpack.storage.fault_injection import reading
from grokpack.storage.new_files import open_own

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Mark = tuple[int, int]
"""Inode number and modification time (ns) of a file."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """What a run has written of a file, as its receipts say.

    Attributes:
        nbytes: The file's size on disk.
        sums: Checksum (xxh3_128, hex) by tile, of the bytes on disk.
        marks: The file's marks, one for each receipt; none of receipts that came without.
        whole: Whether every tile is written.
    """

    nbytes: int
    sums: Mapping[int, str]
    marks: tuple[Mark, ...]
    whole: bool


def regular(path: str) -> os.stat_result | None:
    """State of a regular file; None where there is none, or a link or something else."""
    try:
        state = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def changed_tiles(path: str, written: Written) -> set[int]:
    """Tiles that a file at `path` holds no longer as they were written.

    A file that others than its last recorded writer may have written to is read. Of one that is
    not whole yet, whose last writer may have been stopped before it could record, the first and the
    last tile stand for all.

    Raises:
        GrokpackError: GP214 where the file cannot be read.
    """
    tiles = sorted(written.sums)
    state = regular(path)
    if state is None or state.st_size != written.nbytes:
        return set(tiles)
    if not written.marks or mark_of(state) == max(written.marks, key=lambda mark: mark[1]):
        return set()
    own = state.st_ino in {inode for inode, _ in written.marks}
    if own and not written.whole and not unlike(path, written, {tiles[0], tiles[-1]}):
        return set()
    return unlike(path, written, tiles)


def mark_of(state: os.stat_result) -> Mark:
    """The mark of a file in this state."""
    return state.st_ino, state.st_mtime_ns


def unlike(path: str, written: Written, tiles: Iterable[int]) -> set[int]:
    """Those of some tiles whose checksum is another now.

    Raises:
        GrokpackError: GP214 where the file cannot be read.
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
    """Size of a tile of a file of `nbytes`."""
    start, stop = tile_range(tile, nbytes)
    return stop - start


def is_exactly(path: str, data: bytes) -> bool:
    """Whether a regular file holds these bytes.

    Raises:
        GrokpackError: GP214 where the file cannot be read.
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
