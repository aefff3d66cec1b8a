"""Protocol of a source of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from grokpack.core.layout import Box
    from grokpack.core.lru_cache import LRUCache


class ArraySource(Protocol):
    """Source that reads boxes of arrays by name, such as `ArrayReader` from a checkpoint's files.

    Attributes:
        cache: Cache of results that several transforms of the same arrays share.
    """

    cache: LRUCache

    def read(self, array: str, box: Box, into: np.ndarray | None = None) -> np.ndarray:
        """Read a box as raw unsigned integers of the array's element size, into `into` if given."""

    def read_file(self, path: str, offset: int, nbytes: int) -> np.ndarray:
        """Read bytes of one of the files, `u8[byte]`."""

    def read_ahead(self, array: str, box: Box) -> np.ndarray:
        """Read a box with look-ahead along the last axis, for callers that advance along it."""
