"""zarr arrays as files: metadata of versions 3 and 2, and shards of chunks that are as they are.

A chunk that is not compressed is a box of its array, row-major and dense; behind it stand four
bytes of crc32c. A shard is such chunks end to end and an index of where each begins, which is
known before any of them is written. So a store is a layout like any other.

Source: the zarr 3 specification, its sharding-indexed and crc32c codecs, and that of zarr 2.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from grokpack.errors import GrokpackError
from grokpack.extras import load
from grokpack.layout import Box, FileLayout, Literal, Part
from grokpack.tensor import ArraySpec, DType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from grokpack.tensor import Shape

METADATA = "zarr.json"
METADATA_2 = ".zarray"
NIBBLES = "two int4 in a byte of the last axis, the first in the low bits, two's complement"
"""What the attribute `packing` says of codes of four bits."""
CRC_BYTES = 4  # behind each chunk, and behind the index of a shard
_ENTRY = struct.Struct("<QQ")  # of an index: where a chunk begins, and its length
_ABSENT = 2**64 - 1  # both numbers of a chunk that is not stored
_NAMES = {
    DType.U8: "uint8",
    DType.I8: "int8",
    DType.I32: "int32",
    DType.I64: "int64",
    DType.BF16: "bfloat16",
    DType.F16: "float16",
    DType.F32: "float32",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()} | {
    "|u1": DType.U8,
    "|i1": DType.I8,
    "<i4": DType.I32,
    "<i8": DType.I64,
    "<f2": DType.F16,
    "<f4": DType.F32,
}
"""Names in version 3, and numpy's in version 2; bfloat16 has none of numpy's."""
_FLOATS = (DType.BF16, DType.F16, DType.F32)
_CRC: dict[str, Any] = {"name": "crc32c"}
_MOST_AXES = 8  # and elements: what a hostile header can make us compute is bounded
_LARGEST = 1 << 50


def crc32c() -> Callable[[Any], int]:
    """The checksum of chunks, computed by the processor's own instruction.

    Raises:
        GrokpackError: GP307 where the package for it is not installed.
    """
    value: Callable[[Any], int] = load("google_crc32c", "zarr").value
    return value


@dataclass(frozen=True, slots=True)
class Grid:
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
        outer, inner = _unravel(shard, self.shards), _unravel(chunk, self._inner)
        start = tuple(
            o * s + i * c for o, s, i, c in zip(outer, self.shard, inner, self.chunk, strict=True)
        )
        return Box(start, self.chunk)


def _unravel(index: int, counts: Shape) -> Shape:
    found = []
    for count in reversed(counts):
        index, rest = divmod(index, count)
        found.append(rest)
    return tuple(reversed(found))


def choose_grid(spec: ArraySpec, cuts: Shape, chunk_bytes: int, shard_bytes: int) -> Grid:
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
        chunk = _grow((1,) * len(own), own, chunk_bytes // spec.dtype.itemsize)
        # what does not divide a rank's slice may reach beyond the whole array only
        sizes = zip(own, chunk, spec.shape, strict=True)
        wider = tuple(n if n % c == 0 else whole for n, c, whole in sizes)
        if wider == own:
            break
        own = wider
    shard = _grow(chunk, own, shard_bytes // spec.dtype.itemsize)
    return Grid(spec.shape, shard, chunk)


def _grow(unit: Shape, limit: Shape, elements: int) -> Shape:
    """The largest box of whole units within a limit of so many elements, last axis first."""
    box = list(unit)
    for axis in reversed(range(len(unit))):
        room = max(1, elements // math.prod(box))
        whole = -(-limit[axis] // unit[axis])
        times = max(d for d in range(1, min(room, whole) + 1) if whole % d == 0)
        if times * _AWKWARD < min(room, whole) and unit[axis] == 1:
            times = -(-whole // -(-whole // room))  # the last one reaches beyond the axis
        box[axis] = unit[axis] * times
        if times < whole:
            break
    return tuple(box)


_AWKWARD = 8  # a divisor smaller by this factor than what fits makes too many chunks


def array_document(
    spec: ArraySpec,
    grid: Grid,
    attributes: Mapping[str, Any] | None = None,
    axes: tuple[str, ...] | None = None,
) -> bytes:
    """zarr.json of an array in shards of chunks with checksums."""
    little: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
    plain: dict[str, Any] = {"name": "bytes"} if spec.dtype.itemsize == 1 else little
    sharding = {
        "chunk_shape": grid.chunk,
        "codecs": [plain, _CRC],
        "index_codecs": [little, _CRC],
        "index_location": "end",
    }
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": spec.shape,
        "data_type": _NAMES[spec.dtype],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid.shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0 if spec.dtype in _FLOATS else 0,
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


def frames_spec(spec: ArraySpec, grid: Grid) -> ArraySpec:
    """Every chunk of an array with its checksum, shard by shard: `u8[chunk, bytes + 4]`."""
    frame = math.prod(grid.chunk) * spec.dtype.itemsize + CRC_BYTES
    return ArraySpec((math.prod(grid.shards) * grid.per_shard, frame), DType.U8)


def lay_out(
    path: str, frames: str, spec: ArraySpec, grid: Grid
) -> Iterator[tuple[FileLayout, ...]]:
    """The shards of an array, those that share rows in one band.

    Args:
        path: Folder of the array.
        frames: Name of the array of its chunks and their checksums.
        spec: The array.
        grid: How it is cut.
    """
    per_shard, nbytes = grid.per_shard, frames_spec(spec, grid).shape[1]
    index = Literal(_index(per_shard, nbytes))
    files = []
    for number, at in enumerate(product(*map(range, grid.shards))):
        box = Box((number * per_shard, 0), (per_shard, nbytes))
        file = "/".join([path, "c", *map(str, at)])
        files.append(FileLayout(file, (Part(frames, box, DType.U8), index)))
    width = grid.shards[-1] if grid.shards else 1
    for first in range(0, len(files), width):
        yield tuple(files[first : first + width])


def _index(chunks: int, nbytes: int) -> bytes:
    """Where each chunk of a shard begins, and how long it is, with a checksum."""
    entries = b"".join(_ENTRY.pack(i * nbytes, nbytes) for i in range(chunks))
    return entries + crc32c()(entries).to_bytes(CRC_BYTES, "little")


@dataclass(frozen=True, slots=True)
class Stored:
    """An array of any zarr store, as its metadata tells.

    Attributes:
        spec: Shape and dtype.
        file: Shape of what one file holds: a chunk, or a shard.
        chunk: Shape of what has to be decoded at once.
        version: 2 or 3.
        key: Makes a file's name of its place in the grid: prefix and separator.
        index: Bytes of a shard's index and whether it stands at the end; None where there is no
            index, or one of a kind that is not looked into.
        file_bytes: Size of each file, where it is the same for all; None otherwise.
        packing: How its elements hold several codes each, where they do.
    """

    spec: ArraySpec
    file: Shape
    chunk: Shape
    version: int
    key: tuple[str, str]
    index: tuple[int, bool] | None = None
    file_bytes: int | None = None
    packing: str | None = None

    def places(self) -> Iterator[Shape]:
        """Places of all files of the array in its grid."""
        counts = (-(-n // s) for n, s in zip(self.spec.shape, self.file, strict=True))
        return product(*map(range, counts))

    def key_of(self, at: Shape) -> str:
        """Name of the file at a place of the grid."""
        prefix, separator = self.key
        return separator.join([*([prefix] if prefix else []), *map(str, at)]) or "0"

    def outside(self, at: Shape) -> set[int]:
        """Chunks, by number, of the shard at a place that lie wholly beyond the array."""
        counts = tuple(f // c for f, c in zip(self.file, self.chunk, strict=True))
        sizes = zip(at, self.file, self.chunk, self.spec.shape, strict=True)
        inside = tuple(-(-(whole - i * f) // c) for i, f, c, whole in sizes)
        if all(n >= count for n, count in zip(inside, counts, strict=True)):
            return set()
        places = enumerate(product(*map(range, counts)))
        return {
            number
            for number, place in places
            if any(i >= n for i, n in zip(place, inside, strict=True))
        }

    def holder(self, index: Shape) -> str:
        """Name of the file that holds an element."""
        return self.key_of(tuple(i // s for i, s in zip(index, self.file, strict=True)))

    @property
    def files(self) -> int:
        """How many files the array has."""
        return math.prod(-(-n // s) for n, s in zip(self.spec.shape, self.file, strict=True))

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk, decoded."""
        return math.prod(self.chunk) * self.spec.dtype.itemsize


