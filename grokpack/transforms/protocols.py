"""Protocols of transforms, each of which makes any box of one output array on demand."""

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
    """Transform that makes boxes of one output array."""

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the box's values as unsigned integers of the output's element size."""

    def describe(self) -> list[object]:
        """Return the transform as JSON, for the plan's digest."""


@runtime_checkable
class QuantizingOp(Protocol):
    """Transform that chooses the scales of its blocks."""

    @property
    def searched(self) -> bool:
        """True if several scales are tried."""


@runtime_checkable
class StreamedOp(Protocol):
    """Transform that reads the source in larger blocks than the pieces it makes.

    The output of a transposing transform lies across the rows of its source. Making it a few rows
    at a time would read a few bytes of every source row. It is therefore given a large box at once,
    and reads a wide band of columns for many pieces.
    """

    def stream(
        self, box: Box, reader: ArraySource, step_sizes: StepSizes
    ) -> Iterator[np.ndarray | QuantizedRows]:
        """Yield consecutive whole rows that make up a box within one matrix, in order."""

    def describe(self) -> list[object]:
        """Return the transform as JSON, for the plan's digest."""


@runtime_checkable
class GroupedOp(Protocol):
    """Transform that makes the parts of sibling files together, because they lie side by side."""

    def make_group(self, boxes: Sequence[Box], reader: ArraySource) -> list[np.ndarray]:
        """Return the values of each file's box, as unsigned integers."""

    def describe(self) -> list[object]:
        """Return the transform as JSON, for the plan's digest."""


class LazyArray(Protocol):
    """Lazy array: it makes boxes of a tensor's array from arrays in the files."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the arrays that it is made from."""

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the box's values as unsigned integers; they need not be contiguous."""
