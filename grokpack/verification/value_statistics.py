"""Statistics of every value of a checkpoint, counted by several threads.

An array is cut into slabs, a slab into bands of whole rows that are read and counted one by one.
Tallies merge exactly, so the result depends neither on the cuts nor on the threads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from grokpack import storage
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.core.arrays import contiguous
from grokpack.core.errors import ChunkUnreadable, FrameDamaged, GrokpackError
from grokpack.core.events import Listener, Started, ignore_event
from grokpack.core.layout import Box
from grokpack.core.progress import phase, watching
from grokpack.core.tensors import SCALES_SUFFIX, DType, scales_name
from grokpack.core.tiles import row_bands
from grokpack.execution import worker_checks
from grokpack.execution.workers import Job, map_unordered
from grokpack.kernels.compilation import telling_of_compilation
from grokpack.kernels.dispatch import choose_implementation
from grokpack.kernels.float_casts import to_f32
from grokpack.kernels.tally import CodeTally, FloatTally
from grokpack.verification.read_options import ReadOptions
from grokpack.verification.value_locations import SCALE_KINDS, VALUE_KINDS, ValueLocations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.inspection_json import FiguresJson
    from grokpack.core.progress import Watch
    from grokpack.core.tensors import ArraySpec, TensorSpec
    from grokpack.kernels.dispatch import Implementation
    from grokpack.kernels.tally import Tally

T = TypeVar("T")

_STEP_BYTES = 1 << 20  # fits the second-level cache, numpy's intermediates included
_AHEAD_STEPS = 16  # runs of 512 bytes in a matrix of 32,768 rows; four threads keep to 64 MiB
_FAR_STEP_BYTES = 4 << 20  # several requests at a time
_SLAB_BYTES = 64 << 20  # a single tensor keeps several threads busy; merging costs nothing
_MOST_WORKERS = 4  # counting is bound by memory bandwidth beyond that
_UNDECODED = (
    FrameDamaged,
    ChunkUnreadable,
)  # errors of one frame or chunk, after which others can still be read
_CELL_BYTES = 16  # sums and extremes of each code, if each row has scales of its own


@dataclass(frozen=True, slots=True)
class CountingSizes:
    """Sizes in which the work is cut; the result does not depend on them.

    Attributes:
        step_bytes: Bytes that are read and counted at a time.
        slab_bytes: Bytes that one thread takes at a time.
        workers: Threads.
    """

    step_bytes: int = _STEP_BYTES
    slab_bytes: int = _SLAB_BYTES
    workers: int = field(default_factory=lambda: min(os.cpu_count() or 1, _MOST_WORKERS))

    @property
    def ahead_bytes(self) -> int:
        """Bytes that a thread reads at once of a matrix that is stored transposed."""
        return _AHEAD_STEPS * self.step_bytes


def usual_cuts(checkpoint: Checkpoint) -> CountingSizes:
    """Choose the sizes: larger steps and more threads if each waits for a server."""
    threads = storage.read_overhead(checkpoint.folder).threads
    return CountingSizes(_FAR_STEP_BYTES, workers=threads) if threads else CountingSizes()


@dataclass(frozen=True, slots=True)
class ArrayTally:
    """Counts of an array, and the locations of its first odd values."""

    tally: Tally
    locations: ValueLocations

    def merge(self, later: ArrayTally) -> None:
        """Add a part that comes after this one."""
        self.tally.merge(later.tally)
        self.locations.merge(later.locations)

    def summary(self) -> FiguresJson:
        """Return the result as JSON values."""
        return cast("FiguresJson", self.tally.summary() | {"places": self.locations.found})


@dataclass(frozen=True, slots=True)
class _Slab:
    """Consecutive rows of an array, bytes `start` to `stop`."""

    tensor: TensorSpec
    array: str
    spec: ArraySpec
    start: int
    stop: int


def tally_all(
    checkpoint: Checkpoint,
    tensors: list[TensorSpec],
    listen: Listener = ignore_event,
    cuts: CountingSizes | None = None,
    failed: dict[str, GrokpackError] | None = None,
    limits: ReadOptions | None = None,
) -> dict[str, ArrayTally]:
    """Count every value of these tensors; the result is by array, scales are `<name>/scales`.

    If `limits` stops the count, arrays that it has not reached are left out.

    Args:
        checkpoint: The checkpoint to read.
        tensors: The tensors to count.
        listen: Receives progress.
        cuts: Sizes in which the work is cut.
        failed: Receives the first error of each array that cannot be decoded, and that is then
            left out; without it the error is raised.
        limits: Workers that count, threads of this process by default, and when to stop.

    Raises:
        GrokpackError: What reading raises.
    """
    cuts = cuts or usual_cuts(checkpoint)
    total = sum(tensor.nbytes for tensor in tensors)
    limits = limits or ReadOptions()
    if limits.executor is not None:
        checkpoint = checkpoint.anywhere()
    pool = limits.pool(cuts.workers)
    implementation = choose_implementation(total)
    job = Job(_counting, (checkpoint, implementation, cuts), worker_checks.check_checkpoint)
    slabs = [slab for tensor in tensors for slab in _slabs(tensor, cuts.slab_bytes)]
    tallies: dict[str, ArrayTally] = {}
    with phase(Started("values", total), listen), telling_of_compilation(implementation, listen):
        watch = watching(listen, limits.stopping)
        parts = _in_order(map_unordered(job, enumerate(slabs), pool, watch))
        for slab, part in zip(slabs, parts, strict=False):  # fewer where it is to stop
            if isinstance(part, GrokpackError):
                if failed is None:
                    raise part
                failed.setdefault(slab.array, part)
            elif slab.array in tallies:
                tallies[slab.array].merge(part)
            else:
                tallies[slab.array] = part
    return {array: tally for array, tally in tallies.items() if array not in (failed or {})}


def _in_order(numbered: Iterator[tuple[int, T]]) -> Iterator[T]:
    """Yield results in the order of their numbers, each as soon as those before it are there."""
    early: dict[int, T] = {}
    wanted = 0
    for number, result in numbered:
        early[number] = result
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def _counting(
    watch: Watch, checkpoint: Checkpoint, implementation: Implementation, cuts: CountingSizes
) -> _Counter:
    """Make the function that counts slabs, in any process."""
    return _Counter(
        watch, ArrayReader(checkpoint, implementation, cuts.ahead_bytes), implementation, cuts
    )


def _slabs(tensor: TensorSpec, limit_bytes: int) -> Iterator[_Slab]:
    for array, spec in tensor.arrays().items():
        row_bytes = spec.shape[-1] * spec.dtype.itemsize if spec.shape else spec.nbytes
        step = max(1, limit_bytes // row_bytes) * row_bytes
        for start in range(0, spec.nbytes, step):
            yield _Slab(tensor, array, spec, start, min(start + step, spec.nbytes))


@dataclass(frozen=True, slots=True)
class _Counter:
    """Counter of slabs; one serves all threads of a process."""

    watch: Watch
    reader: ArrayReader
    implementation: Implementation
    cuts: CountingSizes

    def __call__(self, numbered: tuple[int, _Slab]) -> tuple[int, ArrayTally | GrokpackError]:
        """Count a slab, or return the error that says that it cannot be decoded."""
        number, slab = numbered
        try:
            return number, self.count(slab)
        except _UNDECODED as error:
            return number, error

    def count(self, slab: _Slab) -> ArrayTally:
        """Count the values of a slab."""
        scales = slab.tensor.scales
        if slab.array == slab.tensor.name and scales and slab.spec.dtype is DType.I8:
            return ArrayTally(self._codes(slab, scales), ValueLocations())
        return self._floats(slab)

    def _floats(self, slab: _Slab) -> ArrayTally:
        """Count plain values as they are stored, scales among them."""
        tally, locations = FloatTally(self.implementation), ValueLocations()
        kinds = SCALE_KINDS if slab.array.endswith(SCALES_SUFFIX) else VALUE_KINDS
        for box in self._bands(slab, self.cuts.step_bytes):
            raw = contiguous(self.reader.read(slab.array, box))
            values = to_f32(raw, slab.spec.dtype)
            tally.add(values)
            locations.search(values, box.start, {kind: getattr(tally, kind) for kind in kinds})
            self.watch.advanced(raw.nbytes)
        return ArrayTally(tally, locations)

    def _codes(self, slab: _Slab, spec: ArraySpec) -> CodeTally:
        """Count codes band by band, each band cut where its scale group ends."""
        tally = CodeTally(self.implementation)
        rows_per_group = slab.spec.shape[-2] // spec.shape[-2]
        single = rows_per_group == 1
        scales = _ScaleRows(self.reader, scales_name(slab.tensor.name), spec)
        step = self.cuts.step_bytes // (_CELL_BYTES if single else 1)
        for box in self._bands(slab, step):
            raw = contiguous(self.reader.read(slab.array, box))
            codes = raw.view(np.int8).reshape(box.shape[-2:])
            if single:  # each code has its own scale: one row of them all
                tally.add(codes.reshape(1, -1), scales.read(box).reshape(-1))
            else:
                for first, last, group in _groups(box, rows_per_group):
                    tally.add(codes[first:last], scales.row((*box.start[:-2], group)))
            self.watch.advanced(codes.nbytes)
        tally.close()
        return tally

    @staticmethod
    def _bands(slab: _Slab, limit_bytes: int) -> Iterator[Box]:
        spec = slab.spec
        for band in row_bands(
            spec.shape, spec.dtype.itemsize, slab.start, slab.stop, max(1, limit_bytes)
        ):
            yield band.box


def _groups(box: Box, rows_per_group: int) -> Iterator[tuple[int, int, int]]:
    """Yield the scale groups in a band: first row and last row + 1 in the band, group number."""
    start, stop = box.start[-2], box.start[-2] + box.shape[-2]
    for group in range(start // rows_per_group, -(-stop // rows_per_group)):
        first, last = group * rows_per_group, (group + 1) * rows_per_group
        yield max(first, start) - start, min(last, stop) - start, group


class _ScaleRows:
    """Scales of a tensor as float32, with the last row kept for the band that follows."""

    def __init__(self, reader: ArrayReader, array: str, spec: ArraySpec) -> None:
        self._reader, self._array, self._spec = reader, array, spec
        self._index: tuple[int, ...] = ()
        self._row: np.ndarray = np.empty(0, np.float32)

    def row(self, index: tuple[int, ...]) -> np.ndarray:
        """Return `f32[out]` of one group, the same object while the group stays the same."""
        if index != self._index:
            box = Box((*index, 0), (*(1,) * len(index), self._spec.shape[-1]))
            self._index, self._row = index, self.read(box).reshape(-1)
        return self._row

    def read(self, box: Box) -> np.ndarray:
        """Read `f32[...]` in a box."""
        return to_f32(self._reader.read(self._array, box), self._spec.dtype)
