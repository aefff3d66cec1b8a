"""Nodes of an OCDBT database: frames, and the columns of manifests, interior nodes and leaves.

Source: the section "Storage format" of the `ocdbt` driver's page in TensorStore's documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.errors import GrokpackError, InputTooLarge
from grokpack.core.layout import Extent
from grokpack.formats import zstd
from grokpack.formats.crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGEST_BYTES = 16 << 20
"""Most bytes of a decoded manifest or node; TensorStore writes at most 8 MiB."""
MOST_NODES = 1 << 16
"""Most nodes of a database; the release in chunks of one mebibyte has 80."""
_FRAME_HEAD_BYTES, _CRC_BYTES = 14, 4  # magic, length, version, compression; CRC-32C at the end
_PLAIN, _ZSTD = 0, 1
_CONFIG_BYTES, _ZSTD_CONFIG_BYTES = 16, 4  # the database's UUID; zstd's level
_MOST_FILES = 1 << 18  # named by a node; TensorStore takes a hundred bytes for each
_MOST_KEY_BYTES = 64 << 20  # of a node's keys, which share bytes where they are stored
_NOWHERE = (1 << 64) - 1  # offset of the root of a version without keys
_GROUP_BITS, _LONGEST_VARINT = 7, 10
_INLINE = 0  # kind of a value that stands in the leaf


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
    most = f"{MOST_NODES:,} nodes of {LARGEST_BYTES >> 20} MiB"
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
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = np.frombuffer(data, np.uint8), 0

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
    """Return the root of the newest version in a manifest; no node if it has no keys."""
    columns.take(_CONFIG_BYTES)
    columns.numbers(3)  # kind of manifest, and limits of nodes
    columns.byte()
    columns.take(_ZSTD_CONFIG_BYTES if columns.number() == _ZSTD else 0)
    files = _files(columns, "")
    count = columns.number()
    columns.numbers(count)  # generations
    columns.take(count)  # heights
    newest = _places(columns, count)[-1:]
    return [_node(files, place) for place in newest if place[1] != _NOWHERE]


def children(columns: Columns, base: str) -> list[Child]:
    """Return the entries of an interior node, whose height has been read."""
    files = _files(columns, base)
    count = columns.number()
    shared, lengths, prefixes = _key_columns(columns, count, 1)
    keys = _keys(columns, shared, lengths)
    places = _places(columns, count)
    return [
        Child(key, prefix, _node(files, place))
        for key, prefix, place in zip(keys, prefixes[0].tolist(), places, strict=True)
    ]


def largest_length(columns: Columns) -> int:
    """Return the size of the largest value of a leaf, whose height has been read."""
    _files(columns, "")
    count = columns.number()
    _, lengths, _ = _key_columns(columns, count, 0)
    columns.take(sum(lengths.tolist()))
    return int(columns.numbers(count).max(initial=0))


def leaf(columns: Columns, base: str) -> Leaf:
    """Return the keys and values of a leaf, whose height has been read."""
    files = _files(columns, base)
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


def _files(columns: Columns, base: str) -> list[tuple[str, str]]:
    """Read the files that a node names: each path, and the base of paths in that file's nodes."""
    count = columns.number()
    if count > _MOST_FILES:
        raise beyond_limits()
    shared, own = columns.numbers(max(0, count - 1)), columns.numbers(count)
    inherited = columns.numbers(count)
    suffixes, at, name, found = columns.take(sum(own.tolist())), 0, b"", []
    rows = zip([0, *shared.tolist()][:count], own.tolist(), inherited.tolist(), strict=True)
    for prefix, length, below in rows:
        name = name[:prefix] + suffixes[at : at + length]
        at += length
        found.append((base + name.decode(), base + name[:below].decode()))
    return found


def _places(columns: Columns, count: int) -> list[tuple[int, int, int]]:
    """Read the next columns, locations of nodes: file, offset, length."""
    return list(zip(*(columns.numbers(count).tolist() for _ in range(3)), strict=True))


def _node(files: list[tuple[str, str]], place: tuple[int, int, int]) -> Node:
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
    if sum(map(int, shared)) + len(suffixes) > _MOST_KEY_BYTES:
        raise beyond_limits()
    return list(_joined(suffixes, map(int, shared), accumulate(sizes, initial=0)))


def _joined(suffixes: bytes, shared: Iterator[int], starts: Iterator[int]) -> Iterator[bytes]:
    key, at = b"", next(starts)
    for prefix, end in zip(shared, starts, strict=True):
        key = key[:prefix] + suffixes[at:end]
        at = end
        yield key
