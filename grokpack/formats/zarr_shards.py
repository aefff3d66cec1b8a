"""Shards of zarr stores to write, of uncompressed or compressed chunks.

An uncompressed chunk is a box of its array, row-major and dense, followed by four bytes of crc32c.
A shard is a run of such chunks and an index of their offsets, which is known before any of them is
written. A store is therefore a layout like any other.

Source: the zarr 3 specification, its sharding-indexed and crc32c codecs.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import accumulate, product
from typing import TYPE_CHECKING

from grokpack.core.layout import ArraySlice, Box, FileLayout, Literal
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats.crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from grokpack.core.tensors import Shape

METADATA = "zarr.json"
METADATA_2 = ".zarray"
NIBBLES = "two int4 in a byte of the last axis, the first in the low bits, two's complement"
"""Value of the attribute `packing` for 4-bit codes."""
CRC_BYTES = 4  # after each chunk, and after the index of a shard
ENTRY = struct.Struct("<QQ")  # entry of an index: a chunk's offset and length
ABSENT = 2**64 - 1  # both numbers of a chunk that is not stored
NAMES = {
    DType.U8: "uint8",
    DType.I8: "int8",
    DType.I32: "int32",
    DType.I64: "int64",
    DType.BF16: "bfloat16",  # TensorStore supports it; the specification leaves it to extensions
    DType.F16: "float16",
    DType.F32: "float32",
}
NAMES_OF_OCTETS = {
    DType.F8_E4M3: "float8_e4m3fn",
    DType.F8_E5M2: "float8_e5m2",
    DType.F8_E8M0: "float8_e8m0fnu",
}
"""Names of floats of 8 bits, likewise TensorStore's: in views alone, of codes and scales."""
FLOATS = (DType.BF16, DType.F16, DType.F32)
LEVEL = 1  # of zstd: higher ones gain nothing on weights


@dataclass(frozen=True, slots=True)
class ShardGrid:
    """Grid that cuts an array into shards, and each shard into chunks.

    The number of chunks along an axis is a multiple of a shard's, so that all shards hold equally
    many. Only the last chunks may reach beyond the array.

    Attributes:
        shape: Shape of the array.
        shard: Shape of a shard, a multiple of the chunk's.
        chunk: Shape of a chunk.
    """

    shape: Shape
    shard: Shape
    chunk: Shape

    @property
    def shards(self) -> Shape:
        """Number of shards along each axis."""
        return tuple(-(-n // s) for n, s in zip(self.shape, self.shard, strict=True))

    @property
    def per_shard(self) -> int:
        """Chunks in a shard."""
        return math.prod(self._inner)

    @property
    def _inner(self) -> Shape:
        return tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))

    def box(self, row: int) -> Box:
        """Return the box of a chunk, counted shard by shard; the last may exceed the array."""
        shard, chunk = divmod(row, self.per_shard)
        outer, inner = unravel(shard, self.shards), unravel(chunk, self._inner)
        start = tuple(
            o * s + i * c for o, s, i, c in zip(outer, self.shard, inner, self.chunk, strict=True)
        )
        return Box(start, self.chunk)


def unravel(index: int, counts: Shape) -> Shape:
    """Return the index of an element from its row-major number."""
    found = []
    for count in reversed(counts):
        index, rest = divmod(index, count)
        found.append(rest)
    return tuple(reversed(found))


def choose_grid(spec: ArraySpec, cuts: Shape, chunk_bytes: int, shard_bytes: int) -> ShardGrid:
    """Choose shards and chunks of about these sizes that no rank's slice cuts.

    Both grow along the last axis first, then along the one before it: chunks are bands of rows.

    Args:
        spec: The array.
        cuts: Equal parts along each axis that shards must not straddle.
        chunk_bytes: Largest chunk.
        shard_bytes: Largest shard, without its index.
    """
    own = tuple(n // c if n % c == 0 else n for n, c in zip(spec.shape, cuts, strict=True))
    while True:
        chunk = _grow((1,) * len(own), own, chunk_bytes // spec.dtype.itemsize, padded=True)
        # only the end of the whole array may be padded, not that of a rank's slice
        sizes = zip(own, chunk, spec.shape, strict=True)
        wider = tuple(n if n % c == 0 else whole for n, c, whole in sizes)
        if wider == own:
            break
        own = wider
    shard = _grow(chunk, own, shard_bytes // spec.dtype.itemsize)
    return ShardGrid(spec.shape, shard, chunk)


def _grow(unit: Shape, limit: Shape, elements: int, *, padded: bool = False) -> Shape:
    """Return the largest box of whole units with so many elements, within a limit.

    It grows along the last axis first. It divides the limit, unless it may be `padded` and every
    divisor is far too small.
    """
    box = list(unit)
    for axis in reversed(range(len(unit))):
        room = max(1, elements // math.prod(box))
        whole = -(-limit[axis] // unit[axis])
        times = max(d for d in range(1, min(room, whole) + 1) if whole % d == 0)
        if padded and times * _AWKWARD < min(room, whole):
            times = -(-whole // -(-whole // room))  # the last one reaches beyond the axis
        box[axis] = unit[axis] * times
        if times < whole:
            break
    return tuple(box)


_AWKWARD = 8  # a divisor this many times smaller than the room makes too many chunks


def frames_spec(spec: ArraySpec, grid: ShardGrid, *, checked: bool = True) -> ArraySpec:
    """Return the spec of all chunks, shard by shard, with checksums: `u8[chunk, bytes + 4]`.

    Without `checked` the checksums are left out: those of compressed chunks cover the compressed
    bytes.
    """
    frame = math.prod(grid.chunk) * spec.dtype.itemsize + CRC_BYTES * checked
    return ArraySpec((math.prod(grid.shards) * grid.per_shard, frame), DType.U8)


def lay_out(
    path: str, frames: str, spec: ArraySpec, grid: ShardGrid, *, compressed: bool = False
) -> Iterator[tuple[FileLayout, ...]]:
    """Lay out the shards of an array; shards that share rows form one group.

    For compressed shards only the chunks are known beforehand, so that the layout has no index.

    Args:
        path: Folder of the array.
        frames: Name of the array of its chunks and their checksums.
        spec: The array.
        grid: Its shards and chunks.
        compressed: True if chunks are compressed afterwards.
    """
    per_shard = grid.per_shard
    nbytes = frames_spec(spec, grid, checked=not compressed).shape[1]
    ending = () if compressed else (Literal(render_index([nbytes] * per_shard)),)
    files = []
    for number, at in enumerate(product(*map(range, grid.shards))):
        box = Box((number * per_shard, 0), (per_shard, nbytes))
        file = "/".join([path, "c", *map(str, at)])
        files.append(FileLayout(file, (ArraySlice(frames, box, DType.U8), *ending)))
    width = grid.shards[-1] if grid.shards else 1
    for first in range(0, len(files), width):
        yield tuple(files[first : first + width])


def render_index(sizes: Sequence[int]) -> bytes:
    """Render the index of a shard: offset and length of each chunk, with a checksum."""
    starts = accumulate(sizes, initial=0)
    entries = b"".join(map(ENTRY.pack, starts, sizes))
    return entries + crc32c(entries).to_bytes(CRC_BYTES, "little")
