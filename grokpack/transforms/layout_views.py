"""Views: a tensor as xAI stores it, made of what other formats hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from grokpack.core.layout import Box
from grokpack.transforms.protocols import LazyArray

if TYPE_CHECKING:
    from grokpack.core.tensors import Shape
    from grokpack.transforms.array_source import ArraySource


@runtime_checkable
class DecodedArray(LazyArray, Protocol):
    """A view of an array whose files hold it in an encoded form, in chunks of their own."""

    def holder(self, index: Shape) -> str | None:
        """The file that holds an element; None where it cannot be told."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """An array under another name."""

    array: str

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box."""
        return reader.read(self.array, box)

    def describe(self) -> list[object]:
        """`["renamed", array]`."""
        return ["renamed", self.array]


@dataclass(frozen=True, slots=True)
class Transposed:
    """`[..., in, out]` from an array stored `[..., out, in]`."""

    array: str

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box the other way round; the result is not contiguous."""
        return reader.read_ahead(self.array, _turned(box)).swapaxes(-1, -2)

    def describe(self) -> list[object]:
        """`["turned", array]`."""
        return ["turned", self.array]


@dataclass(frozen=True, slots=True)
class Stacked:
    """`[expert, in, out]` from one array `[out, in]` for each expert."""

    arrays: tuple[str, ...]

    @property
    def stored(self) -> tuple[str, ...]:
        """One array for each expert."""
        return self.arrays

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read each expert's part of the box."""
        one = _turned(Box(box.start[1:], box.shape[1:]))
        experts = range(box.start[0], box.stop[0])
        if len(experts) == 1:
            return reader.read_ahead(self.arrays[experts[0]], one).T[None]
        return np.stack([reader.read(self.arrays[e], one).T for e in experts])

    def describe(self) -> list[object]:
        """`["stacked", arrays...]`."""
        return ["stacked", *self.arrays]


def _turned(box: Box) -> Box:
    def swap(row: tuple[int, ...]) -> tuple[int, ...]:
        return (*row[:-2], row[-1], row[-2])

    return Box(swap(box.start), swap(box.shape))
