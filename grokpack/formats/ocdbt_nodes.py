"""Nodes of an OCDBT database: frames, and the columns of manifests, interior nodes and leaves.

Source: the section "Storage format" of the `ocdbt` driver's page in TensorStore's documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.errors import GrokpackError, InputTooLarge, UnsupportedLayout
from grokpack.core.layout import Extent
from grokpack.formats import zstd
from grokpack.formats.crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGEST_BYTES = 16 << 20
"""Most bytes of a decoded manifest or node; TensorStore writes at most 8 MiB."""
MOST_BYTES = 256 << 20
"""Most bytes of all nodes, as stored and decoded; the release's decode to some 40 MB."""
MOST_NODES = 1 << 16
"""Most nodes of a database; the release in chunks of one mebibyte has 80."""
_FRAME_HEAD_BYTES, _CRC_BYTES = 14, 4  # magic, length, version, compression; CRC-32C at the end
_PLAIN, _ZSTD = 0, 1
_CONFIG_BYTES, _ZSTD_CONFIG_BYTES = 16, 4  # the database's UUID; zstd's level
_MOST_FILES = 1 << 18  # named by a node; TensorStore takes a hundred bytes for each
_MOST_ENTRIES = 1 << 20  # of a node, as for TensorStore; each takes 64 bytes while it is read
_MOST_NAME_BYTES = 64 << 20  # of a node's keys, or files, which share bytes where they are stored
_NOWHERE = (1 << 64) - 1  # offset of the root of a version without keys
_GROUP_BITS, _LONGEST_VARINT = 7, 10
_NUMBERED = 1  # kind of manifest that names no version
_INLINE = 0  # kind of a value that stands in the leaf


Files = list[tuple[str, str]]
"""Files that a node names: each path, and the base of paths in that file's nodes."""


@dataclass(frozen=True, slots=True)
class Node:
    """Location of a node of the tree.

    Attributes:
        path: Its file, below the database.
        base: Common beginning of the paths that the node names.
        offset: Its first byte.
        nbytes: Its length.
    """

    path: str
    base: str
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Child:
    """Entry of an interior node.

    Attributes:
        key: First key of the child, without what all keys of its parent share.
        shared: Bytes of it that all keys of the child share, and leave out.
        node: Location of the child.
    """

    key: bytes
    shared: int
    node: Node


@dataclass(frozen=True, slots=True)
class Leaf:
    """Keys and values of a leaf.

    Attributes:
        keys: The keys in order, without what all of them share.
        values: The value of each, or its location below the database.
    """

    keys: list[bytes]
    values: list[bytes | Extent]


def beyond_limits() -> GrokpackError:
    """Return the error for an index that is larger than any real one."""
    most = f"{MOST_NODES:,} nodes, {LARGEST_BYTES >> 20} MiB a node, {MOST_BYTES >> 20} MiB in all"
    return InputTooLarge(f"the database's index is larger than {most}")


def body(frame: bytes) -> Columns:
    """Decode the body of a manifest or a node from its frame.

    Raises:
        ValueError: Its checksum is wrong, or its compression unknown.
        GrokpackError: GP235 if it is larger than any real one.
    """
    packed, kind = frame[_FRAME_HEAD_BYTES:-_CRC_BYTES], frame[_FRAME_HEAD_BYTES - 1]
    if kind not in (_PLAIN, _ZSTD):
        message = f"compression {kind} is not known"
        raise ValueError(message)
    if int.from_bytes(frame[-_CRC_BYTES:], "little") != crc32c(frame[:-_CRC_BYTES]):
        message = "the checksum of a node is wrong"
        raise ValueError(message)
    try:
        return Columns(packed if kind == _PLAIN else zstd.decompress_some(packed, LARGEST_BYTES))
    except zstd.TooLongError:
        raise beyond_limits() from None


