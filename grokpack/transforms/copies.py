"""Transforms that change no value: copies, transposes, stacks, slices, regroupings, constants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.core.tensors import Shape
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.protocols import LazyArray

_BAND_BYTES = 4 << 20  # held at a time by the check of equal rows; larger reads gain nothing


@dataclass(frozen=True, slots=True)
class Copy(Transform):
    """Copy of one of the source's arrays."""

    operation: ClassVar[str] = "copy"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box."""
        return reader.read(self.array, box)

    def fill(self, box: Box, values: np.ndarray, reader: ArraySource) -> None:
        """Read the box into an array, which saves a copy."""
        reader.read(self.array, box, values)

    def trace(self, index: Shape) -> tuple[str, Shape] | None:
        """Return the array and the same index."""
        return self.array, index


@dataclass(frozen=True, slots=True)
class Transposed(Transform):
    """Array `[..., in, out]` from one stored `[..., out, in]`."""

    operation: ClassVar[str] = "transposed"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box transposed; the result is not contiguous."""
        return reader.read_ahead(self.array, _turned(box)).swapaxes(-1, -2)

    def trace(self, index: Shape) -> tuple[str, Shape] | None:
        """Return the array, and the index with the last two axes exchanged."""
        return self.array, (*index[:-2], index[-1], index[-2])


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

    @property
    def decodes(self) -> bool:
        """True if the matrices are decoded."""
        return self.arrays[0].decodes

    def locate(self, index: Shape) -> str | None:
        """Return the file that holds an element; None if not known."""
        return self.arrays[index[0]].locate(index[1:])

    def trace(self, index: Shape) -> tuple[str, Shape] | None:
        """Return the array of an expert's element, and its index there."""
        return self.arrays[index[0]].trace(index[1:])


@dataclass(frozen=True, slots=True)
class TurnedMatrix(Transform):
    """Matrix `[column, row]` of a lazy array `[..., row, column]`.

    Attributes:
        made: The lazy array.
        expert: The expert of a stack whose matrix it is; None without a stack.
    """

    operation: ClassVar[str] = "turned matrix"
    made: LazyArray
    expert: int | None = None

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Make the box transposed; the result may not be contiguous."""
        turned = _turned(box)
        if self.expert is not None:
            turned = Box((self.expert, *turned.start), (1, *turned.shape))
        made = self.made.make(turned, reader)
        return made.reshape(made.shape[-2:]).T

    @property
    def decodes(self) -> bool:
        """True if the lazy array is decoded."""
        return self.made.decodes

    def locate(self, index: Shape) -> str | None:
        """Return the file that holds an element; None if not known."""
        lead = () if self.expert is None else (self.expert,)
        return self.made.locate((*lead, *reversed(index)))


@dataclass(frozen=True, slots=True)
class SideBySide(Transform):
    """Matrix of slices `[slice, row, column]` that lie side by side.

    Attributes:
        slices: The slices.
        width: Columns of each.
    """

    operation: ClassVar[str] = "side by side"
    slices: LazyArray
    width: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Make a box that lies within one slice."""
        number, column = divmod(box.start[1], self.width)
        made = self.slices.make(Box((number, box.start[0], column), (1, *box.shape)), reader)
        return made.reshape(box.shape)


@dataclass(frozen=True, slots=True)
class CopyFile(Transform):
    """Copy of a whole file of the source, headers included, `u8[byte, 1]`."""

    operation: ClassVar[str] = "file"
    path: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the bytes."""
        return reader.read_file(self.path, box.start[0], box.shape[0]).reshape(box.shape)


@dataclass(frozen=True, slots=True)
class Regroup(Transform):
    """Scales with another number of rows: equal rows collapse, rows repeat; values stay exact.

    Attributes:
        array: The source's scales, `bf16[..., rows_in, out]`.
        rows_in: Its rows per matrix.
        rows_out: Rows of the result, `bf16[..., rows_out, out]`.
    """

    operation: ClassVar[str] = "regroup"
    array: str
    rows_in: int
    rows_out: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Collapse to the groups that both have, then repeat.

        Raises:
            GrokpackError: GP215 if rows that should collapse differ.
        """
        groups = math.gcd(self.rows_in, self.rows_out)
        repeat = self.rows_out // groups
        first, rows = box.start[-2], box.shape[-2]
        low, high = first // repeat, -(-(first + rows) // repeat)
        kept = np.stack([self._group(box, g, groups, reader) for g in range(low, high)], axis=-2)
        index = (np.arange(first, first + rows) // repeat) - low
        return np.ascontiguousarray(kept[..., index, :])

    def _group(self, box: Box, group: int, groups: int, reader: ArraySource) -> np.ndarray:
        """Return the only scale row of a group, after checking that all its rows are equal."""
        per_group = self.rows_in // groups
        begin, end = group * per_group, (group + 1) * per_group
        step = max(1, _BAND_BYTES // max(1, 2 * box.elements // box.shape[-2]))
        row = None
        for at in range(begin, end, step):
            rows = min(step, end - at)
            start = (*box.start[:-2], at, box.start[-1])
            values = reader.read(self.array, Box(start, (*box.shape[:-2], rows, box.shape[-1])))
            row = values[..., 0, :].copy() if row is None else row
            if not (values == row[..., None, :]).all():
                raise self._unequal(begin, end)
        assert row is not None  # noqa: S101  # a group has at least one row
        return row

    def _unequal(self, begin: int, end: int) -> GrokpackError:
        what = f"scale rows {begin} to {end - 1} of {self.array} differ and have no single scale"
        hint = "keep one row per weight row with `--scales expanded`"
        return GrokpackError("GP215", what, hint=hint)


@dataclass(frozen=True, slots=True)
class Constant(Transform):
    """Array with the same element everywhere, given by its bits."""

    bits: int
    itemsize: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:  # noqa: ARG002  # needs no source
        """Return a box full of it."""
        return np.full(box.shape, self.bits, np.dtype(f"<u{self.itemsize}"))

    def describe(self) -> list[object]:
        """Return `["constant", bits]`."""
        return ["constant", self.bits]


BF16_ONE = 0x3F80
"""Bits of 1.0 in bfloat16."""


@dataclass(frozen=True, slots=True)
class IntegerArray(Transform):
    """Short array of known integers, `i64[n]`."""

    numbers: tuple[int, ...]

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:  # noqa: ARG002  # needs no source
        """Return the integers of the box."""
        return np.array(self.numbers, "<u8")[box.start[0] : box.stop[0]]

    def describe(self) -> list[object]:
        """Return `["listed", numbers...]`."""
        return ["listed", *self.numbers]


@dataclass(frozen=True, slots=True)
class GroupIndex(Transform):
    """Group of each input, `i32[in]`, with groups in order."""

    operation: ClassVar[str] = "group index"
    group: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:  # noqa: ARG002  # needs no source
        """Return the group numbers of the box."""
        return (np.arange(box.start[0], box.stop[0]) // self.group).astype("<u4")


def _turned(box: Box) -> Box:
    def swap(row: tuple[int, ...]) -> tuple[int, ...]:
        return (*row[:-2], row[-1], row[-2])

    return Box(swap(box.start), swap(box.shape))
