"""Shards of a zarr store whose chunks are compressed, each on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.layout import Literal
from grokpack.formats import zarr, zstd_seekable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from grokpack.core.layout import FileLayout
    from grokpack.formats.file_codec import Frame

CHUNK_BYTES = 1 << 20
"""What has to be read to get at one value; a mebibyte is read as fast as more is."""


@dataclass(frozen=True, slots=True)
class Shards:
    """Shards in zstd, a frame for each chunk with its crc32c, and the index; metadata as it is."""

    @property
    def held_bytes(self) -> int:
        """A chunk, what it becomes, and the compressor's tables (1.4 MB at level 1)."""
        return 2 * zstd_seekable.bound(CHUNK_BYTES) + (2 << 20)

    def frames(self, file: FileLayout) -> Iterable[int]:
        """A frame for each chunk; all of a file of metadata is one."""
        (part,) = file.segments
        if isinstance(part, Literal):
            return [part.nbytes]
        chunks, nbytes = part.box.shape
        return (nbytes for _ in range(chunks))

    def encoder(self, file: FileLayout) -> Callable[[memoryview], bytes]:
        """What compresses a chunk and puts its checksum behind it."""
        if _is_metadata(file):
            return bytes
        import zstandard

        compressor, checksum = zstandard.ZstdCompressor(level=zarr.LEVEL), zarr.crc32c()

        def encode(chunk: memoryview) -> bytes:
            small = compressor.compress(chunk)
            return small + checksum(small).to_bytes(zarr.CRC_BYTES, "little")

        return encode

    def ending(self, file: FileLayout, frames: Sequence[Frame]) -> bytes:
        """The index of a shard."""
        if _is_metadata(file):
            return b""
        return zarr.render_index([frame.encoded for frame in frames])

    def bound(self, file: FileLayout) -> int:
        """What the file takes if nothing in it can be compressed."""
        if _is_metadata(file):
            return file.nbytes
        lengths = list(self.frames(file))
        index = len(lengths) * zarr.ENTRY.size + zarr.CRC_BYTES
        return sum(zstd_seekable.bound(n) + zarr.CRC_BYTES for n in lengths) + index

    def describe(self) -> dict[str, object]:
        """Format and level."""
        return {"name": "zarr shards in zstd", "level": zarr.LEVEL}


def _is_metadata(file: FileLayout) -> bool:
    return all(isinstance(segment, Literal) for segment in file.segments)
