"""Locations of an array's encoded chunks: files, runs of bytes in shards, values of a database.

TensorStore finds them itself where it reads files. On a server grokpack finds and reads them, so
that redirects, credentials, proxies and checks are those of all its requests.
"""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.core.errors import (
    ChunkUnreadable,
    Place,
    SourceUnreadable,
    UnsupportedLayout,
)
from grokpack.core.layout import Extent
from grokpack.core.lru_cache import LRUCache
from grokpack.formats import orbax, zarr_metadata_parsing
from grokpack.formats.crc32c import crc32c
from grokpack.formats.ocdbt_index import Lookup
from grokpack.formats.zarr_shards import ABSENT, CRC_BYTES, ENTRY, METADATA, METADATA_2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from grokpack.core.layout import Box
    from grokpack.core.tensors import Shape
    from grokpack.formats.ocdbt_nodes import Node

Encoded = Extent | bytes
"""Where in which file of a store the bytes of a chunk lie, or these bytes."""
INDEX_BYTES = 40 << 20
"""Memory of all indices that are kept: nodes of a database, or indices of shards."""
_INDEX_CACHE_BYTES = 1 << 20  # of an array's shards; the index of one of 256 chunks takes 4 KiB
_MANIFEST_BYTES = 1 << 20
_HINT = "`grokpack verify --values` finds all that are wrong; fetch or write these files again"


def unreadable(what: str, path: str, reason: str) -> ChunkUnreadable:
    """Return the error for a chunk that is missing or cannot be decoded."""
    return ChunkUnreadable(what, Place(path), (("reason", reason),), _HINT)


def nbytes_of(place: Encoded) -> int:
    """Return the number of bytes at a location."""
    return len(place) if isinstance(place, bytes) else place.nbytes


class StoreValues:
    """Values of a store by key, each a file or an entry of a database.

    Args:
        folder: The store's folder or URL.
        spec: TensorStore's spec of an array or a database, with paths below the folder.
    """

    def __init__(self, folder: str, spec: Mapping[str, Any]) -> None:
        self.folder = folder
        self.find = self._of_database() if spec["driver"] == "ocdbt" else self._file

    def _file(self, key: str) -> Encoded | None:
        """Return the whole file of a key; None if there is none.

        Raises:
            GrokpackError: GP222 if access to it is refused, and what requests raise.
        """
        try:
            return Extent(key, 0, storage.FileBytes(os.path.join(self.folder, key)).size())
        except SourceUnreadable:
            return None

    def _of_database(self) -> Callable[[str], Encoded | None]:
        """Return the lookup of keys in the folder's database.

        Raises:
            GrokpackError: GP209 if its manifest is broken.
        """
        path = os.path.join(self.folder, orbax.DATABASE)
        lookup = Lookup(storage.read_whole(path, _MANIFEST_BYTES), self._node)
        return lambda key: lookup.find(key.encode())

    def _node(self, node: Node) -> bytes:
        return self.read(Extent(node.path, node.offset, node.nbytes))

    def read(self, place: Encoded) -> bytes:
        """Return a copy of the bytes at a location, as `read_view` does."""
        return bytes(self.read_view(place))

    def read_view(self, place: Encoded) -> memoryview:
        """Return the bytes at a location."""
        if isinstance(place, bytes):
            return memoryview(place)
        buffer = np.empty(place.nbytes, np.uint8).data
        storage.read_into(os.path.join(self.folder, place.path), place.offset, buffer)
        return buffer


