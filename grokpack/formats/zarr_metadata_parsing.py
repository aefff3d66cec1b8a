"""Parsing of the metadata of zarr arrays of versions 2 and 3, by any writer.

Source: the zarr 3 specification with its sharding-indexed codec, and that of zarr 2.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.core.errors import InputTooLarge, MalformedInput, UnsupportedLayout
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import bounded_json
from grokpack.formats.zarr_shards import ABSENT, CRC_BYTES, ENTRY, NAMES, unravel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from grokpack.core.tensors import Shape

_DTYPES = {name: dtype for dtype, name in NAMES.items()} | {
    "|u1": DType.U8,
    "|i1": DType.I8,
    "<i4": DType.I32,
    "<i8": DType.I64,
    "<f2": DType.F16,
    "<f4": DType.F32,
}
"""Names in version 3, and numpy's in version 2; numpy has none for bfloat16."""
_MOST_AXES = 8  # these two limits bound the cost of a hostile header
_LARGEST = 1 << 50
_MOST_CHUNKS = 1 << 20  # of a shard, on all levels; a terabyte in chunks of a mebibyte
_CODEC_BYTES = 4096  # added by a codec: headers, tables, checksums
_DIGITS = 19  # of a number in a file's name
_SHARDS, _BLOSC = "sharding_indexed", "blosc"
BLOSC_HEAD_BYTES = 16
"""Header of blosc; its bytes 4 to 7 hold the decoded size."""


