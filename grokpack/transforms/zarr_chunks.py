"""Chunks of an array with their checksums, as in the shards of a zarr store."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.core.arrays import RAW
from grokpack.core.layout import Box, whole_box
from grokpack.formats.crc32c import crc32c
from grokpack.formats.zarr_shards import CRC_BYTES
from grokpack.transforms.copies import Copy
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.formats.zarr_shards import ShardGrid
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.protocols import LazyArray

_STEP_BYTES = 2 << 20  # of values at a time, so that they are scattered from the cache


@dataclass(frozen=True, slots=True)
class ChecksummedChunks(Transform):
    """Every chunk of an array, each followed by its crc32c: `u8[chunk, bytes + 4]`.

    Attributes:
        op: Makes boxes of the array.
        grid: Its shards and chunks.
        itemsize: Bytes of its elements.
        checked: True if checksums are included; they are not if chunks are compressed afterwards.
    """

    op: LazyArray
    grid: ShardGrid
    itemsize: int
    checked: bool = True

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the frames in a box of whole rows."""
        return self.make_group([box], reader)[0]

    def make_group(self, boxes: Sequence[Box], reader: ArraySource) -> list[np.ndarray]:
        """Return the frames of shards that lie side by side along the last axis.

        They are valid until the same thread requests others.
        """
        made = _kept(boxes)
        for row, frames in enumerate(zip(*made, strict=True)):
            numbers = [box.start[0] + row for box in boxes]
            self._fill(list(zip(numbers, frames, strict=True)), reader)
            if self.checked:  # while the values are in the cache
                for frame in frames:
                    frame[-CRC_BYTES:].view("<u4")[0] = crc32c(frame[:-CRC_BYTES])
        return made

    def _fill(self, frames: list[tuple[int, np.ndarray]], reader: ArraySource) -> None:
        """Put the values of adjacent chunks, by number, into their frames."""
        array, dtype = whole_box(self.grid.shape), RAW[self.itemsize]
        nbytes = math.prod(self.grid.chunk) * self.itemsize
        held: list[tuple[Box, np.ndarray]] = []
        for number, frame in frames:
            box = self.grid.box(number)
            values = frame[:nbytes].view(dtype).reshape(box.shape)
            inside = box.intersect(array)
            if inside != box:  # the chunk exceeds the array; zarr wants the fill value there
                values[...] = 0
            if inside is not None:
                held.append((inside, values[inside.slices_in(box)]))
        if len(held) == 1 and isinstance(self.op, Copy):
            self.op.fill(*held[0], reader)
        else:
            self._share_out(held, reader)

    def _share_out(self, held: list[tuple[Box, np.ndarray]], reader: ArraySource) -> None:
        """Make bands of rows across adjacent boxes, and give each box its columns."""
        first = held[0][0]
        outer = _hull([box for box, _ in held])
        columns: list[tuple[Any, ...]] = [(..., *box.slices_in(outer)[-1:]) for box, _ in held]
        for band in _bands(outer, self.itemsize):
            made = self.op.make(band, reader)
            rows = band.slices_in(first)[:-1]
            for (_, values), column in zip(held, columns, strict=True):
                values[rows] = made[column]

    def describe(self) -> list[object]:
        """Return `["frames", op, shard, chunk, checked]`."""
        return ["frames", self.op.describe(), self.grid.shard, self.grid.chunk, self.checked]


_thread = threading.local()


def _kept(boxes: Sequence[Box]) -> list[np.ndarray]:
    """Return reused arrays of these shapes: fresh memory costs as much as filling it."""
    shapes = [box.shape for box in boxes]
    arrays: list[np.ndarray] = getattr(_thread, "arrays", [])
    if [array.shape for array in arrays] != shapes:
        _thread.arrays = []  # frees them before others are allocated
        _thread.arrays = arrays = [np.empty(shape, np.uint8) for shape in shapes]
    return arrays


def _hull(boxes: list[Box]) -> Box:
    """Return the box that covers boxes which differ only in the last axis."""
    first, last = boxes[0], boxes[-1]
    if not first.shape:
        return first
    return Box(first.start, (*first.shape[:-1], last.stop[-1] - first.start[-1]))


def _bands(box: Box, itemsize: int) -> list[Box]:
    """Cut a box into bands of rows, each of one matrix and of about `_STEP_BYTES`."""
    if len(box.shape) < 2:  # noqa: PLR2004  # no rows
        return [box]
    rows = max(1, _STEP_BYTES // (box.shape[-1] * itemsize))
    lead = len(box.shape) - 2
    return [
        Box(
            (*(a + b for a, b in zip(box.start[:lead], at, strict=True)), first, box.start[-1]),
            (*(1,) * lead, min(rows, box.stop[-2] - first), box.shape[-1]),
        )
        for at in np.ndindex(*box.shape[:lead])
        for first in range(box.start[-2], box.stop[-2], rows)
    ]


def held_bytes(grid: ShardGrid, itemsize: int) -> int:
    """Return the memory that a thread needs for the frames of sibling files and their values."""
    siblings = grid.shards[-1] if grid.shards else 1
    return siblings * math.prod(grid.chunk) * itemsize + 2 * _STEP_BYTES
