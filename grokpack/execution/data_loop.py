"""The data loop: fill the tiles of a group of files, and compute their checksums on the way."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.core.arrays import bytes_of
from grokpack.core.errors import Interrupted
from grokpack.core.layout import ArraySlice, Box, FileLayout, Literal
from grokpack.core.tiles import TILE_BYTES, row_bands, tile_range
from grokpack.execution.compressed_file_writer import CompressedFileWriter
from grokpack.execution.quantization_error import TileErrorStats
from grokpack.execution.receipt import Receipt, TaskInput
from grokpack.execution.workers.jobs import here
from grokpack.storage.hashing import TileSums
from grokpack.transforms.protocols import is_grouped, is_streamed
from grokpack.transforms.quantized_rows import QuantizedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.core.progress import Watch
    from grokpack.execution.output import Output
    from grokpack.execution.quantization_error import ArrayErrorStats
    from grokpack.planning.plan import Plan
    from grokpack.planning.target import Target
    from grokpack.planning.tasks import TileRange
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.protocols import LazyArray, StreamedArray


OutputFileWriter = storage.FileWriter | CompressedFileWriter
"""Writer of one file, as it is or compressed."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """Objects that all tasks of a run share.

    Attributes:
        target: Files that are written.
        reader: Source of values.
        output: The output.
        buffer_sizes: Bytes that are handled at a time.
        advanced: Callback that receives the bytes of each step.
        stopping: Callback that tells, between tiles, whether to stop.
    """

    target: Target
    reader: ArrayReader
    output: Output
    buffer_sizes: BufferSizes
    advanced: Callable[[int], None]
    stopping: Callable[[], bool]

    @classmethod
    def of(cls, watch: Watch, plan: Plan, output: Output, buffer_sizes: BufferSizes) -> TaskContext:
        """Make the context of a plan's tasks, in any process."""
        reader = ArrayReader(
            plan.source, buffer_sizes.implementation, buffer_sizes.band_bytes, None
        )
        return cls(plan.target, reader, output, buffer_sizes, watch.advanced, watch.stopping)


def doing_tasks(
    watch: Watch, plan: Plan, output: Output, buffer_sizes: BufferSizes
) -> Callable[[TaskInput], tuple[str, list[Receipt]]]:
    """Make the function that does one task and returns its process and receipts."""
    context = TaskContext.of(watch, plan, output, buffer_sizes)

    def do(portion: TaskInput) -> tuple[str, list[Receipt]]:
        output.sink.accept(portion.tickets)
        return here(), run_task(context, portion.runs)

    return do


def run_task(context: TaskContext, runs: tuple[TileRange, ...]) -> list[Receipt]:
    """Write the tiles of a task durably; stop between two tiles when asked to."""
    receipts = []
    with storage.interruptible(context.stopping, context.output.journal.folder):
        for run in runs:
            if context.stopping():
                break
            receipts.append(_write_tiles(context, run))
    return [receipt for receipt in receipts if receipt.sums[0]]


def _write_tiles(context: TaskContext, run: TileRange) -> Receipt:
    group = context.target.layout.file_groups[run.file_group]
    writers = [_writer(context, file) for file in group]
    start, stop = run.span(group[0])
    sums = TileSums(len(group), stop - start)
    error_stats = TileErrorStats(context.buffer_sizes.implementation)
    try:
        fill = _fill_sparse if context.target.sparse else _fill
        files = _OpenFiles(writers, sums, start, context.target.sparse)
        with suppress(Interrupted):  # while it waited for a server: in mid-tile
            fill(context, run, files, error_stats)
        for writer in writers:
            writer.sync()
        marks = tuple(mark for writer in writers if (mark := writer.mark()))
    finally:
        for writer in writers:
            writer.close()
    rows = sums.rows()
    stats_by_tile = error_stats.tiles(run.first, run.first + len(rows[0]))
    if context.target.codec is None:
        return Receipt(run.file_group, run.first, rows, stats_by_tile, marks=marks)
    ended = tuple(w.ended for w in writers if isinstance(w, CompressedFileWriter) and w.ended)
    if len(ended) < len(writers):  # stopped within the files, which have to be started over
        return Receipt(run.file_group, run.first, ((),) * len(group))
    return Receipt(run.file_group, run.first, rows, stats_by_tile, ended, marks)