@dataclass(frozen=True, slots=True)
class ZarrArrayMetadata:
    """Array of any zarr store, as its metadata describes it.

    Attributes:
        spec: Shape and dtype.
        file: Shape of one file's contents: a chunk, or a shard.
        chunk: Shape that has to be decoded at once.
        version: 2 or 3.
        key: Prefix and separator of a file's name, which gives its index in the grid.
        index: Bytes of a shard's index, and whether it stands at the end; None if there is no
            index, or one of a kind that is not read.
        file_bytes: Size of each file if it is the same for all; else None.
        most_bytes: Largest encoded size of a chunk, by any reasonable codec.
        blosc: True if chunks are encoded by blosc, which decodes as much as their headers claim.
        packing: How elements hold several codes each, if they do.
    """

    spec: ArraySpec
    file: Shape
    chunk: Shape
    version: int
    key: tuple[str, str]
    index: tuple[int, bool] | None = None
    file_bytes: int | None = None
    most_bytes: int = 0
    blosc: bool = False
    packing: str | None = None

    def places(self) -> Iterator[Shape]:
        """Return the grid index of each file of the array."""
        return (unravel(number, self._counts) for number in range(self.files))

    @property
    def _counts(self) -> Shape:
        """Number of files along each axis."""
        return tuple(-(-n // s) for n, s in zip(self.spec.shape, self.file, strict=True))

    def place_of(self, key: str) -> Shape | None:
        """Return the grid index of the file with this name; None if no file has it."""
        prefix, separator = self.key
        words = key.split(separator)
        if prefix and words[0] == prefix:
            words = words[1:]
        if not self.file:
            words = []
        if not all(word.isdecimal() and len(word) < _DIGITS for word in words):
            return None
        at = tuple(map(int, words))
        inside = len(at) == len(self.file) and all(map(int.__lt__, at, self._counts))
        return at if inside and self.key_of(at) == key else None

    def key_of(self, at: Shape) -> str:
        """Return the name of the file at a grid index."""
        prefix, separator = self.key
        return separator.join([*([prefix] if prefix else []), *map(str, at)]) or "0"

    def outside(self, at: Shape) -> np.ndarray:
        """Mark the chunks of the shard at a grid index that lie beyond the array, `bool[chunk]`."""
        counts = tuple(f // c for f, c in zip(self.file, self.chunk, strict=True))
        beyond: np.ndarray = np.zeros(counts, bool)
        sizes = zip(at, self.file, self.chunk, self.spec.shape, strict=True)
        for axis, (i, f, c, whole) in enumerate(sizes):
            first = -(-(whole - i * f) // c)
            beyond[(*(slice(None) for _ in range(axis)), slice(max(0, first), None))] = True
        return beyond.reshape(-1)

    def holder(self, index: Shape) -> str:
        """Return the name of the file that holds an element."""
        return self.key_of(tuple(i // s for i, s in zip(index, self.file, strict=True)))

    @property
    def files(self) -> int:
        """Number of files of the array."""
        return math.prod(self._counts)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.chunk) * self.spec.dtype.itemsize


def parse(data: bytes) -> ZarrArrayMetadata | None:
    """Parse an array's metadata, of version 3 or 2; return None for a group's.

    Raises:
        GrokpackError: GP209 if it is broken, GP208 for a dtype, a grid or codecs that are not read,
            GP235 for shards of more chunks than any array needs.
    """
    try:
        document = bounded_json.parse(data)
        version = document["zarr_format"]
        node = document["node_type"] if version == 3 else "array"  # noqa: PLR2004  # zarr's version
        if node == "group":
            return None
        if node != "array":
            raise ValueError("`node_type` is neither `array` nor `group`")
        return {2: _parse_2, 3: _parse_3}[version](document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedInput(f"metadata of a zarr array is broken: {error}") from error


def unsharded(data: bytes) -> bytes | None:
    """Return the metadata of an array whose files are the chunks of an array's shards.

    Args:
        data: Metadata that `parse` accepts; the result is None if it describes no shards.
    """
    document = bounded_json.parse(data)
    codecs = document.get("codecs", ())
    if len(codecs) != 1 or codecs[0]["name"] != _SHARDS:
        return None
    inner = codecs[0]["configuration"]
    grid = {"name": "regular", "configuration": {"chunk_shape": inner["chunk_shape"]}}
    own = {"chunk_grid": grid, "codecs": inner["codecs"], "chunk_key_encoding": {"name": "default"}}
    return json.dumps(document | own).encode()


def _parse_3(document: dict[str, Any]) -> ZarrArrayMetadata:
    spec = ArraySpec(_shape(document["shape"]), _dtype(document["data_type"]))
    grid = document["chunk_grid"]
    if grid["name"] != "regular":
        raise UnsupportedLayout(f"a chunk grid of the kind {grid['name']!r} is not read")
    file = _shape(grid["configuration"]["chunk_shape"], len(spec.shape))
    encoding = document.get("chunk_key_encoding", {"name": "default"})
    default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    codecs = document["codecs"]
    shards = codecs[0]["name"] == _SHARDS and len(codecs) == 1
    inner = codecs[0]["configuration"] if shards else {"codecs": codecs}
    chunk = _shape(inner["chunk_shape"], len(spec.shape)) if shards else file
    _entries(codecs, file)
    return ZarrArrayMetadata(
        spec,
        file,
        chunk,
        3,
        ("c" if default else "", str(separator)),
        _index_place(inner, file, chunk) if shards else None,
        None if shards else _plain_bytes(codecs, file, spec.dtype),
        _encoded_bytes(spec, chunk) + _entries(inner["codecs"], chunk) * (ENTRY.size + CRC_BYTES),
        _by_blosc([codec["name"] for codec in inner["codecs"]]),
        document.get("attributes", {}).get("packing"),
    )


def _encoded_bytes(spec: ArraySpec, chunk: Shape) -> int:
    """Return the largest encoded size of a chunk; no real compressor adds more than an eighth."""
    nbytes = math.prod(chunk) * spec.dtype.itemsize
    return nbytes + (nbytes >> 3) + _CODEC_BYTES


def _entries(codecs: list[dict[str, Any]], shape: Shape) -> int:
    """Count the entries of all indices in a chunk that is a shard or holds shards."""
    found = 0
    for codec in codecs:
        if codec["name"] == _SHARDS:
            inner = _shape(codec["configuration"]["chunk_shape"], len(shape))
            count = math.prod(shape) // math.prod(inner)
            found += count * (1 + _entries(codec["configuration"]["codecs"], inner))
    if found > _MOST_CHUNKS:
        what = f"a shard of {found:,} chunks is not read; {_MOST_CHUNKS:,} are the most"
        raise InputTooLarge(what)
    return found


def _by_blosc(names: Sequence[str]) -> bool:
    """Return whether blosc encodes the chunks, as the last codec before any checksum."""
    if _BLOSC not in names:
        return False
    if _BLOSC in (names[:-1] if names[-1] != "crc32c" else names[:-2]):
        raise UnsupportedLayout("chunks that another codec follows blosc in are not read")
    return True


def _index_place(inner: Mapping[str, Any], file: Shape, chunk: Shape) -> tuple[int, bool] | None:
    names = [codec["name"] for codec in inner["index_codecs"]]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        return None
    chunks = math.prod(s // c for s, c in zip(file, chunk, strict=True))
    nbytes = chunks * ENTRY.size + CRC_BYTES * (len(names) - 1)
    return nbytes, inner.get("index_location", "end") == "end"


def _plain_bytes(codecs: list[dict[str, Any]], file: Shape, dtype: DType) -> int | None:
    """Return the size of each file of uncompressed chunks; None if they are compressed."""
    names = [codec["name"] for codec in codecs if codec["name"] != "transpose"]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        return None
    return math.prod(file) * dtype.itemsize + CRC_BYTES * (len(names) - 1)


def _parse_2(document: dict[str, Any]) -> ZarrArrayMetadata:
    spec = ArraySpec(_shape(document["shape"]), _dtype(document["dtype"]))
    chunk = _shape(document["chunks"], len(spec.shape))
    plain = document.get("compressor") is None and not document.get("filters")
    nbytes = math.prod(chunk) * spec.dtype.itemsize if plain else None
    separator = str(document.get("dimension_separator", "."))
    blosc = not plain and (document["compressor"] or {}).get("id") == _BLOSC
    most = _encoded_bytes(spec, chunk)
    return ZarrArrayMetadata(spec, chunk, chunk, 2, ("", separator), None, nbytes, most, blosc)


def _shape(numbers: object, axes: int | None = None) -> Shape:
    if not isinstance(numbers, list) or len(numbers) > _MOST_AXES:
        raise ValueError(numbers)
    sound = all(type(n) is int and 0 < n < _LARGEST for n in numbers)
    if not sound or math.prod(numbers) > _LARGEST or axes not in (None, len(numbers)):
        raise ValueError(numbers)
    return tuple(numbers)


def _dtype(name: object) -> DType:
    if not isinstance(name, str) or name not in _DTYPES:
        raise UnsupportedLayout(f"arrays of the dtype {name!r} are not read")
    return _DTYPES[name]


def misplaced(index: np.ndarray, size: int, outside: np.ndarray, most: int) -> str | None:
    """Describe what is wrong with a shard's index, as a sentence; None if nothing is.

    Args:
        index: Offset and length of each chunk, `u64[chunk, 2]`.
        size: Bytes of the file.
        outside: Chunks beyond the array, which need not be stored, `bool[chunk]`.
        most: The most bytes that a chunk can take.
    """
    starts, lengths = index.T
    absent = (starts == ABSENT) & (lengths == ABSENT)
    beyond = ~absent & ((lengths > size) | (starts > size - np.minimum(lengths, size)))
    kinds = {
        "chunk {} of the shard is missing": absent & ~outside,
        "the shard's index places chunk {} beyond the file's end": beyond,
        "chunk {} of the shard is empty": lengths == 0,
        "chunk {} of the shard is longer than its shape can become": ~absent & (lengths > most),
    }
    found = [(int(wrong.argmax()), text) for text, wrong in kinds.items() if wrong.any()]
    if found:
        chunk, text = min(found, key=lambda row: row[0])
        return text.format(chunk)
    held = np.flatnonzero(~absent)
    held = held[np.argsort(starts[held], kind="stable")]
    ends = starts[held] + lengths[held]
    shared = np.flatnonzero(ends[:-1] > starts[held][1:])
    if len(shared):
        first, second = sorted(int(n) for n in held[shared[0] : shared[0] + 2])
        return f"the shard's index gives the same bytes to chunks {first} and {second}"
    return None
