"""Index of an OCDBT database, read from outside: lookup of a key, and the largest value.

TensorStore decodes nodes as streams, but trusts the number of files that they name, their places,
and the lengths of nodes and values; `largest_value` judges them before. Databases that TensorStore
cannot reach itself are looked up here.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from grokpack.core.errors import MalformedInput
from grokpack.formats import ocdbt_nodes
from grokpack.formats.ocdbt_nodes import LARGEST_BYTES, MOST_BYTES, MOST_NODES, Leaf, beyond_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from grokpack.core.layout import Extent
    from grokpack.formats.ocdbt_nodes import Child, Node

_BROKEN = (ValueError, IndexError, UnicodeDecodeError)
_MOST_LEVELS = 64  # TensorStore's own fill 16 entries before a tree grows
_NAME_BYTES = 512  # that a file counts for among the bytes of nodes, for the time that it takes
_KEPT_ENTRIES = 1 << 17  # of nodes that stay decoded: some 32 MB


def largest_value(
    manifest: bytes,
    read: Callable[[Sequence[Node]], list[bytes]],
    judge: Callable[[str], object],
) -> int:
    """Return the size of the largest value of a database.

    Args:
        manifest: The bytes of its manifest.
        read: Reads the bytes of nodes.
        judge: Refuses a file of values that may not be read.

    Raises:
        GrokpackError: GP209 if the index is broken, GP235 if it is larger than any real one.
    """
    try:
        return _Walk(read, judge).largest_value(ocdbt_nodes.newest_root(ocdbt_nodes.body(manifest)))
    except _BROKEN as error:
        raise _broken(error) from error


def entries(
    manifest: bytes, read: Callable[[Node], bytes]
) -> Iterator[tuple[bytes, bytes | Extent]]:
    """Yield the keys of a database in order, each with its value or its location.

    Args:
        manifest: The bytes of its manifest, of an index that `largest_value` judged.
        read: Reads the bytes of a node.
    """
    roots = ocdbt_nodes.newest_root(ocdbt_nodes.body(manifest))
    left = [(b"", node) for node in roots]
    while left:
        prefix, node = left.pop()
        columns = ocdbt_nodes.body(read(node))
        height = columns.byte()
        files = ocdbt_nodes.named_files(columns, node.base)
        if height:
            below = ocdbt_nodes.children(columns, files)
            left += [(prefix + child.key[: child.shared], child.node) for child in reversed(below)]
        else:
            held = ocdbt_nodes.leaf(columns, files)
            yield from zip((prefix + key for key in held.keys), held.values, strict=True)


class _Walk:
    """Walk through all nodes of a database, level by level.

    Args:
        read: Reads the bytes of nodes.
        judge: Refuses a file of values that may not be read.
    """

    def __init__(
        self, read: Callable[[Sequence[Node]], list[bytes]], judge: Callable[[str], object]
    ) -> None:
        self._read, self._judge = read, judge
        self._met: set[tuple[str, int]] = set()
        self._left = MOST_BYTES

    def largest_value(self, level: list[Node]) -> int:
        """Return the size of the largest value below some nodes."""
        largest = 0
        while level:
            below: list[Node] = []
            for batch in self._batches(level):
                for node, data in zip(batch, self._read(batch), strict=True):
                    columns = ocdbt_nodes.body(data)
                    height = columns.byte()
                    files = ocdbt_nodes.named_files(columns, node.base)
                    self._spend(columns.nbytes + len(files) * _NAME_BYTES)
                    if height:
                        below += [child.node for child in ocdbt_nodes.children(columns, files)]
                        continue
                    for path, _ in files:
                        self._judge(path)
                    largest = max(largest, ocdbt_nodes.largest_length(columns))
                if len(below) > MOST_NODES:
                    raise beyond_limits()
            level = below
        return largest

    def _batches(self, level: list[Node]) -> Iterator[list[Node]]:
        """Yield nodes whose bytes are held at a time.

        Raises:
            ValueError: A node was met before: the tree has a loop, or two ways to a node.
        """
        batch: list[Node] = []
        held = 0
        for node in level:
            if (node.path, node.offset) in self._met:
                message = f"a node is listed twice, at byte {node.offset:,} of {node.path}"
                raise ValueError(message)
            self._met.add((node.path, node.offset))
            if len(self._met) > MOST_NODES or node.nbytes > LARGEST_BYTES:
                raise beyond_limits()
            self._spend(node.nbytes)
            if held + node.nbytes > LARGEST_BYTES:
                yield batch
                batch, held = [], 0
            batch.append(node)
            held += node.nbytes
        yield batch

    def _spend(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left < 0:
            raise beyond_limits()


def _broken(error: Exception) -> MalformedInput:
    return MalformedInput(f"the database's index is broken: {error}")


class Lookup:
    """Thread-safe lookup of keys in a database, which keeps the nodes that it met last.

    Args:
        manifest: The bytes of its manifest.
        read: Reads the bytes of a node.

    Raises:
        GrokpackError: GP209 if the manifest is broken.
    """

    def __init__(self, manifest: bytes, read: Callable[[Node], bytes]) -> None:
        self._read = read
        self._guard = threading.Lock()
        self._kept: dict[Node, list[Child] | Leaf] = {}
        self._entries = 0
        try:
            self._root = ocdbt_nodes.newest_root(ocdbt_nodes.body(manifest))
        except _BROKEN as error:
            raise _broken(error) from error

    def find(self, key: bytes) -> bytes | Extent | None:
        """Return a key's value, or its location below the database; None if there is no such key.

        Raises:
            GrokpackError: GP209 if the index is broken, GP235 if it is larger than any real one,
                and whatever reading a node raises.
        """
        with self._guard:
            try:
                return self._find(key)
            except _BROKEN as error:
                raise _broken(error) from error

    def _find(self, key: bytes) -> bytes | Extent | None:
        node = self._root[0] if self._root else None
        for _ in range(_MOST_LEVELS):
            entries = self._decoded(node) if node else None
            if entries is None:
                return None
            if isinstance(entries, Leaf):
                at = bisect_left(entries.keys, key)
                held = at < len(entries.keys) and entries.keys[at] == key
                return entries.values[at] if held else None
            at = bisect_right(entries, key, key=lambda child: child.key) - 1
            child = entries[at] if at >= 0 else None
            if child is None or not key.startswith(child.key[: child.shared]):
                return None
            node, key = child.node, key[child.shared :]
        raise beyond_limits()

    def _decoded(self, node: Node) -> list[Child] | Leaf:
        if node not in self._kept:
            if node.nbytes > LARGEST_BYTES:
                raise beyond_limits()
            columns = ocdbt_nodes.body(self._read(node))
            parse = ocdbt_nodes.children if columns.byte() else ocdbt_nodes.leaf
            entries = parse(columns, ocdbt_nodes.named_files(columns, node.base))
            count = len(entries.keys if isinstance(entries, Leaf) else entries)
            if self._entries + count > _KEPT_ENTRIES:
                self._kept.clear()
                self._entries = 0
            self._kept[node] = entries
            self._entries += count
        return self._kept[node]
