"""Index that lies in a view's folder: read, judged, and compared with the one of its files."""

from __future__ import annotations

import os
from itertools import zip_longest
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.virtual_store.store_index import NODES
from grokpack.core.errors import MalformedInput, Place
from grokpack.formats import ocdbt, ocdbt_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.formats.ocdbt import Database
    from grokpack.formats.ocdbt_nodes import Node

LARGEST_BYTES = 64 << 20
"""Most bytes of each of its files; the release's have 0.7 MB."""


class HeldIndex:
    """Index of a view, in memory.

    Args:
        base: Folder at which its paths begin.
        folder: The view's folder.

    Raises:
        GrokpackError: GP235 if it is too large to be an index.
    """

    def __init__(self, base: str, folder: str) -> None:
        self._base, self._folder = base, folder
        self._nodes, self._manifest = (
            storage.read_whole(os.path.join(folder, name), LARGEST_BYTES)
            for name in (NODES, ocdbt.MANIFEST)
        )
        self._path = os.path.join(os.path.relpath(folder, base), NODES)

    def judge(self) -> None:
        """Refuse an index that TensorStore should not obey.

        Raises:
            GrokpackError: GP209 if it is broken or names files outside of its base, GP235 if it
                is larger than any real one, GP237 if a pipe or a device is at a name in it.
        """
        ocdbt_index.largest_value(self._manifest, self._read_all, self._refuse_irregular)

    def holds(self, database: Database) -> bool:
        """Return whether it has the keys and values of another.

        Another release of zstd compresses nodes to other bytes, so entries are what counts.
        """
        if (self._nodes, self._manifest) == (database.nodes, database.manifest):
            return True
        self.judge()
        held = ocdbt_index.entries(self._manifest, self._read)
        other = ocdbt_index.entries(
            database.manifest, lambda node: database.nodes[node.offset :][: node.nbytes]
        )
        return all(one == two for one, two in zip_longest(held, other))

    def _read_all(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self._read(node) for node in nodes]

    def _read(self, node: Node) -> bytes:
        if node.path != self._path:
            what = "the view's index has nodes in a file that is not its own"
            raise MalformedInput(what, Place(self._folder))
        return self._nodes[node.offset :][: node.nbytes]

    def _refuse_irregular(self, path: str) -> None:
        storage.size_of(os.path.join(self._base, path))
