"""How one output array is made from the source's: each op makes any box of it on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from grokpack.core.layout import Box
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.quantized_rows import QuantizedRows
    from grokpack.transforms.step_sizes import StepSizes


class Op(Protocol):
    """Makes boxes of one output array."""

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """The box's values as raw unsigned integers of the output's element size."""

    def describe(self) -> list[object]:
        """The op as JSON, for the plan's digest."""


@runtime_checkable
class QuantizingOp(Protocol):
    """An op that chooses the scales of its blocks, and whether it searches for them."""

    @property
    def searched(self) -> bool:
        """Whether several are tried."""


@runtime_checkable
class StreamedOp(Protocol):
    """An op that reads the source in blocks larger than the pieces that it makes of them.

    The output of a transposing op lies across the rows of its source. Making it a few rows at a
    time would read a few bytes of every source row; so it is given a large box at once and reads
    a wide band of columns for many pieces.
    """

    def stream(
        self, box: Box, reader: ArraySource, pace: StepSizes
    ) -> Iterator[np.ndarray | QuantizedRows]:
        """Consecutive whole rows that together make up a box within one matrix, in order."""

    def describe(self) -> list[object]:
        """The op as JSON, for the plan's digest."""


@runtime_checkable
class GroupedOp(Protocol):
    """An op that makes what sibling files hold in one go, because it lies side by side."""

    def make_band(self, boxes: Sequence[Box], reader: ArraySource) -> list[np.ndarray]:
        """The values of each file's box, as raw unsigned integers."""

    def describe(self) -> list[object]:
        """The op as JSON, for the plan's digest."""


class LazyArray(Protocol):
    """Makes boxes of a tensor's array from arrays that the files hold."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Arrays that it is made of."""

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """The box's values as raw unsigned integers; they need not be contiguous."""

    def describe(self) -> list[object]:
        """The view as JSON."""