def _writer(context: TaskContext, file: FileLayout) -> OutputFileWriter:
    path, codec = context.output.file(file.path), context.target.codec
    if codec:
        return CompressedFileWriter(codec, file, path, context.output.sink)
    return context.output.sink.writer(path, file.nbytes)


@dataclass(slots=True)
class _OpenFiles:
    """Files of a group that a task writes, with the checksums of their tiles.

    Attributes:
        writers: A writer for each file.
        sums: The checksums.
        at: Byte of each file that is written next.
        sparse: Whether zeros are left out.
    """

    writers: list[OutputFileWriter]
    sums: TileSums
    at: int
    sparse: bool

    def put(self, blocks: Blocks) -> int:
        """Write a block of each file, and hash it while it is in the cache; return its length.

        Nothing refers to it afterwards, so that its memory serves the next one.
        """
        for number, (block, writer) in enumerate(zip(blocks, self.writers, strict=True)):
            if not self.sparse or np.frombuffer(block, np.uint8).any():
                writer.write(self.at, block)
            self.sums.update(number, block)
        self.at += len(blocks)
        return len(blocks)


def _fill(
    context: TaskContext, run: TileRange, files: _OpenFiles, error_stats: TileErrorStats
) -> None:
    """Write a range of tiles to every file of its group, until asked to stop."""
    group = context.target.layout.file_groups[run.file_group]
    stop = run.span(group[0])[1]
    for nbytes in map(files.put, file_group_blocks(context, group, files.at, stop, error_stats)):
        context.advanced(nbytes * len(group))
        tile_ended = files.at % TILE_BYTES < nbytes
        if tile_ended and context.stopping():
            break


def _fill_sparse(
    context: TaskContext, run: TileRange, files: _OpenFiles, error_stats: TileErrorStats
) -> None:
    """Write the tiles of a sparse output, in which arrays are holes and never written."""
    group = context.target.layout.file_groups[run.file_group]
    for tile in run.tiles:
        start, stop = tile_range(tile, group[0].nbytes)
        if context.stopping():
            break
        if _is_hole(group[0], start, stop):
            files.sums.append_zeros(stop - start)
            files.at = stop
            context.advanced((stop - start) * len(group))
            continue
        for blocks in file_group_blocks(context, group, start, stop, error_stats):
            context.advanced(files.put(blocks) * len(group))


def _is_hole(file: FileLayout, start: int, stop: int) -> bool:
    """Return whether a tile of a sparse output holds nothing but arrays."""
    return all(
        isinstance(file.segments[index], ArraySlice) for index, _, _ in file.covering(start, stop)
    )


@dataclass(frozen=True, slots=True)
class Blocks:
    """Bytes of one range of every file of a group; each is made contiguous when its turn comes.

    A slice of wide rows is so copied, written and hashed before the next one takes the cache.

    Attributes:
        values: Values of each file that hold the range, perhaps strided.
        begin: First of their bytes.
        end: One past the last.
    """

    values: list[np.ndarray]
    begin: int
    end: int

    def __len__(self) -> int:
        """Length of the range in bytes."""
        return self.end - self.begin

    def __iter__(self) -> Iterator[memoryview]:
        """Yield the bytes of each file."""
        for values in self.values:
            yield bytes_of(values)[self.begin : self.end]