def parse(data: bytes) -> Stored | None:
    """An array's metadata, of version 3 or 2; None for that of a group.

    Raises:
        GrokpackError: GP209 where it is broken, GP208 for a dtype or a grid that is not read.
    """
    try:
        document = json.loads(data)
        version = document["zarr_format"]
        if version == 3 and document["node_type"] == "group":  # noqa: PLR2004  # zarr's version
            return None
        return {2: _parse_2, 3: _parse_3}[version](document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise GrokpackError("GP209", f"metadata of a zarr array is broken: {error}") from error


def _parse_3(document: dict[str, Any]) -> Stored:
    spec = ArraySpec(_shape(document["shape"]), _dtype(document["data_type"]))
    grid = document["chunk_grid"]
    if grid["name"] != "regular":
        raise GrokpackError("GP208", f"a chunk grid of the kind {grid['name']!r} is not read")
    file = _shape(grid["configuration"]["chunk_shape"], len(spec.shape))
    encoding = document.get("chunk_key_encoding", {"name": "default"})
    default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    codecs = document["codecs"]
    shards = codecs[0]["name"] == "sharding_indexed" and len(codecs) == 1
    inner = codecs[0]["configuration"] if shards else {}
    chunk = _shape(inner["chunk_shape"], len(spec.shape)) if shards else file
    return Stored(
        spec,
        file,
        chunk,
        3,
        ("c" if default else "", str(separator)),
        _index_place(inner, file, chunk) if shards else None,
        None if shards else _plain_bytes(codecs, file, spec.dtype),
        document.get("attributes", {}).get("packing"),
    )


def _index_place(inner: Mapping[str, Any], file: Shape, chunk: Shape) -> tuple[int, bool] | None:
    names = [codec["name"] for codec in inner["index_codecs"]]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        return None
    chunks = math.prod(s // c for s, c in zip(file, chunk, strict=True))
    nbytes = chunks * _ENTRY.size + CRC_BYTES * (len(names) - 1)
    return nbytes, inner.get("index_location", "end") == "end"


def _plain_bytes(codecs: list[dict[str, Any]], file: Shape, dtype: DType) -> int | None:
    """Size of the files of chunks that are not compressed."""
    names = [codec["name"] for codec in codecs if codec["name"] != "transpose"]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        return None
    return math.prod(file) * dtype.itemsize + CRC_BYTES * (len(names) - 1)


def _parse_2(document: dict[str, Any]) -> Stored:
    spec = ArraySpec(_shape(document["shape"]), _dtype(document["dtype"]))
    chunk = _shape(document["chunks"], len(spec.shape))
    plain = document.get("compressor") is None and not document.get("filters")
    nbytes = math.prod(chunk) * spec.dtype.itemsize if plain else None
    separator = str(document.get("dimension_separator", "."))
    return Stored(spec, chunk, chunk, 2, ("", separator), None, nbytes)


def _shape(numbers: object, axes: int | None = None) -> Shape:
    if not isinstance(numbers, list) or len(numbers) > _MOST_AXES:
        raise ValueError(numbers)
    sound = all(type(n) is int and 0 < n < _LARGEST for n in numbers)
    if not sound or math.prod(numbers) > _LARGEST or axes not in (None, len(numbers)):
        raise ValueError(numbers)
    return tuple(numbers)


def _dtype(name: object) -> DType:
    if not isinstance(name, str) or name not in _DTYPES:
        raise GrokpackError("GP208", f"arrays of the dtype {name!r} are not read")
    return _DTYPES[name]


def misplaced(index: bytes, size: int, outside: set[int]) -> str | None:
    """What is wrong with the index of a shard, as a sentence; None where nothing can be seen.

    Args:
        index: Its bytes; a checksum behind the entries is not looked at.
        size: Bytes of the file.
        outside: Chunks that lie beyond the array, which need not be stored.
    """
    for chunk in range(len(index) // _ENTRY.size):
        offset, nbytes = _ENTRY.unpack_from(index, chunk * _ENTRY.size)
        if offset == nbytes == _ABSENT:
            if chunk not in outside:
                return f"chunk {chunk} of the shard is missing"
        elif offset + nbytes > size:
            return f"the shard's index places chunk {chunk} beyond the file's end"
    return None
