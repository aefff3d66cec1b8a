"""How one output array is made from the source's: each op makes any box of it on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from grokpack.ops.blocks import PackQ8
from grokpack.ops.frames import BandedOp, Frames
from grokpack.ops.measured import Measured
from grokpack.ops.moving import BF16_ONE, Constant, Copy, CopyFile, GroupIndex, Listed, Regroup
from grokpack.ops.views import (
    BlockCodes,
    BlockProducts,
    BlockScales,
    Renamed,
    Stacked,
    Turned,
    View,
)
from grokpack.ops.weights import Dequantize, Recast, Transpose

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from grokpack.budget import Pace
    from grokpack.layout import Box
    from grokpack.ops.array_source import ArraySource
    from grokpack.ops.fitting import Fitter

__all__ = [
    "BF16_ONE",
    "BandedOp",
    "BlockCodes",
    "BlockProducts",
    "BlockScales",
    "Constant",
    "Copy",
    "CopyFile",
    "Dequantize",
    "Fitted",
    "Frames",
    "GroupIndex",
    "Listed",
    "Measured",
    "Op",
    "PackQ8",
    "Quantising",
    "Recast",
    "Regroup",
    "Renamed",
    "Stacked",
    "StreamedOp",
    "Transpose",
    "Turned",
    "View",
]


class Op(Protocol):
    """Makes boxes of one output array."""

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """The box's values as raw unsigned integers of the output's element size."""

    def describe(self) -> list[object]:
        """The op as JSON, for the plan's digest."""


@runtime_checkable
class Fitted(Protocol):
    """An op whose fit serves other arrays as well; the reader's memo keeps what they need."""

    fitter: Fitter


@runtime_checkable
class Quantising(Protocol):
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

    def stream(self, box: Box, reader: ArraySource, pace: Pace) -> Iterator[np.ndarray | Measured]:
        """Consecutive whole rows that together make up a box within one matrix, in order."""

    def describe(self) -> list[object]:
        """The op as JSON, for the plan's digest."""
