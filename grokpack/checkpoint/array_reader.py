"""Reader of boxes of a checkpoint's arrays."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.checkpoint.reading_memory import DEFAULT_MEMORY_BYTES, refuse_chunks
from grokpack.core import reused_memory
from grokpack.core.arrays import RAW, bytes_of
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.core.lru_cache import LRUCache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.layout import Piece
    from grokpack.kernels.dispatch import Implementation

_FIRST = Box((0,), (1,))


class ArrayReader:
    """Reads boxes of a checkpoint's arrays: of the model's tensors, however the files hold them.

    One reader serves many threads: it keeps no file open, and its caches never change a result. An
    array that the files hold in another form (transposed, one per expert, in blocks) is made by the
    checkpoint's lazy arrays, which read the files' own arrays, perhaps of the same names.

    Attributes:
        cache: Cache of results that several arrays need.

    Args:
        checkpoint: The source; None for transforms that need no input.
        implementation: The implementation of each kernel, numpy or compiled.
        ahead_bytes: Bytes that `read_ahead` reads at a time and keeps for each thread; 0 to read
            only what is asked for.
        memory_bytes: Memory of the process, part of which goes to decoding chunks; None if a budget
            has accounted for that.

    Raises:
        GrokpackError: GP240 if the checkpoint's chunks are too large for that memory.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        implementation: Implementation = "numpy",
        ahead_bytes: int = 0,
        memory_bytes: int | None = DEFAULT_MEMORY_BYTES,
    ) -> None:
        if checkpoint and memory_bytes is not None:
            refuse_chunks(checkpoint, memory_bytes)
        self._views = checkpoint.views if checkpoint else {}
        self._stored = StoredArrays(checkpoint, implementation, ahead_bytes)
        self.cache = self._stored.cache

    def read(self, array: str, box: Box, into: np.ndarray | None = None) -> np.ndarray:
        """Return the values in `box` of an array, as unsigned integers of its element size.

        Args:
            array: Its name.
            box: The region.
            into: Array to fill; a new one by default.

        Raises:
            GrokpackError: GP213 or GP214 if a file cannot be read as its header says, GP202 if
                no file holds a part of the box.
        """
        view = self._views.get(array)
        if view is None:
            return self._stored.read(array, box, into)
        made = view.make(box, self._stored)
        if into is None:
            return made
        into[...] = made
        return into

    def read_file(self, path: str, offset: int, nbytes: int) -> np.ndarray:
        """Return bytes of a file of the checkpoint, uninterpreted, `u8[byte]`."""
        return self._stored.read_file(path, offset, nbytes)

    def read_ahead(self, array: str, box: Box) -> np.ndarray:
        """Read a box; with look-ahead along the last axis where files hold the array itself."""
        ahead = self.read if array in self._views else self._stored.read_ahead
        return ahead(array, box)


