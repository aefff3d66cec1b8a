"""Check of an OCDBT index from outside, before TensorStore reads it.

TensorStore decodes nodes as streams, but trusts the number of files that they name and the lengths
of nodes and values. Source: the section "Storage format" of the `ocdbt` driver's page in
TensorStore's documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.errors import GrokpackError, InputTooLarge, MalformedInput
from grokpack.formats import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FRAME_HEAD_BYTES, _FRAME_TAIL_BYTES = 14, 4  # magic, length, version, compression; CRC-32C
_PLAIN, _ZSTD = 0, 1
_CONFIG_BYTES, _ZSTD_CONFIG_BYTES = 16, 4  # the database's UUID; zstd's level
_LARGEST_BYTES = 16 << 20  # of a decoded manifest or node; TensorStore writes at most 8 MiB
_MOST_NODES = 1 << 16  # the release in chunks of one mebibyte has 80
_MOST_FILES = 1 << 18  # named by a node; TensorStore takes a hundred bytes for each
_NOWHERE = (1 << 64) - 1  # offset of the root of a version without keys
_GROUP_BITS, _LONGEST_VARINT = 7, 10


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


def largest_value(manifest: bytes, read: Callable[[Sequence[Node]], list[bytes]]) -> int:
    """Return the size of the largest value of a database.

    Args:
        manifest: The bytes of its manifest.
        read: Reads the bytes of nodes.

    Raises:
        GrokpackError: GP209 if the index is broken, GP235 if it is larger than any real one.
    """
    try:
        level, largest, seen = _root(_Columns(_body(manifest))), 0, 0
        while level:
            seen += len(level)
            if seen > _MOST_NODES or max(node.nbytes for node in level) > _LARGEST_BYTES:
                raise _beyond()
            below: list[Node] = []
            for node, data in zip(level, read(level), strict=True):
                columns = _Columns(_body(data))
                if columns.byte():
                    below += _children(columns, node.base)
                    if len(below) > _MOST_NODES:
                        raise _beyond()
                else:
                    largest = max(largest, _largest(columns))
            level = below
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise MalformedInput(f"the database's index is broken: {error}") from error
    return largest


def _beyond() -> GrokpackError:
    most = f"{_MOST_NODES:,} nodes of {_LARGEST_BYTES >> 20} MiB"
    return InputTooLarge(f"the database's index is larger than {most}")


def _body(frame: bytes) -> bytes:
    """Decode the body of a manifest or a node from its frame."""
    packed = frame[_FRAME_HEAD_BYTES:-_FRAME_TAIL_BYTES]
    kind = frame[_FRAME_HEAD_BYTES - 1]
    if kind == _PLAIN:
        return packed
    if kind != _ZSTD:
        message = f"compression {kind} is not known"
        raise ValueError(message)
    try:
        return zstd.decompress_some(packed, _LARGEST_BYTES)
    except zstd.TooLongError:
        raise _beyond() from None


class _Columns:
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


def _files(columns: _Columns, base: str) -> list[tuple[str, str]]:
    """Read the files that a node names: each path, and the base of paths in that file's nodes."""
    count = columns.number()
    if count > _MOST_FILES:
        raise _beyond()
    shared, own = columns.numbers(max(0, count - 1)), columns.numbers(count)
    inherited = columns.numbers(count)
    suffixes, at, name, found = columns.take(sum(own.tolist())), 0, b"", []
    rows = zip([0, *shared.tolist()][:count], own.tolist(), inherited.tolist(), strict=True)
    for prefix, length, below in rows:
        name = name[:prefix] + suffixes[at : at + length]
        at += length
        found.append((base + name.decode(), base + name[:below].decode()))
    return found


def _places(columns: _Columns, count: int) -> list[tuple[int, int, int]]:
    """Read the next columns, locations of nodes: file, offset, length."""
    return list(zip(*(columns.numbers(count).tolist() for _ in range(3)), strict=True))


def _node(files: list[tuple[str, str]], place: tuple[int, int, int]) -> Node:
    path, base = files[place[0]]
    return Node(path, base, *place[1:])


def _root(columns: _Columns) -> list[Node]:
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


def _children(columns: _Columns, base: str) -> list[Node]:
    """Return the nodes that an interior node lists."""
    files = _files(columns, base)
    count = columns.number()
    _skip_keys(columns, count, 1)
    return [_node(files, place) for place in _places(columns, count)]


def _largest(columns: _Columns) -> int:
    """Return the size of the largest value of a leaf."""
    _files(columns, "")
    count = columns.number()
    _skip_keys(columns, count, 0)
    return int(columns.numbers(count).max(initial=0))


def _skip_keys(columns: _Columns, count: int, between: int) -> None:
    """Skip the keys of a node, and `between` columns that precede their bytes."""
    columns.numbers(max(0, count - 1))
    nbytes = sum(columns.numbers(count).tolist())
    for _ in range(between):
        columns.numbers(count)
    columns.take(nbytes)
