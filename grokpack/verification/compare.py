"""Comparison of two checkpoints of any formats, weight by weight, for `grokpack diff`."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import opened
from grokpack.core.errors import Interrupted
from grokpack.core.events import Listener, Started, ignore_event
from grokpack.core.layout import Box
from grokpack.core.progress import phase, watching
from grokpack.core.tensors import DType
from grokpack.execution import worker_checks
from grokpack.execution.workers import Job, map_unordered
from grokpack.kernels.float_casts import narrow_bf16, narrow_f16, widen_bf16, widen_f16
from grokpack.storage.reading_threads import threads
from grokpack.transforms.dequantize import read_as_f32
from grokpack.verification.read_options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.comparison_json import WeightState
    from grokpack.core.paths import StrPath
    from grokpack.core.progress import Watch
    from grokpack.core.tensors import Shape, TensorSpec

EQUAL: WeightState = "equal"
ROUNDED: WeightState = "rounded"
DIFFERENT: WeightState = "different"
_BLOCK = 1024  # rows and columns that are compared at a time: 4 MiB of float32 on either side
_BLOCKS_IN_TASK = 16  # the least that is worth sending to a remote process
_AHEAD_BYTES = 16 << 20  # read at once of a matrix that is stored transposed
_SHORT = (DType.BF16, DType.F16)


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of one tensor between two checkpoints.

    Attributes:
        name: xAI's name.
        state: `equal` in every value; `rounded` if one side is the other rounded to its dtype; or
            `different`.
        elements: Number of values compared.
        differing: Number of values that are not equal.
        largest: The largest absolute difference.
        relative: Root of the sum of squared differences over that of squared values of the first.
        first: Index of the first value that differs; None where none does.
    """

    name: str
    state: WeightState
    elements: int
    differing: int
    largest: float
    relative: float
    first: Shape | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of comparing two checkpoints.

    Attributes:
        tensors: One row for each tensor that both have in the same shape.
        only_first: Tensors that only the first has, or in another shape.
        only_second: Tensors that only the second has, or in another shape.
    """

    tensors: tuple[Difference, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def __repr__(self) -> str:
        states = Counter(row.state for row in self.tensors)
        found = [f"{states[state]:,} {state}" for state in (DIFFERENT, ROUNDED, EQUAL)]
        ours, theirs = len(self.only_first), len(self.only_second)
        own = f"{ours:,} only in the first, {theirs:,} only in the second"
        return f"<Comparison: {self.state}; of the tensors {', '.join(found)}, {own}>"

    @property
    def state(self) -> WeightState:
        """Worst state of all tensors."""
        if self.only_first or self.only_second:
            return DIFFERENT
        states = {row.state for row in self.tensors}
        return next((s for s in (DIFFERENT, ROUNDED) if s in states), EQUAL)

    def within(self, relative: float) -> bool:
        """Return whether both have the same tensors, and none differs by more than a limit."""
        alike = not (self.only_first or self.only_second)
        return alike and all(row.relative <= relative for row in self.tensors)


def compare(
    first: Checkpoint | StrPath,
    second: Checkpoint | StrPath,
    listen: Listener = ignore_event,
    limits: ReadOptions | None = None,
) -> Comparison:
    """Compare the weights of two checkpoints, exactly in float32.

    Args:
        first: One checkpoint, in any format, or its path.
        second: The other, or its path.
        listen: Receives progress.
        limits: Workers that read; its other fields are not used.

    Raises:
        GrokpackError: GP403 if it was stopped, and errors of reading.
    """
    first, second = opened(first), opened(second)
    ours, theirs = first.tensors, second.tensors
    shared = [n for n, t in ours.items() if n in theirs and _shape(t) == _shape(theirs[n])]
    pairs = [_Pair(ours[name], theirs[name]) for name in shared]
    limits = limits or ReadOptions()
    if limits.executor is not None:
        first, second = first.anywhere(), second.anywhere()
    begin = Started("diff", sum(math.prod(_shape(ours[name])) for name in shared))
    pool = limits.pool(threads(first.folder))
    job = Job(_comparing, (first, second), _check_checkpoints)
    found: dict[str, list[_Block]] = {name: [] for name in shared}
    with phase(begin, listen):
        for blocks in map_unordered(job, _tasks(pairs), pool, watching(listen, limits.stopping)):
            found[blocks[0].name] += blocks
        if limits.stopping():
            raise Interrupted("stopped", hint="the same command begins anew")
    return Comparison(
        tuple(_summed(name, blocks) for name, blocks in found.items()),
        tuple(name for name in ours if name not in found),
        tuple(name for name in theirs if name not in found),
    )


def _shape(tensor: TensorSpec) -> Shape:
    return tensor.values.shape


def _comparing(watch: Watch, first: Checkpoint, second: Checkpoint) -> _Comparer:
    """Make the function that compares blocks, in any process."""
    one, other = (ArrayReader(c, ahead_bytes=_AHEAD_BYTES) for c in (first, second))
    return _Comparer(watch, one, other)


def _check_checkpoints(first: Checkpoint, second: Checkpoint) -> None:
    """Check that a remote process has both checkpoints."""
    worker_checks.check_checkpoint(first)
    worker_checks.check_checkpoint(second)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Tensor as each of two checkpoints has it."""

    first: TensorSpec
    second: TensorSpec


