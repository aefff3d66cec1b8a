"""Lazy arrays that restore xAI's layout: transposed or stacked arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.layout import Box
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.protocols import LazyArray


@dataclass(frozen=True, slots=True)
class Transposed(Transform):
    """Array `[..., in, out]` from one stored `[..., out, in]`."""

    operation: ClassVar[str] = "transposed"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box transposed; the result is not contiguous."""
        return reader.read_ahead(self.array, _turned(box)).swapaxes(-1, -2)


@dataclass(frozen=True, slots=True)
class Stack(Transform):
    """Array `[expert, ...]` from a lazy array of each expert's matrix."""

    operation: ClassVar[str] = "stack"
    arrays: tuple[LazyArray, ...]

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Make each expert's part of the box."""
        one = Box(box.start[1:], box.shape[1:])
        made = [self.arrays[e].make(one, reader) for e in range(box.start[0], box.stop[0])]
        return made[0][None] if len(made) == 1 else np.stack(made)


def _turned(box: Box) -> Box:
    def swap(row: tuple[int, ...]) -> tuple[int, ...]:
        return (*row[:-2], row[-1], row[-2])

    return Box(swap(box.start), swap(box.shape))
