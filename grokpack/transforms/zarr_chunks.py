"""Chunks of an array with their checksums, as the shards of a zarr store hold them."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.core.arrays import RAW
from grokpack.core.layout import Box, whole
from grokpack.formats.zarr import CRC_BYTES, crc32c
from grokpack.transforms.copies import Copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.formats.zarr import ShardGrid
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.protocols import Op

_STEP_BYTES = 2 << 20  # of values that are made at a time: what is scattered then is in cache still


@dataclass(frozen=True, slots=True)
class Frames:
    """Every chunk of an array, and behind each its crc32c: `u8[chunk, bytes + 4]`.

    Attributes:
        op: Makes boxes of the array.
        grid: How it is cut.
        itemsize: Bytes of its elements.
        checked: Whether the checksum is there; it is not where chunks are compressed afterwards.
    """

    op: Op
    grid: ShardGrid
    itemsize: int
    checked: bool = True

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """The frames in a box of whole rows."""
        return self.make_band([box], reader)[0]

    def make_band(self, boxes: Sequence[Box], reader: ArraySource) -> list[np.ndarray]:
        """The same frames of shards that lie side by side along the last axis.

        They are the caller's until the same thread asks for others.
        """
        made = _kept(boxes)
        checksum = crc32c() if self.checked else None
        for row, frames in enumerate(zip(*made, strict=True)):
            numbers = [box.start[0] + row for box in boxes]
            self._fill(list(zip(numbers, frames, strict=True)), reader)
            if checksum:  # while the values lie in the cache
                for frame in frames:
                    frame[-CRC_BYTES:].view("<u4")[0] = checksum(frame[:-CRC_BYTES])
        return made

    def _fill(self, frames: list[tuple[int, np.ndarray]], reader: ArraySource) -> None:
        """Put the values of chunks side by side, by number, into their frames."""
        array, dtype = whole(self.grid.shape), RAW[self.itemsize]
        nbytes = math.prod(self.grid.chunk) * self.itemsize
        held: list[tuple[Box, np.ndarray]] = []
        for number, frame in frames:
            box = self.grid.box(number)
            values = frame[:nbytes].view(dtype).reshape(box.shape)
            inside = box.intersect(array)
            if inside != box:  # it reaches beyond the array, where zarr wants the fill value
                values[...] = 0
            if inside is not None:
                held.append((inside, values[inside.slices_in(box)]))
        if len(held) == 1 and isinstance(self.op, Copy):
            self.op.fill(*held[0], reader)
        else:
            self._share_out(held, reader)

    def _share_out(self, held: list[tuple[Box, np.ndarray]], reader: ArraySource) -> None:
        """Make bands of rows across boxes that lie side by side, and give each its columns."""
        first = held[0][0]
        outer = _hull([box for box, _ in held])
        columns: list[tuple[Any, ...]] = [(..., *box.slices_in(outer)[-1:]) for box, _ in held]
        for band in _bands(outer, self.itemsize):
            made = self.op.make(band, reader)
            rows = band.slices_in(first)[:-1]
            for (_, values), column in zip(held, columns, strict=True):
                values[rows] = made[column]

    def describe(self) -> list[object]:
        """`["frames", op, shard, chunk, checked]`."""
        return ["frames", self.op.describe(), self.grid.shard, self.grid.chunk, self.checked]


_thread = threading.local()


def _kept(boxes: Sequence[Box]) -> list[np.ndarray]:
    """Arrays of these shapes, which the thread keeps: fresh memory costs as much as filling it."""
    shapes = [box.shape for box in boxes]
    arrays: list[np.ndarray] = getattr(_thread, "arrays", [])
    if [array.shape for array in arrays] != shapes:
        _thread.arrays = []  # frees them before others are made
        _thread.arrays = arrays = [np.empty(shape, np.uint8) for shape in shapes]
    return arrays


def _hull(boxes: list[Box]) -> Box:
    """The box that covers boxes which differ in the last axis only; scalars cover themselves."""
    first, last = boxes[0], boxes[-1]
    if not first.shape:
        return first
    return Box(first.start, (*first.shape[:-1], last.stop[-1] - first.start[-1]))


def _bands(box: Box, itemsize: int) -> list[Box]:
    """Bands of rows of a box, each of one matrix and of about the bytes of a step."""
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
    """Memory that a thread needs for the frames of sibling files, and what they are made of."""
    siblings = grid.shards[-1] if grid.shards else 1
    return siblings * math.prod(grid.chunk) * itemsize + 2 * _STEP_BYTES
