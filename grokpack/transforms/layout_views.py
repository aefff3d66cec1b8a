"""Lazy arrays that restore xAI's layout: renamed, transposed or stacked arrays."""

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
    """Lazy array whose files hold it in an encoded form, in chunks of their own."""

    def holder(self, index: Shape) -> str | None:
        """Return the file that holds an element; None if not known."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """Array under another name."""

    array: str

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box."""
        return reader.read(self.array, box)


@dataclass(frozen=True, slots=True)
class Transposed:
    """Array `[..., in, out]` from one stored `[..., out, in]`."""

    array: str

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box transposed; the result is not contiguous."""
        return reader.read_ahead(self.array, _turned(box)).swapaxes(-1, -2)


@dataclass(frozen=True, slots=True)
class Stacked:
    """Array `[expert, in, out]` from one array `[out, in]` for each expert."""

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


def _turned(box: Box) -> Box:
    def swap(row: tuple[int, ...]) -> tuple[int, ...]:
        return (*row[:-2], row[-1], row[-2])

    return Box(swap(box.start), swap(box.shape))
