"""Index of an OCDBT database, read from outside: lookup of a key, and the largest value.

TensorStore decodes nodes as streams, but trusts the number of files that they name and the lengths
of nodes and values; `largest_value` judges them before. Databases that TensorStore cannot reach
itself are looked up here.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from grokpack.core.errors import MalformedInput
from grokpack.formats import ocdbt_nodes
from grokpack.formats.ocdbt_nodes import LARGEST_BYTES, MOST_NODES, Leaf, beyond_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from grokpack.core.layout import Extent
    from grokpack.formats.ocdbt_nodes import Child, Node

_BROKEN = (ValueError, IndexError, UnicodeDecodeError)
_MOST_LEVELS = 64  # TensorStore's own fill 16 entries before a tree grows
_KEPT_ENTRIES = 1 << 17  # of nodes that stay decoded: some 32 MB


def largest_value(manifest: bytes, read: Callable[[Sequence[Node]], list[bytes]]) -> int:
    """Return the size of the largest value of a database.

    Args:
        manifest: The bytes of its manifest.
        read: Reads the bytes of nodes.

    Raises:
        GrokpackError: GP209 if the index is broken, GP235 if it is larger than any real one.
    """
    try:
        level, largest, seen = ocdbt_nodes.newest_root(ocdbt_nodes.body(manifest)), 0, 0
        while level:
            seen += len(level)
            if seen > MOST_NODES or max(node.nbytes for node in level) > LARGEST_BYTES:
                raise beyond_limits()
            below: list[Node] = []
            for node, data in zip(level, read(level), strict=True):
                columns = ocdbt_nodes.body(data)
                if columns.byte():
                    below += [child.node for child in ocdbt_nodes.children(columns, node.base)]
                    if len(below) > MOST_NODES:
                        raise beyond_limits()
                else:
                    largest = max(largest, ocdbt_nodes.largest_length(columns))
            level = below
    except _BROKEN as error:
        raise _broken(error) from error
    return largest


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
            entries = parse(columns, node.base)
            count = len(entries.keys if isinstance(entries, Leaf) else entries)
            if self._entries + count > _KEPT_ENTRIES:
                self._kept.clear()
                self._entries = 0
            self._kept[node] = entries
            self._entries += count
        return self._kept[node]
