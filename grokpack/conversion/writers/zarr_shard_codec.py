"""Codec of zarr shards whose chunks are compressed one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.layout import Literal
from grokpack.formats import zarr_shards, zstd_seekable
from grokpack.formats.crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from grokpack.core.layout import FileLayout
    from grokpack.formats.file_codec import Frame

CHUNK_BYTES = 1 << 20
"""Size of a chunk, all of which is read for one value. Larger ones are read no faster."""


@dataclass(frozen=True, slots=True)
class ZarrShardCodec:
    """Codec of shards: a zstd frame and its crc32c for each chunk, then the index."""

    @property
    def held_bytes(self) -> int:
        """Bytes of a chunk, its compressed form, and the compressor's tables (1.4 MB, level 1)."""
        return 2 * zstd_seekable.bound(CHUNK_BYTES) + (2 << 20)

    def frames(self, file: FileLayout) -> Iterable[int]:
        """Cut a file into a frame for each chunk; a file of metadata is a single frame."""
        (part,) = file.segments
        if isinstance(part, Literal):
            return [part.nbytes]
        chunks, nbytes = part.box.shape
        return (nbytes for _ in range(chunks))

    def encoder(self, file: FileLayout) -> Callable[[memoryview], bytes]:
        """Return the function that compresses a chunk and appends its checksum."""
        if _is_metadata(file):
            return bytes
        import zstandard

        compressor = zstandard.ZstdCompressor(level=zarr_shards.LEVEL)

        def encode(chunk: memoryview) -> bytes:
            small = compressor.compress(chunk)
            return small + crc32c(small).to_bytes(zarr_shards.CRC_BYTES, "little")

        return encode

    def ending(self, file: FileLayout, frames: Sequence[Frame]) -> bytes:
        """Make the index of a shard."""
        if _is_metadata(file):
            return b""
        return zarr_shards.render_index([frame.encoded for frame in frames])

    def bound(self, file: FileLayout) -> int:
        """Return the largest size that a compressed file can have."""
        if _is_metadata(file):
            return file.nbytes
        lengths = list(self.frames(file))
        index = len(lengths) * zarr_shards.ENTRY.size + zarr_shards.CRC_BYTES
        return sum(zstd_seekable.bound(n) + zarr_shards.CRC_BYTES for n in lengths) + index

    def describe(self) -> dict[str, object]:
        """Describe format and level."""
        return {"name": "zarr shards in zstd", "level": zarr_shards.LEVEL}


def _is_metadata(file: FileLayout) -> bool:
    return all(isinstance(segment, Literal) for segment in file.segments)