class StoredArrays:
    """Reads boxes of the arrays that a checkpoint's files hold, from their pieces.

    Attributes:
        cache: As `ArrayReader` has it.

    Args:
        checkpoint: As `ArrayReader` takes it.
        implementation: Likewise.
        ahead_bytes: Likewise.
    """

    def __init__(
        self, checkpoint: Checkpoint | None, implementation: Implementation, ahead_bytes: int
    ) -> None:
        self._folder = checkpoint.folder if checkpoint else ""
        self._pieces = _distinct(checkpoint.layout.pieces()) if checkpoint else {}
        self._arrays = checkpoint.layout.arrays if checkpoint else {}
        self._implementation: Implementation = implementation
        self.cache = LRUCache()
        self._ahead_bytes = ahead_bytes
        self._kept = threading.local()

    def read(self, array: str, box: Box, into: np.ndarray | None = None) -> np.ndarray:
        """Read a box from the pieces that meet it."""
        out = into
        if out is None:
            out = reused_memory.empty(box.shape, RAW[self._arrays[array].dtype.itemsize])
        missing = box.elements
        for piece in self._pieces[array]:
            shared = box.intersect(piece.box)
            if shared is None:
                continue
            part: np.ndarray = out[shared.slices_in(box)] if box.shape else out
            self._fill(part, piece, shared)
            missing -= shared.elements
            if missing == 0:
                break
        if missing:
            raise GrokpackError("GP202", f"no file holds {missing:,} of the values of {array}")
        return out

    def read_file(self, path: str, offset: int, nbytes: int) -> np.ndarray:
        """Read bytes of a file, uninterpreted."""
        out = reused_memory.empty((nbytes,), np.uint8)
        storage.read_into(os.path.join(self._folder, path), offset, out.data)
        return out

    def read_ahead(self, array: str, box: Box) -> np.ndarray:
        """Read with look-ahead along the last axis, for callers that advance by small steps.

        Transposing a matrix does: each read takes a short run out of every row. A wide band is
        therefore read at once, and kept until the thread leaves it. A caller that jumps, from rank
        to rank, gets only what it asks for.
        """
        name, last, outer, values = getattr(self._kept, "band", ("", box, None, np.empty(0)))
        if name == array and outer is not None and box.intersect(outer) == box:
            self._kept.band = array, box, outer, values
            kept: np.ndarray = values[box.slices_in(outer)]
            return kept
        self._kept.band = array, box, None, np.empty(0)
        del values  # frees the memory for the next read
        wide = self._widened(array, box) if name == array and _follows(box, last) else box
        values = self.read(array, wide)
        if wide != box:
            self._kept.band = array, box, wide, values
        return values[box.slices_in(wide)]

    def _widened(self, array: str, box: Box) -> Box:
        """Widen a box along the last axis as far as the array and the memory allow."""
        spec = self._arrays[array]
        column_bytes = math.prod(box.shape[:-1]) * spec.dtype.itemsize
        width = max(box.shape[-1], self._ahead_bytes // column_bytes)
        width = min(width, spec.shape[-1] - box.start[-1])
        return Box(box.start, (*box.shape[:-1], width))

    def _fill(self, view: np.ndarray, piece: Piece, box: Box) -> None:
        """Read `box`, which lies in the piece, into `view`."""
        if not box.shape:  # a single number
            view, box = view.reshape(1), _FIRST
            piece = replace(piece, box=_FIRST)
        path = os.path.join(self._folder, piece.extent.path)
        for index, runs in spaced_runs(piece, box, view.itemsize):
            part = view[index]
            rows = part.reshape(runs.count, -1) if part.flags.c_contiguous else None
            buffer = rows
            if buffer is None:
                buffer = reused_memory.empty((runs.count, runs.nbytes // view.itemsize), view.dtype)
            if runs.count == 1:
                storage.read_into(path, runs.offset, bytes_of(buffer))
            else:
                storage.read_rows(
                    path, runs.offset, runs.stride, buffer.view(np.uint8), self._implementation
                )
            if rows is None:
                part[...] = buffer.reshape(part.shape)


def _follows(box: Box, last: Box) -> bool:
    """Return whether a box continues another along the last axis; they may share a block."""
    same = box.start[:-1] == last.start[:-1] and box.shape[:-1] == last.shape[:-1]
    return same and last.start[-1] < box.start[-1] <= last.stop[-1]


def _distinct(pieces: Mapping[str, tuple[Piece, ...]]) -> dict[str, tuple[Piece, ...]]:
    """Keep one piece for each region: ranks may hold the same heads or groups twice."""
    return {name: tuple({p.box: p for p in rows}.values()) for name, rows in pieces.items()}


@dataclass(frozen=True, slots=True)
class StridedRuns:
    """Equally spaced runs of bytes in a file: run `i` begins at `offset + i * stride`."""

    offset: int
    count: int
    nbytes: int
    stride: int


def spaced_runs(
    piece: Piece, box: Box, itemsize: int
) -> Iterator[tuple[tuple[int, ...], StridedRuns]]:
    """Yield the runs of bytes in a piece that make up a box, by leading index.

    Trailing axes that the box takes whole form one run together with the axis before them; the axis
    before that gives the equal spacing.
    """
    shape = piece.box.shape
    start = tuple(a - b for a, b in zip(box.start, piece.box.start, strict=True))
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    axis = len(shape) - 1
    while axis > 0 and box.shape[axis] == shape[axis]:
        axis -= 1
    axis = max(axis, 0)
    spaced = max(axis - 1, 0)
    count = box.shape[spaced] if spaced < axis else 1
    nbytes = math.prod(box.shape[axis:]) * itemsize
    base = sum(a * s for a, s in zip(start, strides, strict=True))
    for index in np.ndindex(*box.shape[:spaced]):
        element = base + sum(i * strides[k] for k, i in enumerate(index))
        stride = strides[spaced] * itemsize
        yield index, StridedRuns(piece.extent.offset + element * itemsize, count, nbytes, stride)
