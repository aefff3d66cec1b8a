"""Protocols of transforms: arrays made box by box, in streams of rows, or with siblings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from typing_extensions import TypeIs

    from grokpack.core.layout import Box
    from grokpack.core.tensors import Shape
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.quantized_rows import QuantizedRows


class LazyArray(Protocol):
    """Array made on demand, box by box, from arrays that files hold.

    Readers return one for an array that files hold in another form, writers for each array of an
    output.
    """

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays that it may read."""

    @property
    def decodes(self) -> bool:
        """True if the files hold the array encoded, in chunks of its own."""

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the box's values as unsigned integers of its element size, perhaps strided."""

    def locate(self, index: Shape) -> str | None:
        """Return the file that holds an element; None if not known."""

    def trace(self, index: Shape) -> tuple[str, Shape] | None:
        """Return the array of the files that an element comes from, and its index there.

        None if it is computed from several, or from an array that is held encoded.
        """

    def describe(self) -> list[object]:
        """Return the array as JSON, for the plan's digest."""


class StreamedArray(Protocol):
    """Array of an output that is made in order, from column bands of the source.

    A transpose lies across the rows of its source. Making it a few rows at a time would read a few
    bytes of every source row. It is therefore given a large box at once, and reads a wide band of
    columns for many pieces.
    """

    @property
    def quantizes(self) -> bool:
        """True if it chooses scales, which costs arithmetic and not only moving bytes."""

    @property
    def caches_scales(self) -> bool:
        """True if scales found for one array are kept for others, in the reader's cache."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays that it may read."""

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray | QuantizedRows]:
        """Yield consecutive whole rows that make up a box within one matrix, in order."""

    def describe(self) -> list[object]:
        """Return the array as JSON, for the plan's digest."""


Op = LazyArray | StreamedArray
"""Maker of one array of a target."""


class GroupedArray(Protocol):
    """Array of an output whose slices in sibling files lie side by side and are made together."""

    def make_group(self, boxes: Sequence[Box], reader: ArraySource) -> list[np.ndarray]:
        """Return the values of each file's box, as unsigned integers."""


def is_streamed(op: object) -> TypeIs[StreamedArray]:
    """Check for a streamed array by the one method that marks it.

    `isinstance` would look for all members of the protocol, which takes 20 us before Python 3.12.
    """
    return hasattr(op, "stream")


def is_grouped(op: object) -> TypeIs[GroupedArray]:
    """Check for a grouped array by the one method that marks it."""
    return hasattr(op, "make_group")
