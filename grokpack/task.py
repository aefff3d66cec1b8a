"""The only data loop: fill tiles of a band of files, and checksum them on the way."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from grokpack.layout import Box, FileLayout, Literal, Part
from grokpack.reading import bytes_of
from grokpack.storage import PART, PartWriter
from grokpack.tiling import RowBand, row_bands, tile_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.plan import Run, Target
    from grokpack.reading import ArrayReader


@dataclass(frozen=True, slots=True)
class Context:
    """What every task of a run shares.

    Attributes:
        target: What is written.
        reader: Where values come from.
        out: The output folder.
        step_bytes: How much is read at a time.
        advanced: Told the bytes of each step.
        stopping: Asked between tiles whether to stop.
    """

    target: Target
    reader: ArrayReader
    out: str
    step_bytes: int
    advanced: Callable[[int], None]
    stopping: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Tiles that are written: for each file of a band one checksum per tile."""

    band: int
    first: int
    sums: tuple[tuple[str, ...], ...]  # [file in band][tile]

    @property
    def last(self) -> int:
        """One past the last tile."""
        return self.first + len(self.sums[0])


def run_task(context: Context, runs: tuple[Run, ...]) -> list[Receipt]:
    """Write the tiles of a task durably; stops early, between two tiles, when asked to."""
    receipts = []
    for run in runs:
        if context.stopping():
            break
        receipts.append(_run_band(context, run))
    return [receipt for receipt in receipts if receipt.sums[0]]


def _run_band(context: Context, run: Run) -> Receipt:
    band = context.target.layout.bands[run.band]
    writers = [PartWriter(os.path.join(context.out, file.path + PART)) for file in band]
    sums: list[list[str]] = [[] for _ in band]
    try:
        for tile in range(run.first, run.last):
            if context.stopping():
                break
            for row, digest in zip(sums, _fill_tile(context, band, writers, tile), strict=True):
                row.append(digest)
        for writer in writers:
            writer.sync()
    finally:
        for writer in writers:
            writer.close()
    return Receipt(run.band, run.first, tuple(map(tuple, sums)))


def _fill_tile(
    context: Context, band: tuple[FileLayout, ...], writers: list[PartWriter], tile: int
) -> list[str]:
    """Write one tile of every file of a band; returns their checksums."""
    start, stop = tile_range(tile, band[0].nbytes)
    if context.target.sparse and _is_hole(band[0], start, stop):
        context.advanced((stop - start) * len(band))
        return [_sum_of_zeros(stop - start)] * len(band)
    hashes = [xxhash.xxh3_128() for _ in band]
    at = start
    for blocks in tile_blocks(context, band, start, stop):
        for block, writer, digest in zip(blocks, writers, hashes, strict=True):
            if not context.target.sparse or np.frombuffer(block, np.uint8).any():
                writer.write(at, block)
            digest.update(block)
        at += len(blocks[0])
        context.advanced(len(blocks[0]) * len(band))
    return [digest.hexdigest() for digest in hashes]


def _is_hole(file: FileLayout, start: int, stop: int) -> bool:
    """Whether a tile of a sparse output lies wholly within one array."""
    return any(
        isinstance(file.segments[index], Part) and high - low == stop - start
        for index, low, high in file.covering(start, stop)
    )


@cache
def _sum_of_zeros(nbytes: int) -> str:
    return xxhash.xxh3_128(bytes(nbytes)).hexdigest()


def tile_blocks(
    context: Context, band: tuple[FileLayout, ...], start: int, stop: int
) -> Iterator[list[memoryview]]:
    """The bytes `start` to `stop` of every file of a band, in order, in blocks of equal length."""
    for index, low, high in band[0].covering(start, stop):
        segments = [file.segments[index] for file in band]
        parts = [segment for segment in segments if isinstance(segment, Part)]
        if parts:
            yield from _part_blocks(context, parts, low, high)
        else:
            yield [memoryview(s.data)[low:high] for s in segments if isinstance(s, Literal)]


def _part_blocks(
    context: Context, parts: list[Part], low: int, high: int
) -> Iterator[list[memoryview]]:
    """The same for parts of one array that the files of a band share."""
    first = parts[0]
    itemsize = first.dtype.itemsize
    united = _union(parts)
    limit = context.step_bytes
    if united is not None:
        columns = united.shape[-1] if united.shape else 1
        own = first.box.shape[-1] if first.box.shape else 1
        limit = max(1, limit * own // columns)
    for rows in row_bands(first.box.shape, itemsize, low, high, limit):
        yield _blocks(context, parts, rows, united)


def _union(parts: list[Part]) -> Box | None:
    """The box that covers all parts, where they differ in the last axis only."""
    boxes = [part.box for part in parts]
    if len(boxes) == 1 or any(b.start[:-1] != boxes[0].start[:-1] for b in boxes):
        return None
    low = min(b.start[-1] for b in boxes)
    high = max(b.stop[-1] for b in boxes)
    return Box((*boxes[0].start[:-1], low), (*boxes[0].shape[:-1], high - low))


def _blocks(
    context: Context, parts: list[Part], rows: RowBand, united: Box | None
) -> list[memoryview]:
    op = context.target.ops[parts[0].array]
    boxes = [rows.box.moved(part.box.start) for part in parts]
    if united is None:
        values = [op.make(box, context.reader) for box in boxes]
    else:
        outer = Box(
            (*boxes[0].start[:-1], united.start[-1]), (*boxes[0].shape[:-1], united.shape[-1])
        )
        made = op.make(outer, context.reader)
        values = [np.ascontiguousarray(made[box.slices_in(outer)]) for box in boxes]
    return [bytes_of(array)[rows.skip_bytes : rows.skip_bytes + rows.nbytes] for array in values]