_Task = tuple[_Pair, tuple[Box, ...]]


@dataclass(frozen=True, slots=True)
class _Block:
    """Result for one block of a tensor; `at` is where the block begins."""

    name: str
    elements: int
    differing: int
    rounded: bool = True
    squares: float = 0.0
    errors: float = 0.0
    largest: float = 0.0
    at: Shape | None = None


def _tasks(pairs: Sequence[_Pair]) -> Iterator[_Task]:
    for pair in pairs:
        boxes = _boxes(_shape(pair.first))
        while some := tuple(islice(boxes, _BLOCKS_IN_TASK)):
            yield pair, some


def _boxes(shape: Shape) -> Iterator[Box]:
    """Yield the blocks of each matrix of a stack; a vector is one block."""
    steps = tuple(min(_BLOCK, n) for n in shape[-2:]) if len(shape) > 1 else shape
    steps = (1,) * (len(shape) - len(steps)) + steps
    counts = tuple(-(-n // step) for n, step in zip(shape, steps, strict=True))
    for index in np.ndindex(*counts):
        start = tuple(i * step for i, step in zip(index, steps, strict=True))
        yield Box(start, tuple(min(s, n - a) for s, n, a in zip(steps, shape, start, strict=True)))


@dataclass(frozen=True, slots=True)
class _Comparer:
    """Comparer of blocks; one serves all threads of a process."""

    watch: Watch
    first: ArrayReader
    second: ArrayReader

    def __call__(self, task: _Task) -> list[_Block]:
        """Compare some blocks of a tensor."""
        pair, boxes = task
        return [self._block(pair, box) for box in boxes]

    def _block(self, pair: _Pair, box: Box) -> _Block:
        one, other = (
            read_as_f32(pair.first, box, self.first),
            read_as_f32(pair.second, box, self.second),
        )
        self.watch.advanced(box.elements)
        name = pair.first.name
        unlike = ~((one == other) | (np.isnan(one) & np.isnan(other)))
        differing = int(np.count_nonzero(unlike))
        squares = float(np.square(one, dtype=np.float64).sum())
        if not differing:
            return _Block(name, one.size, differing, squares=squares)
        with np.errstate(invalid="ignore"):
            gaps = np.abs(one.astype(np.float64) - other)
        gaps[np.isnan(gaps)] = math.inf  # a number on one side only
        at = tuple(int(i) for i in np.argwhere(unlike)[0])
        return _Block(
            name,
            one.size,
            differing,
            _is_rounded(pair, one, other),
            squares,
            float(np.square(gaps).sum()),
            float(gaps.max()),
            tuple(a + i for a, i in zip(box.start, at, strict=True)),
        )


def _is_rounded(pair: _Pair, one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether one side is the other rounded to the shorter dtype that it is stored in."""
    kinds = (_stored(pair.first), _stored(pair.second))
    for kind, short, long in zip(kinds, (one, other), (other, one), strict=True):
        if kind in _SHORT and np.array_equal(_in_dtype(long, kind), short, equal_nan=True):
            return True
    return False


def _stored(tensor: TensorSpec) -> DType | None:
    """Return the dtype of stored floats; None for codes with scales."""
    return None if tensor.scales is not None else tensor.values.dtype


def _in_dtype(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Round float32 to a dtype once, and return it as float32."""
    if dtype is DType.BF16:
        return widen_bf16(narrow_bf16(values))
    return widen_f16(narrow_f16(values)[0])


def _summed(name: str, blocks: Sequence[_Block]) -> Difference:
    """Sum up the blocks of a tensor; sums are exact, so the order does not matter."""
    differing = sum(block.differing for block in blocks)
    errors, squares = (math.fsum(getattr(b, k) for b in blocks) for k in ("errors", "squares"))
    rounded = all(block.rounded for block in blocks)
    relative = math.sqrt(errors / squares) if squares else math.inf if errors else 0.0
    return Difference(
        name,
        EQUAL if not differing else ROUNDED if rounded else DIFFERENT,
        sum(block.elements for block in blocks),
        differing,
        max(block.largest for block in blocks),
        relative,
        min((block.at for block in blocks if block.at is not None), default=None),
    )
