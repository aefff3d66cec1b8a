"""Memory for large arrays, which a thread uses again once nothing refers to it.

The system clears fresh pages one by one, and a column band of 32 MiB has 8,192 of them: that takes
about as long as filling them. Memory that was touched before takes none of it.

It begins with a page. The system copies between files and memory by `rep movsb`, which some
processors do at a third of their speed where the target lies 1 to 31 bytes further into its page
than the source: an allocator's 16 bytes, and a read from the start of a file or tile, do.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_LEAST_BYTES = 1 << 20  # the allocator keeps smaller blocks by itself
_PAGE_BYTES = 4096


def _references(blocks: list[Any], index: int) -> int:
    """Count the references to a block, as the interpreter counts from here."""
    return sys.getrefcount(blocks[index])


_IDLE = _references([object()], 0)
"""References to a block that nothing but its list refers to."""


class _Blocks(threading.local):
    """Memory of a thread: bytes of which every array is a view, and so refers to them."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    def take(self, nbytes: int) -> np.ndarray:
        """Return at least so many bytes that nothing refers to, and at most twice as many.

        A block has a page more, for those before its first whole page.

        If there are none, idle memory is freed before more is allocated, so that a thread never
        holds more than it would without reuse.
        """
        blocks = self._blocks
        idle = [i for i in range(len(blocks)) if _references(blocks, i) == _IDLE]
        for index in idle:
            if nbytes <= len(blocks[index]) - _PAGE_BYTES <= 2 * nbytes:
                return _from_page(blocks[index])
        for index in reversed(idle):
            del blocks[index]
        blocks.append(np.empty(nbytes + _PAGE_BYTES, np.uint8))
        return _from_page(blocks[-1])


def _from_page(block: np.ndarray) -> np.ndarray:
    return block[-block.ctypes.data % _PAGE_BYTES :]


_thread = _Blocks()


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return an array of arbitrary values, in memory of this thread that is free again."""
    kind = np.dtype(dtype)
    nbytes = math.prod(shape) * kind.itemsize
    if nbytes < _LEAST_BYTES:
        return np.empty(shape, kind)
    return _thread.take(nbytes)[:nbytes].view(kind).reshape(shape)
