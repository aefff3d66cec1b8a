"""Checksums of files, read piece by piece into reused memory."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import xxhash

from grokpack import storage
from grokpack.core import reused_memory
from grokpack.core.errors import Interrupted
from grokpack.core.tiles import TILE_BYTES, tile_count, tile_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.core.progress import Watch

_PIECE_BYTES = 1 << 20  # fits the second-level cache, where it is summed
_FAR_PIECE_BYTES = 16 << 20  # several requests at a time


def pieces(path: str, start: int, stop: int) -> Iterator[memoryview]:
    """Yield bytes `start` to `stop` of a file, piece by piece.

    A piece is valid until the next one is requested.

    Raises:
        GrokpackError: GP213 or GP214 if they cannot be read.
    """
    most = _FAR_PIECE_BYTES if storage.is_url(path) else _PIECE_BYTES
    memory = reused_memory.empty((min(most, stop - start),), np.uint8).data
    while start < stop:
        piece = memory[: stop - start]
        storage.read_into(path, start, piece)
        yield piece
        start += len(piece)


def tile_sum(path: str, tile: int, nbytes: int) -> str:
    """Return the checksum (xxh3_128, hex) of a tile of a file of `nbytes`.

    Raises:
        GrokpackError: GP213 or GP214 if it cannot be read.
    """
    digest = xxhash.xxh3_128()
    for piece in pieces(path, *tile_range(tile, nbytes)):
        digest.update(piece)
    return digest.hexdigest()


def has_a_tile(path: str, nbytes: int, sums: Mapping[int, str]) -> bool:
    """Return whether some tile of a file of `nbytes` has its checksum, as an empty file does.

    Raises:
        GrokpackError: GP213 or GP214 if it cannot be read.
    """
    tiles = sorted(sums, reverse=True)
    return not nbytes or any(tile_sum(path, tile, nbytes) == sums[tile] for tile in tiles)


def file_sums(
    path: str, nbytes: int, watch: Watch, *, sha256: bool
) -> tuple[list[str], str | None]:
    """Return the checksum of every tile of a file and, if asked for, its sha256, in one read.

    Args:
        path: The file.
        nbytes: Its size.
        watch: Called after each tile with its bytes, and asked between tiles to stop.
        sha256: True to hash the whole file as well, at half the speed and by a single thread.
    """
    whole = hashlib.sha256() if sha256 else None
    tiles = TileHasher()
    for tile in range(tile_count(nbytes)):
        if watch.stopping():
            raise Interrupted("stopped within a file")
        start, stop = tile_range(tile, nbytes)
        for piece in pieces(path, start, stop):
            tiles.update(piece)
            if whole is not None:
                whole.update(piece)
        watch.advanced(stop - start)
    return tiles.finish(), whole.hexdigest() if whole is not None else None


def sum_of(digest: Digest, path: str, nbytes: int, watch: Watch) -> str | None:
    """Return the checksum of a file in hex; None if it was asked to stop.

    Args:
        digest: The hash to feed.
        path: The file.
        nbytes: Its size.
        watch: Called after each tile with its bytes, and asked between tiles to stop.
    """
    for tile in range(tile_count(nbytes)):
        if watch.stopping():
            return None
        start, stop = tile_range(tile, nbytes)
        for piece in pieces(path, start, stop):
            digest.update(piece)
        watch.advanced(stop - start)
    return digest.hexdigest()


class Digest(Protocol):
    """Hash object with the interface of hashlib's."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the checksum so far."""


class TileHasher:
    """Checksums of the tiles of one file, fed with its consecutive bytes from a tile's start on.

    Attributes:
        sums: Checksums of the complete tiles.
        nbytes: Bytes so far.
    """

    def __init__(self) -> None:
        self.sums: list[str] = []
        self.nbytes = 0
        self._tile = xxhash.xxh3_128()

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes, in blocks of any length."""
        left = memoryview(data)
        while left:
            block = left[: TILE_BYTES - self.nbytes % TILE_BYTES]
            self._tile.update(block)
            self.nbytes += len(block)
            left = left[len(block) :]
            if self.nbytes % TILE_BYTES == 0:
                self._close()

    def finish(self) -> list[str]:
        """End the last tile, which may be shorter; return all checksums."""
        if self.nbytes % TILE_BYTES:
            self._close()
        return self.sums

    def _close(self) -> None:
        self.sums.append(self._tile.hexdigest())
        self._tile.reset()


class TileSums:
    """Checksums of the same tiles of a group of files, fed with consecutive bytes of each.

    Args:
        files: Number of files in the group.
        nbytes: Bytes of the tiles, of which the last may be shorter.
    """

    def __init__(self, files: int, nbytes: int) -> None:
        self._nbytes = nbytes
        self._hashers = [TileHasher() for _ in range(files)]

    def update(self, file: int, block: memoryview) -> None:
        """Add bytes of one of the files, by its number."""
        hasher = self._hashers[file]
        hasher.update(block)
        if hasher.nbytes == self._nbytes:
            hasher.finish()

    def append_zeros(self, nbytes: int) -> None:
        """Add a whole tile of zeros to every file."""
        for hasher in self._hashers:
            hasher.sums.append(_sum_of_zeros(nbytes))
            hasher.nbytes += nbytes

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Return the checksums of the tiles that are complete in every file, `[file][tile]`."""
        complete = min(len(hasher.sums) for hasher in self._hashers)
        return tuple(tuple(hasher.sums[:complete]) for hasher in self._hashers)


@cache
def _sum_of_zeros(nbytes: int) -> str:
    return xxhash.xxh3_128(bytes(nbytes)).hexdigest()