class ChunkLocations:
    """Locations of the encoded chunks of one array.

    Args:
        values: The store.
        spec: TensorStore's spec of the array, with paths below the store's folder.

    Attributes:
        metadata: Metadata of the array as if each chunk were a file.
        metadata_key: Key of that metadata.

    Raises:
        GrokpackError: GP225 if the array has no metadata, GP208 if its shards have an index of
            another kind than all that were seen.
    """

    def __init__(self, values: StoreValues, spec: Mapping[str, Any]) -> None:
        self._values = values
        self._prefix: str = spec["kvstore"]["path"]
        self.metadata_key = METADATA_2 if spec["driver"] == "zarr" else METADATA
        key = self._prefix + self.metadata_key
        found = values.find(key)
        if found is None:
            raise unreadable("a chunk is missing", self._path(key), "the array has no metadata")
        stored = values.read(found)
        inner = zarr_metadata_parsing.unsharded(stored)
        self.metadata = stored if inner is None else inner
        parsed, own = map(zarr_metadata_parsing.parse, (stored, self.metadata))
        assert parsed is not None  # noqa: S101  # a group is no array, and has no spec
        assert own is not None  # noqa: S101
        self._files, self._chunks = parsed, own
        self._sharded = inner is not None
        sides = zip(parsed.file, own.file, strict=True)
        self._per_file = [file // chunk for file, chunk in sides]
        self._indices = LRUCache(_INDEX_CACHE_BYTES)
        if self._sharded and parsed.index is None:
            what = "shards whose index is compressed are read from a folder only"
            raise UnsupportedLayout(what, Place(self._path(key)))

    def within(self, box: Box) -> dict[str, Encoded]:
        """Return the location of each chunk that a box meets, by its key.

        Raises:
            GrokpackError: GP225 if one is missing, or longer than its shape can become.
        """
        sides = zip(box.start, box.stop, self._chunks.file, strict=True)
        ranges = [range(start // side, -(-stop // side)) for start, stop, side in sides]
        return {self._prefix + self._chunks.key_of(at): self._find(at) for at in product(*ranges)}

    def file_of(self, key: str) -> str:
        """Return the key of the file, or the value, that holds the chunk of a key."""
        at = self._chunks.place_of(key.removeprefix(self._prefix))
        return key if at is None else self._holder(at)

    def _holder(self, at: Shape) -> str:
        places = tuple(i // n for i, n in zip(at, self._per_file, strict=True))
        return self._prefix + self._files.key_of(places)

    def _find(self, at: Shape) -> Encoded:
        """Return the location of the chunk at an index of the grid of chunks."""
        key = self._holder(at)
        found = self._values.find(key)
        if found is not None and self._sharded:
            number = 0
            for i, n in zip(at, self._per_file, strict=True):
                number = number * n + i % n
            found = self._in_shard(key, found, number)
        if found is None:
            raise unreadable("a chunk is missing", self._path(key), f"chunk {[*at]} is not stored")
        if nbytes_of(found) > self._files.most_bytes:
            reason = f"chunk {[*at]} is longer than its shape can become"
            raise unreadable("a chunk cannot be decoded", self._path(key), reason)
        return found

    def _in_shard(self, key: str, shard: Encoded, number: int) -> Encoded | None:
        """Return the location of one of a shard's chunks; None if it is not stored."""
        kept = self._indices.take(key)
        if kept is None:
            kept = (self._index(key, shard),)
            self._indices.put(key, kept)
        offset, nbytes = map(int, kept[0][number])
        if offset == nbytes == ABSENT:
            return None
        if offset + nbytes > nbytes_of(shard):
            reason = f"the shard's index places chunk {number} beyond the file's end"
            raise unreadable("a chunk cannot be decoded", self._path(key), reason)
        return _part(shard, offset, nbytes)

    def _index(self, key: str, shard: Encoded) -> np.ndarray:
        """Read the index of a shard, `u64[chunk, 2]`."""
        assert self._files.index is not None  # noqa: S101  # the constructor has looked
        nbytes, at_end = self._files.index
        first = max(0, nbytes_of(shard) - nbytes) if at_end else 0
        data = self._values.read(_part(shard, first, nbytes))
        checked = nbytes % ENTRY.size
        entries, digest = data[: nbytes - checked], data[nbytes - checked :]
        if len(data) < nbytes or (
            checked and digest != crc32c(entries).to_bytes(CRC_BYTES, "little")
        ):
            reason = "the checksum of the shard's index is wrong"
            raise unreadable("a chunk cannot be decoded", self._path(key), reason)
        return np.frombuffer(entries, "<u8").reshape(-1, 2)

    def _path(self, key: str) -> str:
        return os.path.join(self._values.folder, key)


def _part(place: Encoded, offset: int, nbytes: int) -> Encoded:
    """Return the location of a run of the bytes at a location."""
    if isinstance(place, bytes):
        return place[offset : offset + nbytes]
    return Extent(place.path, place.offset + offset, nbytes)
