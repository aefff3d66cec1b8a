"""What the metadata of a zarr array says: of version 3 or 2, whoever wrote it.

Source: the zarr 3 specification with its sharding-indexed codec, and that of zarr 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from grokpack import bounded_json
from grokpack.errors import GrokpackError
from grokpack.formats.zarr import ABSENT, CRC_BYTES, ENTRY, NAMES
from grokpack.tensor import ArraySpec, DType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.tensor import Shape

_DTYPES = {name: dtype for dtype, name in NAMES.items()} | {
    "|u1": DType.U8,
    "|i1": DType.I8,
    "<i4": DType.I32,
    "<i8": DType.I64,
    "<f2": DType.F16,
    "<f4": DType.F32,
}
"""Names in version 3, and numpy's in version 2; bfloat16 has none of numpy's."""
_MOST_AXES = 8  # and elements: what a hostile header can make us compute is bounded
_LARGEST = 1 << 50


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
        document = bounded_json.parse(data)
        version = document["zarr_format"]
        if version == 3 and document["node_type"] == "group":  # noqa: PLR2004  # zarr's version
            return None
        return {2: _parse_2, 3: _parse_3}[version](document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
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
    nbytes = chunks * ENTRY.size + CRC_BYTES * (len(names) - 1)
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
    for chunk in range(len(index) // ENTRY.size):
        offset, nbytes = ENTRY.unpack_from(index, chunk * ENTRY.size)
        if offset == nbytes == ABSENT:
            if chunk not in outside:
                return f"chunk {chunk} of the shard is missing"
        elif offset + nbytes > size:
            return f"the shard's index places chunk {chunk} beyond the file's end"
    return None