class Columns:
    """Columns of a manifest or a node, read one after another.

    Args:
        data: Its bytes.

    Attributes:
        nbytes: Their number.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = np.frombuffer(data, np.uint8), 0
        self.nbytes = len(data)

    def take(self, nbytes: int) -> bytes:
        """Return the next bytes."""
        if not 0 <= nbytes <= len(self._data) - self._at:
            message = "it ends too early"
            raise ValueError(message)
        self._at += nbytes
        return self._data[self._at - nbytes : self._at].tobytes()

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """Return the next varint."""
        return int(self.numbers(1)[0])

    def numbers(self, count: int) -> np.ndarray:
        """Return the next varints, `u64[count]`."""
        if not 0 <= count <= len(self._data) - self._at:
            message = "it names more than it has bytes"
            raise ValueError(message)
        if count > _MOST_ENTRIES:
            raise beyond_limits()
        window = self._data[self._at : self._at + count * _LONGEST_VARINT]
        ends = np.flatnonzero(window < 1 << _GROUP_BITS)[:count]
        lengths = np.diff(ends, prepend=-1)
        if len(ends) != count or (lengths > _LONGEST_VARINT).any():
            message = "a number has no end"
            raise ValueError(message)
        starts, values = ends - lengths + 1, np.zeros(count, np.uint64)
        for group in range(int(lengths.max(initial=0))):
            own = lengths > group
            octets = (window[starts[own] + group] & 0x7F).astype(np.uint64)
            values[own] |= octets << np.uint64(_GROUP_BITS * group)
        self._at += int(ends[-1]) + 1 if count else 0
        return values


def newest_root(columns: Columns) -> list[Node]:
    """Return the root of the newest version in a manifest; no node if it has no keys.

    Raises:
        GrokpackError: GP208 if versions lie in numbered manifests of their own.
    """
    columns.take(_CONFIG_BYTES)
    if columns.number() == _NUMBERED:
        raise UnsupportedLayout("a database whose manifests are numbered is not read")
    columns.numbers(2)  # limits of nodes
    columns.byte()
    columns.take(_ZSTD_CONFIG_BYTES if columns.number() == _ZSTD else 0)
    files = named_files(columns, "")
    count = columns.number()
    columns.numbers(count)  # generations
    columns.take(count)  # heights
    newest = _places(columns, count)[-1:]
    return [_node(files, place) for place in newest if place[1] != _NOWHERE]


def named_files(columns: Columns, base: str) -> Files:
    """Return the files that a node names, whose height has been read.

    Raises:
        ValueError: One lies outside of the database.
        GrokpackError: GP235 if their names are longer than any real ones.
    """
    count = columns.number()
    if count > _MOST_FILES:
        raise beyond_limits()
    shared, own = columns.numbers(max(0, count - 1)), columns.numbers(count)
    inherited = columns.numbers(count)
    suffixes, at, name, found = columns.take(sum(own.tolist())), 0, b"", []
    left = _MOST_NAME_BYTES
    rows = zip([0, *shared.tolist()][:count], own.tolist(), inherited.tolist(), strict=True)
    for prefix, length, below in rows:
        name = name[:prefix] + suffixes[at : at + length]
        at += length
        left -= 2 * (len(base) + len(name))
        if left < 0:
            raise beyond_limits()
        path = base + name.decode()
        if path.startswith("/") or ".." in path.split("/"):
            message = f"it names a file outside of the database, {path}"
            raise ValueError(message)
        found.append((path, base + name[:below].decode()))
    return found


def children(columns: Columns, files: Files) -> list[Child]:
    """Return the entries of an interior node, whose files have been read."""
    count = columns.number()
    if count > MOST_NODES:
        raise beyond_limits()
    shared, lengths, prefixes = _key_columns(columns, count, 1)
    keys = _keys(columns, shared, lengths)
    places = _places(columns, count)
    return [
        Child(key, prefix, _node(files, place))
        for key, prefix, place in zip(keys, prefixes[0].tolist(), places, strict=True)
    ]


def largest_length(columns: Columns) -> int:
    """Return the size of the largest value of a leaf, whose files have been read."""
    count = columns.number()
    _, lengths, _ = _key_columns(columns, count, 0)
    columns.take(sum(lengths.tolist()))
    return int(columns.numbers(count).max(initial=0))


def leaf(columns: Columns, files: Files) -> Leaf:
    """Return the keys and values of a leaf, whose files have been read."""
    count = columns.number()
    shared, lengths, _ = _key_columns(columns, count, 0)
    keys = _keys(columns, shared, lengths)
    nbytes, inline = columns.numbers(count).tolist(), columns.numbers(count) == _INLINE
    far = count - int(inline.sum())
    numbers, offsets = iter(columns.numbers(far).tolist()), iter(columns.numbers(far).tolist())
    values: list[bytes | Extent] = [
        columns.take(n) if held else Extent(files[next(numbers)][0], next(offsets), n)
        for n, held in zip(nbytes, inline.tolist(), strict=True)
    ]
    return Leaf(keys, values)


def _places(columns: Columns, count: int) -> list[tuple[int, int, int]]:
    """Read the next columns, locations of nodes: file, offset, length."""
    return list(zip(*(columns.numbers(count).tolist() for _ in range(3)), strict=True))


def _node(files: Files, place: tuple[int, int, int]) -> Node:
    path, base = files[place[0]]
    return Node(path, base, *place[1:])


def _key_columns(
    columns: Columns, count: int, between: int
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Read what precedes the bytes of keys: shared and own lengths, and `between` columns."""
    shared = np.concatenate(
        [np.zeros(min(count, 1), np.uint64), columns.numbers(max(0, count - 1))]
    )
    lengths = columns.numbers(count)
    return shared, lengths, [columns.numbers(count) for _ in range(between)]


def _keys(columns: Columns, shared: Sequence[int] | np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """Read the bytes of keys, each of which shares its beginning with the one before it."""
    sizes = list(map(int, lengths))
    suffixes = columns.take(sum(sizes))
    if sum(map(int, shared)) + len(suffixes) > _MOST_NAME_BYTES:
        raise beyond_limits()
    return list(_joined(suffixes, map(int, shared), accumulate(sizes, initial=0)))


def _joined(suffixes: bytes, shared: Iterator[int], starts: Iterator[int]) -> Iterator[bytes]:
    key, at = b"", next(starts)
    for prefix, end in zip(shared, starts, strict=True):
        key = key[:prefix] + suffixes[at:end]
        at = end
        yield key
