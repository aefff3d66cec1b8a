"""Layout of files: where each of their bytes comes from, literal bytes and slices of arrays.

The same classes serve both directions. Reading a checkpoint's headers gives the `Layout` of
existing files; laying out a target gives the `Layout` of files to write. In both, the segments of a
file cover each of its bytes exactly once.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.core.tensors import ArraySpec, DType, Shape


@dataclass(frozen=True, slots=True)
class Box:
    """Rectangular region of an array: its start and its size on each axis."""

    start: Shape
    shape: Shape

    @property
    def stop(self) -> Shape:
        """One past the last index on each axis."""
        return tuple(a + n for a, n in zip(self.start, self.shape, strict=True))

    @property
    def elements(self) -> int:
        """Number of elements in the region."""
        return math.prod(self.shape)

    def intersect(self, other: Box) -> Box | None:
        """Return the region that both cover, or None where they do not meet."""
        low = tuple(map(max, self.start, other.start))
        high = tuple(map(min, self.stop, other.stop))
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return None
        return Box(low, tuple(b - a for a, b in zip(low, high, strict=True)))

    def moved(self, by: Shape) -> Box:
        """Return this region moved by `by`."""
        return Box(tuple(a + d for a, d in zip(self.start, by, strict=True)), self.shape)

    def slices_in(self, outer: Box) -> tuple[slice, ...]:
        """Return the index of this region in an array that holds `outer`."""
        return tuple(
            slice(a - b, a - b + n)
            for a, b, n in zip(self.start, outer.start, self.shape, strict=True)
        )


def whole_box(shape: Shape) -> Box:
    """Return the box that covers an array of this shape."""
    return Box((0,) * len(shape), shape)


def slice_box(shape: Shape, axis: int, index: int, count: int) -> Box:
    """Return slice `index` of `count` equal ones along `axis`; `count` must divide the axis."""
    axis %= len(shape)
    size, rest = divmod(shape[axis], count)
    if rest:
        message = f"{count} does not divide axis {axis} of {shape}"
        raise ValueError(message)
    start = tuple(index * size if a == axis else 0 for a in range(len(shape)))
    return Box(start, tuple(size if a == axis else n for a, n in enumerate(shape)))


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that do not depend on the weights: headers, pickle framing."""

    data: bytes

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class ArraySlice:
    """A region of an array, stored row-major, little-endian and dense."""

    array: str
    box: Box
    dtype: DType

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return self.box.elements * self.dtype.itemsize


Segment = Literal | ArraySlice


@dataclass(frozen=True, slots=True)
class FileLayout:
    """One file: its path below the root and its segments, in order."""

    path: str
    segments: tuple[Segment, ...]
    ends: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        ends = tuple(accumulate(segment.nbytes for segment in self.segments))
        object.__setattr__(self, "ends", ends)

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        return self.ends[-1] if self.ends else 0

    def covering(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (index, first, last + 1) for each segment that meets bytes `start` to `stop`.

        `first` and `last` count from the beginning of the segment.
        """
        index = bisect_right(self.ends, start)
        while index < len(self.ends) and start < stop:
            begins = self.ends[index] - self.segments[index].nbytes
            end = min(stop, self.ends[index])
            if end > start:
                yield index, start - begins, end - begins
            start = end
            index += 1


@dataclass(frozen=True, slots=True)
class Extent:
    """A dense run of bytes in a file."""

    path: str
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A region of an array and the bytes that hold it."""

    box: Box
    extent: Extent


@dataclass(frozen=True, slots=True)
class Layout:
    """All arrays of a checkpoint, and the files that hold them.

    Attributes:
        arrays: Shape and dtype of each whole array, by name.
        file_groups: Files by group: those of a group have the same segments and differ only in
            which slice of each array they hold (the ranks of a tensor-parallel cut), so that one
            read of the source serves all of them.
    """

    arrays: Mapping[str, ArraySpec]
    file_groups: tuple[tuple[FileLayout, ...], ...]

    def files(self) -> Iterator[FileLayout]:
        """Yield every file, group by group."""
        for group in self.file_groups:
            yield from group

    @property
    def nbytes(self) -> int:
        """Size of all files together, in bytes."""
        return sum(file.nbytes for file in self.files())

    def pieces(self) -> dict[str, tuple[Piece, ...]]:
        """Return the stored regions of each array, in file order; replicas appear again."""
        found: dict[str, list[Piece]] = {name: [] for name in self.arrays}
        for file in self.files():
            for segment, end in zip(file.segments, file.ends, strict=True):
                if isinstance(segment, ArraySlice):
                    extent = Extent(file.path, end - segment.nbytes, segment.nbytes)
                    found[segment.array].append(Piece(segment.box, extent))
        return {name: tuple(pieces) for name, pieces in found.items()}
