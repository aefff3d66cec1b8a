"""OCDBT, the key-value database of TensorStore: an index whose values are byte ranges of files.

    manifest.ocdbt    which file and bytes hold the root of the newest version's B+tree
    any other file    nodes: an interior one that lists leaves, leaves that list keys

A leaf gives a value inline, or as (file, offset, length). The files named are relative to the
database's base, which any TensorStore program is told when it opens it; no path leaves it.

Source: the section "Storage format" of the `ocdbt` driver's page in TensorStore's documentation.
Written here is what an index that is made once needs: one version, two levels, no free space.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MANIFEST = "manifest.ocdbt"
LEAF_ENTRIES = 4096
"""A leaf is closed at so many keys. Looking one up decodes its leaf: 0.3 ms for these; and runs
that are alike share their bytes within a leaf only."""
_MANIFEST_MAGIC, _NODE_MAGIC = 0x0CDB3A2A, 0x0CDB20DE
_VERSION, _ZSTD = 0, 1
_ZSTD_LEVEL = 3  # zstd's default: offsets of tensors that are alike repeat, higher levels add 2 %
_INLINE, _OUT_OF_LINE = 0, 1
_MAX_INLINE_BYTES, _MAX_NODE_BYTES, _ARITY_LOG2 = 100, 8 << 20, 4  # TensorStore's own defaults
_GENERATION, _NO_TIME = 1, 0  # the same index whenever it is made
_VARINT_BITS = 7


@dataclass(frozen=True, slots=True)
class Inline:
    """A value that the leaf holds itself."""

    key: bytes
    value: bytes

    @property
    def last_key(self) -> bytes:
        """The same: it is one key."""
        return self.key


@dataclass(frozen=True, slots=True, eq=False)
class ChunkSeries:
    """The chunks of an array: values of equal length, `prefix + tail` for each tail of a grid.

    Attributes:
        prefix: What all keys begin with; no other key of the database does.
        tails: The rest of each key, in the order of keys.
        files: Files that hold the values.
        file_of: For each key the index of its file, `i64[key]`.
        offsets: For each key the first byte of its value in that file, `i64[key]`.
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
        """The first key."""
        return self.prefix + self.tails.first

    @property
    def last_key(self) -> bytes:
        """The last one."""
        return self.prefix + self.tails.last


Item = Inline | ChunkSeries


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """Ends of keys in byte order, in the form in which a leaf stores them.

    Attributes:
        first: The first end.
        last: The last one.
        order: For each the index of its chunk, row-major, `i64[key]`.
        shared: For all but the first the bytes in common with the one before, `i64[key - 1]`.
        lengths: For all but the first the bytes that follow those, `i64[key - 1]`.
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
    """The ends of the keys of a grid of so many chunks along each axis: `0/10/0` before `0/2/0`."""
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
    """An index, ready to be written.

    Attributes:
        nodes: The file of nodes.
        manifest: The manifest.
        keys: Number of keys.
    """

    nodes: bytes
    manifest: bytes
    keys: int


def database(items: Iterable[Item], nodes_path: str) -> Database:
    """A database of these items.

    Args:
        items: Keys and values, in any order.
        nodes_path: Where the file of nodes will be, relative to the base, as the values' files.

    Raises:
        ValueError: A key stands twice, or among those of a run.
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
    """The items of each leaf; a run stays whole."""
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
    """A node as its parent lists it."""

    first_key: bytes
    prefix_bytes: int  # of the key, common to all keys of the node, which leaves them out
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
    """The columns of a leaf, item after item: a node stores each column in one piece."""

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
        """Number of keys, and bytes of the values that are out of line."""
        kinds, lengths = np.concatenate(self._kinds), np.concatenate(self._lengths)
        return len(kinds), int(lengths[kinds == _OUT_OF_LINE].sum())

    def encoded(self) -> bytes:
        """The leaf without its frame."""
        columns: list[np.ndarray | bytes] = [
            np.concatenate(self._shared)[1:],  # the first key shares with none
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
    """The root, which lists the leaves; all are in one file."""
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
        hashlib.sha256(nodes).digest()[:16],  # the database's UUID, the same for the same contents
        varint(0),  # one manifest, not one for each version
        varint(_MAX_INLINE_BYTES),
        varint(_MAX_NODE_BYTES),
        bytes([_ARITY_LOG2]),
        varint(_ZSTD),
        struct.pack("<i", 0),  # for those who add to it: zstd's default level
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
    """Magic number, length of all, version, compression, compressed body, CRC-32C of all."""
    import zstandard

    from grokpack.formats.crc32c import crc32c

    packed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)
    head = bytes([_VERSION, _ZSTD])
    length = 4 + 8 + len(head) + len(packed) + 4
    framed = struct.pack(">I", magic) + struct.pack("<Q", length) + head + packed
    return framed + struct.pack("<I", crc32c(framed))


def _file_table(paths: list[bytes]) -> bytes:
    """The files that a node names, sorted; none has a part that its children's files inherit."""
    shared = [0, *(_shared(a, b) for a, b in pairwise(paths))]
    suffixes = [path[n:] for path, n in zip(paths, shared, strict=False)]
    lengths = varints(map(len, suffixes))
    inherited = bytes(len(paths))
    return b"".join((varint(len(paths)), varints(shared[1:]), lengths, inherited, *suffixes))


def _raw(path: str) -> bytes:
    """A path as the file system has it, which need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape")


def _shared(one: bytes, other: bytes) -> int:
    """Bytes that two strings begin with alike."""
    limit = min(len(one), len(other))
    if one[:limit] == other[:limit]:
        return limit
    return next(i for i in range(limit) if one[i] != other[i])


def varint(number: int) -> bytes:
    """A number in groups of seven bits, the lowest first; all but the last have bit 7 set."""
    out = bytearray()
    while number >> _VARINT_BITS:
        out.append(number & 0x7F | 0x80)
        number >>= _VARINT_BITS
    out.append(number)
    return bytes(out)


def varints(numbers: np.ndarray | Iterable[int]) -> bytes:
    """Many of them, one after the other."""
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
