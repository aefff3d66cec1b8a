"""zarr arrays as files that are written: metadata, and shards of chunks that are as they are.

A chunk that is not compressed is a box of its array, row-major and dense; behind it stand four
bytes of crc32c. A shard is such chunks end to end and an index of where each begins, which is
known before any of them is written. So a store is a layout like any other.

Source: the zarr 3 specification, its sharding-indexed and crc32c codecs.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

from grokpack.core.layout import Box, FileLayout, Literal, Part
from grokpack.core.optional_imports import load
from grokpack.core.tensors import ArraySpec, DType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from grokpack.core.tensors import Shape

METADATA = "zarr.json"
METADATA_2 = ".zarray"
NIBBLES = "two int4 in a byte of the last axis, the first in the low bits, two's complement"
"""What the attribute `packing` says of codes of four bits."""
CRC_BYTES = 4  # behind each chunk, and behind the index of a shard
ENTRY = struct.Struct("<QQ")  # of an index: where a chunk begins, and its length
ABSENT = 2**64 - 1  # both numbers of a chunk that is not stored
NAMES = {
    DType.U8: "uint8",
    DType.I8: "int8",
    DType.I32: "int32",
    DType.I64: "int64",
    DType.BF16: "bfloat16",  # TensorStore has it; the specification leaves it to extensions
    DType.F16: "float16",
    DType.F32: "float32",
}
FLOATS = (DType.BF16, DType.F16, DType.F32)
LEVEL = 1  # of zstd: higher ones gain nothing on weights
_CRC: dict[str, Any] = {"name": "crc32c"}
_ZSTD: dict[str, Any] = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}


def crc32c() -> Callable[[Any], int]:
    """The checksum of chunks, computed by the processor's own instruction.

    The package is one that lets other threads go on meanwhile.

    Raises:
        GrokpackError: GP307 where it is not installed.
    """
    checksum: Callable[[Any], int] = load("crc32c", "zarr").crc32c
    return checksum


@dataclass(frozen=True, slots=True)
class ShardGrid:
    """How an array is cut into shards, and a shard into chunks.

    The number of chunks along an axis is a multiple of those of a shard, so that every shard
    holds equally many; only the last chunks may reach beyond the array.

    Attributes:
        shape: Of the array.
        shard: Of a shard; a multiple of the chunk.
        chunk: Of a chunk.
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
        """The box of a chunk, counted shard by shard; the last may reach beyond the array."""
        shard, chunk = divmod(row, self.per_shard)
        outer, inner = unravel(shard, self.shards), unravel(chunk, self._inner)
        start = tuple(
            o * s + i * c for o, s, i, c in zip(outer, self.shard, inner, self.chunk, strict=True)
        )
        return Box(start, self.chunk)


def unravel(index: int, counts: Shape) -> Shape:
    """The place of an element by its number, in row-major order."""
    found = []
    for count in reversed(counts):
        index, rest = divmod(index, count)
        found.append(rest)
    return tuple(reversed(found))


def choose_grid(spec: ArraySpec, cuts: Shape, chunk_bytes: int, shard_bytes: int) -> ShardGrid:
    """Shards of chunks of about these sizes, that no slice of a rank cuts.

    Both grow along the last axis first, then along the one before it: chunks are bands of rows.

    Args:
        spec: The array.
        cuts: Equal parts along each axis that shards must not straddle.
        chunk_bytes: Largest chunk.
        shard_bytes: Largest shard, but for its index.
    """
    own = tuple(n // c if n % c == 0 else n for n, c in zip(spec.shape, cuts, strict=True))
    while True:
        chunk = _grow((1,) * len(own), own, chunk_bytes // spec.dtype.itemsize, padded=True)
        # what does not divide a rank's slice may reach beyond the whole array only
        sizes = zip(own, chunk, spec.shape, strict=True)
        wider = tuple(n if n % c == 0 else whole for n, c, whole in sizes)
        if wider == own:
            break
        own = wider
    shard = _grow(chunk, own, shard_bytes // spec.dtype.itemsize)
    return ShardGrid(spec.shape, shard, chunk)


def _grow(unit: Shape, limit: Shape, elements: int, *, padded: bool = False) -> Shape:
    """The largest box of whole units within a limit of so many elements, last axis first.

    It divides the limit, unless it may be `padded` and what divides is far too small.
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


_AWKWARD = 8  # a divisor smaller by this factor than what fits makes too many chunks


def array_document(
    spec: ArraySpec,
    grid: ShardGrid,
    attributes: Mapping[str, Any] | None = None,
    axes: tuple[str, ...] | None = None,
    *,
    compressed: bool = False,
) -> bytes:
    """zarr.json of an array in shards of chunks with checksums."""
    little: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
    plain: dict[str, Any] = {"name": "bytes"} if spec.dtype.itemsize == 1 else little
    sharding = {
        "chunk_shape": grid.chunk,
        "codecs": [plain, *([_ZSTD] if compressed else []), _CRC],
        "index_codecs": [little, _CRC],
        "index_location": "end",
    }
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": spec.shape,
        "data_type": NAMES[spec.dtype],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid.shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0 if spec.dtype in FLOATS else 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }
    if axes:
        document["dimension_names"] = axes
    if attributes:
        document["attributes"] = attributes
    return _rendered(document)


def group_document(attributes: Mapping[str, Any] | None = None) -> bytes:
    """zarr.json of a group."""
    return _rendered({"zarr_format": 3, "node_type": "group", "attributes": attributes or {}})


def _rendered(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def frames_spec(spec: ArraySpec, grid: ShardGrid, *, checked: bool = True) -> ArraySpec:
    """Every chunk of an array, shard by shard, with its checksum: `u8[chunk, bytes + 4]`.

    Not `checked`, without it: of chunks that are compressed it covers what becomes of them.
    """
    frame = math.prod(grid.chunk) * spec.dtype.itemsize + CRC_BYTES * checked
    return ArraySpec((math.prod(grid.shards) * grid.per_shard, frame), DType.U8)


def lay_out(
    path: str, frames: str, spec: ArraySpec, grid: ShardGrid, *, compressed: bool = False
) -> Iterator[tuple[FileLayout, ...]]:
    """The shards of an array, those that share rows in one band.

    Of shards that are compressed, chunks are all that is known beforehand.

    Args:
        path: Folder of the array.
        frames: Name of the array of its chunks and their checksums.
        spec: The array.
        grid: How it is cut.
        compressed: Whether chunks are compressed afterwards.
    """
    per_shard = grid.per_shard
    nbytes = frames_spec(spec, grid, checked=not compressed).shape[1]
    ending = () if compressed else (Literal(render_index([nbytes] * per_shard)),)
    files = []
    for number, at in enumerate(product(*map(range, grid.shards))):
        box = Box((number * per_shard, 0), (per_shard, nbytes))
        file = "/".join([path, "c", *map(str, at)])
        files.append(FileLayout(file, (Part(frames, box, DType.U8), *ending)))
    width = grid.shards[-1] if grid.shards else 1
    for first in range(0, len(files), width):
        yield tuple(files[first : first + width])


def render_index(sizes: Sequence[int]) -> bytes:
    """Where each chunk of a shard begins, and how long it is, with a checksum."""
    starts = accumulate(sizes, initial=0)
    entries = b"".join(map(ENTRY.pack, starts, sizes))
    return entries + crc32c()(entries).to_bytes(CRC_BYTES, "little")