def file_group_blocks(
    context: TaskContext,
    group: tuple[FileLayout, ...],
    start: int,
    stop: int,
    error_stats: TileErrorStats,
) -> Iterator[Blocks]:
    """Yield bytes `start` to `stop` of every file of a group, block by block."""
    for index, low, high in group[0].covering(start, stop):
        segments = [file.segments[index] for file in group]
        slices = [segment for segment in segments if isinstance(segment, ArraySlice)]
        if not slices:
            literals = [np.frombuffer(s.data, np.uint8) for s in segments if isinstance(s, Literal)]
            yield Blocks(literals, low, high)
            continue
        op = context.target.ops[slices[0].array]
        if is_streamed(op):
            begins = group[0].ends[index] - slices[0].nbytes
            yield from _streamed_blocks(
                context, op, slices, (low, high), error_stats.from_byte(begins)
            )
        else:
            yield from _slice_blocks(context, op, slices, low, high)


def _slice_blocks(
    context: TaskContext, op: LazyArray, slices: list[ArraySlice], low: int, high: int
) -> Iterator[Blocks]:
    """Yield the bytes of one array's slices in the files of a group."""
    first = slices[0]
    itemsize = first.dtype.itemsize
    united = _union(slices)
    grouped = op if is_grouped(op) else None
    limit = context.buffer_sizes.step_bytes
    if united is not None:
        columns = united.shape[-1] if united.shape else 1
        own = first.box.shape[-1] if first.box.shape else 1
        limit = max(1, limit * own // columns)
    elif grouped:
        limit = max(1, limit // len(slices))

    def made(boxes: list[Box]) -> list[np.ndarray]:
        if grouped:
            return grouped.make_group(boxes, context.reader)
        if united is None:
            return [op.make(box, context.reader) for box in boxes]
        return _made_at_once(context, op, boxes, united)

    for rows in row_bands(first.box.shape, itemsize, low, high, limit):
        boxes = [rows.box.moved(held.box.start) for held in slices]
        yield Blocks(made(boxes), rows.skip_bytes, rows.skip_bytes + rows.nbytes)


def _streamed_blocks(
    context: TaskContext,
    op: StreamedArray,
    slices: list[ArraySlice],
    run: tuple[int, int],
    error_stats: ArrayErrorStats,
) -> Iterator[Blocks]:
    """Yield the bytes of an array whose op makes rows in order; its file has no siblings."""
    (held,) = slices
    shape, itemsize = held.box.shape, held.dtype.itemsize
    at = run[0]
    for rows in row_bands(shape, itemsize, *run, held.nbytes):
        skip, left = rows.skip_bytes, rows.nbytes
        row_at = at - skip
        box = rows.box.moved(held.box.start)
        for made in op.stream(box, context.reader, context.buffer_sizes):
            values = made.values if isinstance(made, QuantizedRows) else made
            if isinstance(made, QuantizedRows):
                error_stats.enter(made, row_at, run)
            nbytes = values.nbytes
            blocks = Blocks([values], min(skip, nbytes), min(skip + left, nbytes))
            skip, left = max(0, skip - nbytes), left - len(blocks)
            row_at += nbytes
            if len(blocks):
                yield blocks
            del made, values, blocks  # their memory serves the next rows
        at += rows.nbytes


def _union(slices: list[ArraySlice]) -> Box | None:
    """Return the box that covers all slices, if they differ in the last axis only."""
    boxes = [held.box for held in slices]
    if len(boxes) == 1 or any(b.start[:-1] != boxes[0].start[:-1] for b in boxes):
        return None
    low = min(b.start[-1] for b in boxes)
    high = max(b.stop[-1] for b in boxes)
    return Box((*boxes[0].start[:-1], low), (*boxes[0].shape[:-1], high - low))


def _made_at_once(
    context: TaskContext, op: LazyArray, boxes: list[Box], united: Box
) -> list[np.ndarray]:
    """Make the same rows of every sibling, from one read across all of them."""
    lead, shape = boxes[0].start[:-1], boxes[0].shape[:-1]
    outer = Box((*lead, united.start[-1]), (*shape, united.shape[-1]))
    made = op.make(outer, context.reader)
    return [made[box.slices_in(outer)] for box in boxes]
