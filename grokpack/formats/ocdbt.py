"""OCDBT, TensorStore's key-value database: an index whose values are byte ranges of files.

    manifest.ocdbt    the file and the bytes of the root of the newest version's B+tree
    any other file    nodes: interior ones list leaves, leaves list keys

A leaf holds a value inline, or refers to it as (file, offset, length). Files are named relative to
the database's base, which a TensorStore program is given when it opens the database; no path leaves
it. Source: the section "Storage format" of the `ocdbt` driver's page in TensorStore's
documentation.

This module writes only what an index needs that is made once: one version, two levels, no free
space.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from grokpack.formats.crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MANIFEST = "manifest.ocdbt"
LEAF_ENTRIES = 4096
"""Keys at which a leaf is closed. A lookup decodes its leaf, 0.3 ms for so many keys; keys of equal
runs share their bytes only within a leaf."""
_MANIFEST_MAGIC, _NODE_MAGIC = 0x0CDB3A2A, 0x0CDB20DE
_VERSION, _ZSTD = 0, 1
_ZSTD_LEVEL = 3  # zstd's default: offsets of similar tensors repeat; higher levels gain 2 %
_INLINE, _OUT_OF_LINE = 0, 1
_MAX_INLINE_BYTES, _MAX_NODE_BYTES, _ARITY_LOG2 = 100, 8 << 20, 4  # TensorStore's own defaults
_GENERATION, _NO_TIME = 1, 0  # fixed, so that an index is the same whenever it is made
_VARINT_BITS = 7


@dataclass(frozen=True, slots=True)
class Inline:
    """Value that the leaf itself holds."""

    key: bytes
    value: bytes

    @property
    def last_key(self) -> bytes:
        """Last key of the item, which has only one."""
        return self.key


@dataclass(frozen=True, slots=True, eq=False)
class ChunkSeries:
    """Chunks of an array: values of equal length, with key `prefix + tail` for each tail of a grid.

    Attributes:
        prefix: Common beginning of all keys, which no other key of the database has.
        tails: The rest of each key, in the order of keys.
        files: Files that hold the values.
        file_of: Index of the file of each key, `i64[key]`.
        offsets: First byte of each key's value in its file, `i64[key]`.
        nbytes: Length of every value.
    """

    prefix: bytes
    tails: Tails
    files: tuple[str, ...]
    file_of: np.ndarray
    offsets: np.ndarray
    nbytes: int

    @property
    def key(self) -> bytes:
        """First key."""
        return self.prefix + self.tails.first

    @property
    def last_key(self) -> bytes:
        """Last key."""
        return self.prefix + self.tails.last


Item = Inline | ChunkSeries


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """Ends of keys in byte order, in the form in which a leaf stores them.

    Attributes:
        first: The first end.
        last: The last end.
        order: Row-major index of each key's chunk, `i64[key]`.
        shared: Bytes that each end but the first shares with the one before it, `i64[key - 1]`.
        lengths: Bytes of each end but the first that follow the shared ones, `i64[key - 1]`.
        suffixes: Those bytes, joined.
    """

    first: bytes
    last: bytes
    order: np.ndarray
    shared: np.ndarray
    lengths: np.ndarray
    suffixes: bytes


@cache
def tails(counts: tuple[int, ...]) -> Tails:
    """Return the ends of the keys of a grid of chunks; `0/10/0` comes before `0/2/0`."""
    texts = ["/".join(map(str, index)).encode() for index in product(*map(range, counts))]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    keys = [texts[i] for i in order]
    shared = [_shared(a, b) for a, b in pairwise(keys)]
    suffixes = [key[n:] for key, n in zip(keys[1:], shared, strict=True)]
    lengths = np.array([len(suffix) for suffix in suffixes], np.int64)
    joined = b"".join(suffixes)
    return Tails(keys[0], keys[-1], np.array(order), np.array(shared, np.int64), lengths, joined)


@dataclass(frozen=True, slots=True)
class Database:
    """Index, ready to be written.

    Attributes:
        nodes: Contents of the file of nodes.
        manifest: Contents of the manifest.
        keys: Number of keys.
    """

    nodes: bytes
    manifest: bytes
    keys: int


def database(items: Iterable[Item], nodes_path: str) -> Database:
    """Build a database of these items.

    Args:
        items: Keys and values, in any order.
        nodes_path: Path of the file of nodes, relative to the base like the values' files.

    Raises:
        ValueError: A key stands twice, or lies among those of a series.
    """
    ordered = _in_order(items)
    nodes = bytearray()
    children = [_append_leaf(nodes, group) for group in _grouped(ordered)]
    root = _Child(b"", 0, len(nodes), b"", *_totals(children))
    encoded = _framed(_NODE_MAGIC, _interior(children, nodes_path))
    nodes += encoded
    return Database(bytes(nodes), _manifest(root, encoded, nodes, nodes_path), root.keys)


def _in_order(items: Iterable[Item]) -> list[Item]:
    ordered = sorted(items, key=lambda item: item.key)
    for item, after in pairwise(ordered):
        inside = isinstance(item, ChunkSeries) and after.key.startswith(item.prefix)
        if inside or item.key == after.key:
            message = f"{after.key.decode(errors='replace')} stands twice"
            raise ValueError(message)
    return ordered


def _grouped(items: list[Item]) -> Iterable[list[Item]]:
    """Yield the items of each leaf; a series is never divided."""
    group: list[Item] = []
    keys = 0
    for item in items:
        group.append(item)
        keys += len(item.offsets) if isinstance(item, ChunkSeries) else 1
        if keys >= LEAF_ENTRIES:
            yield group
            group, keys = [], 0
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class _Child:
    """Node, as its parent lists it."""

    first_key: bytes
    prefix_bytes: int  # common to the node's keys, which leave it out
    offset: int
    encoded: bytes
    keys: int
    tree_bytes: int
    value_bytes: int


def _totals(children: Sequence[_Child]) -> tuple[int, int, int]:
    return (
        sum(child.keys for child in children),
        sum(child.tree_bytes for child in children),
        sum(child.value_bytes for child in children),
    )


def _append_leaf(nodes: bytearray, items: list[Item]) -> _Child:
    first = items[0].key
    prefix = _shared(first, items[-1].last_key)
    columns = _Columns(items, prefix)
    encoded = _framed(_NODE_MAGIC, columns.encoded())
    keys, values = columns.totals()
    child = _Child(first, prefix, len(nodes), encoded, keys, len(encoded), values)
    nodes += encoded
    return child


class _Columns:
    """Columns of a leaf; a node stores each column in one piece."""

    def __init__(self, items: list[Item], prefix: int) -> None:
        self._prefix, self._last = prefix, b""
        paths = {path for item in items if isinstance(item, ChunkSeries) for path in item.files}
        self._paths = sorted(map(_raw, paths))
        self._shared: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []
        self._kinds: list[np.ndarray] = []
        self._files: list[np.ndarray] = []
        self._offsets: list[np.ndarray] = []
        self._suffixes: list[bytes] = []
        self._suffix_lengths: list[np.ndarray] = []
        self._inline: list[bytes] = []
        for item in items:
            self._add_run(item) if isinstance(item, ChunkSeries) else self._add_inline(item)

    def _add_inline(self, item: Inline) -> None:
        self._add_key(item.key)
        self._lengths.append(np.array([len(item.value)]))
        self._kinds.append(np.array([_INLINE]))
        self._inline.append(item.value)

    def _add_run(self, run: ChunkSeries) -> None:
        self._add_key(run.key)
        self._shared.append(len(run.prefix) - self._prefix + run.tails.shared)
        self._suffix_lengths.append(run.tails.lengths)
        self._suffixes.append(run.tails.suffixes)
        self._last = run.last_key
        count = len(run.offsets)
        self._lengths.append(np.full(count, run.nbytes))
        self._kinds.append(np.full(count, _OUT_OF_LINE))
        numbers = np.array([self._paths.index(_raw(path)) for path in run.files])
        self._files.append(numbers[run.file_of])
        self._offsets.append(run.offsets)

    def _add_key(self, key: bytes) -> None:
        relative = key[self._prefix :]
        shared = _shared(self._last[self._prefix :], relative)
        self._shared.append(np.array([shared]))
        self._suffix_lengths.append(np.array([len(relative) - shared]))
        self._suffixes.append(relative[shared:])
        self._last = key

    def totals(self) -> tuple[int, int]:
        """Return the number of keys, and the bytes of values that are not inline."""
        kinds, lengths = np.concatenate(self._kinds), np.concatenate(self._lengths)
        return len(kinds), int(lengths[kinds == _OUT_OF_LINE].sum())

    def encoded(self) -> bytes:
        """Return the leaf without its frame."""
        columns: list[np.ndarray | bytes] = [
            np.concatenate(self._shared)[1:],  # the first key shares nothing
            np.concatenate(self._suffix_lengths),
            b"".join(self._suffixes),
            np.concatenate(self._lengths),
            np.concatenate(self._kinds),
            *(np.concatenate(column) for column in (self._files, self._offsets) if column),
            b"".join(self._inline),
        ]
        keys = len(np.concatenate(self._kinds))
        head = b"\0" + _file_table(self._paths) + varint(keys)  # a leaf's height is 0
        return head + b"".join(varints(c) if isinstance(c, np.ndarray) else c for c in columns)


def _interior(children: list[_Child], nodes_path: str) -> bytes:
    """Encode the root, which lists the leaves; all are in one file."""
    keys = [child.first_key for child in children]
    shared = [0, *(_shared(a, b) for a, b in pairwise(keys))]
    suffixes = [key[n:] for key, n in zip(keys, shared, strict=True)]
    return b"".join(
        (
            b"\1",  # its height
            _file_table([_raw(nodes_path)]),
            varint(len(children)),
            varints(shared[1:]),
            varints(map(len, suffixes)),
            varints(child.prefix_bytes for child in children),
            *suffixes,
            bytes(len(children)),  # all in file 0
            varints(child.offset for child in children),
            varints(len(child.encoded) for child in children),
            varints(child.keys for child in children),
            varints(child.tree_bytes for child in children),
            varints(child.value_bytes for child in children),
        )
    )


def _manifest(root: _Child, encoded: bytes, nodes: bytes | bytearray, nodes_path: str) -> bytes:
    config = (
        hashlib.sha256(nodes).digest()[:16],  # the database's UUID, derived from its contents
        varint(0),  # one manifest for all versions
        varint(_MAX_INLINE_BYTES),
        varint(_MAX_NODE_BYTES),
        bytes([_ARITY_LOG2]),
        varint(_ZSTD),
        struct.pack("<i", 0),  # for programs that add to it: zstd's default level
    )
    version = (
        varint(_GENERATION),
        b"\1",  # height of the root
        *(varint(n) for n in (0, root.offset, len(encoded))),
        *(varint(n) for n in (root.keys, root.tree_bytes + len(encoded), root.value_bytes)),
        struct.pack("<Q", _NO_TIME),
    )
    table = _file_table([_raw(nodes_path)])
    body = b"".join((*config, table, varint(1), *version, varint(0)))
    return _framed(_MANIFEST_MAGIC, body)


def _framed(magic: int, body: bytes) -> bytes:
    """Frame a body: magic, total length, version, compression, compressed body, CRC-32C of all."""
    import zstandard

    packed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)
    head = bytes([_VERSION, _ZSTD])
    length = 4 + 8 + len(head) + len(packed) + 4
    framed = struct.pack(">I", magic) + struct.pack("<Q", length) + head + packed
    return framed + struct.pack("<I", crc32c(framed))


def _file_table(paths: list[bytes]) -> bytes:
    """Encode the sorted files that a node names; children inherit no part of these paths."""
    shared = [0, *(_shared(a, b) for a, b in pairwise(paths))]
    suffixes = [path[n:] for path, n in zip(paths, shared, strict=False)]
    lengths = varints(map(len, suffixes))
    inherited = bytes(len(paths))
    return b"".join((varint(len(paths)), varints(shared[1:]), lengths, inherited, *suffixes))


def _raw(path: str) -> bytes:
    """Return a path's bytes in the file system, which need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape")


def _shared(one: bytes, other: bytes) -> int:
    """Return the length of the common beginning of two strings."""
    limit = min(len(one), len(other))
    if one[:limit] == other[:limit]:
        return limit
    return next(i for i in range(limit) if one[i] != other[i])


def varint(number: int) -> bytes:
    """Encode a number in groups of seven bits, lowest first; all but the last have bit 7 set."""
    out = bytearray()
    while number >> _VARINT_BITS:
        out.append(number & 0x7F | 0x80)
        number >>= _VARINT_BITS
    out.append(number)
    return bytes(out)


def varints(numbers: np.ndarray | Iterable[int]) -> bytes:
    """Encode numbers as varints, one after the other."""
    values = numbers if isinstance(numbers, np.ndarray) else np.array(list(numbers), np.int64)
    if not len(values):
        return b""
    width = max(1, -(-int(values.max()).bit_length() // _VARINT_BITS))
    groups = values[:, None] >> (_VARINT_BITS * np.arange(width))
    used = groups > 0
    used[:, 0] = True
    octets = (groups & 0x7F).astype(np.uint8)
    octets[:, :-1] |= used[:, 1:].astype(np.uint8) << _VARINT_BITS
    kept: np.ndarray = octets[used]
    return kept.tobytes()
