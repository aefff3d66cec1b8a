"""Lazy arrays of weights whose codes are floats: scales of blocks, and products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.layout import Box
from grokpack.kernels.float_casts import to_f32
from grokpack.kernels.group_index import group_index
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.core.tensors import DType, Shape
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.protocols import LazyArray


@dataclass(frozen=True, slots=True)
class FloatScales(Transform):
    """Scales of blocks, `[in, out]` from `[out, in]`, or of outputs, from fewer axes.

    They are read without look-ahead, which serves one array at a time: the codes.

    Attributes:
        array: The scales.
        axes: Its axes.
    """

    operation: ClassVar[str] = "block scales"
    array: str
    axes: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box; that of a matrix is transposed, and not contiguous."""
        if self.axes == len(box.start):
            return reader.read(self.array, Box(box.start[::-1], box.shape[::-1])).T
        first = len(box.start) - self.axes
        part = Box(box.start[first:], box.shape[first:])
        return reader.read(self.array, part).reshape(box.shape)


@dataclass(frozen=True, slots=True)
class UniformScales(Transform):
    """Scale of a whole matrix as that of each output, `[1, out]`.

    Attributes:
        array: The scale.
        axes: Its axes, each of length 1.
    """

    operation: ClassVar[str] = "uniform scales"
    array: str
    axes: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Repeat the scale."""
        one = reader.read(self.array, Box((0,) * self.axes, (1,) * self.axes))
        return np.full(box.shape, np.ascontiguousarray(one).reshape(-1)[0])


@dataclass(frozen=True, slots=True)
class FloatProducts(Transform):
    """Values of codes times the scales of their blocks, `f32[..., in, out]`, rounded once.

    Attributes:
        codes: Makes `[..., in, out]`.
        scales: Makes the scales of the blocks, `[..., in, out]`.
        dtypes: Dtypes of codes and scales.
        block: Inputs and outputs of a block.
    """

    operation: ClassVar[str] = "float products"
    codes: LazyArray
    scales: LazyArray
    dtypes: tuple[DType, DType]
    block: tuple[int, int]

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the products of a box; they lie as the codes do."""
        own, scales = self.dtypes
        values = to_f32(self.codes.make(box, reader), own)
        made = self.scales.make(self._blocks(box), reader)
        steps = to_f32(np.ascontiguousarray(made), scales)
        inputs, outputs = self.block
        by_output = steps[..., group_index(box.start[-1], box.shape[-1], outputs)]
        first, last = box.start[-2], box.stop[-2]
        with np.errstate(invalid="ignore", over="ignore"):  # later checks find these
            for number in range(by_output.shape[-2]):
                begin = (first // inputs + number) * inputs
                rows = slice(max(0, begin - first), min(begin + inputs, last) - first)
                values[..., rows, :] *= by_output[..., number : number + 1, :]
        return values.view(np.uint32)

    def trace(self, index: Shape) -> tuple[str, Shape] | None:
        """Return the array of an element's code, and its index there."""
        return self.codes.trace(index)

    def _blocks(self, box: Box) -> Box:
        """Return the box of the blocks that a box meets."""
        edges = zip(box.start[-2:], box.stop[-2:], self.block, strict=True)
        met = [(start // each, -(-stop // each)) for start, stop, each in edges]
        start = (*box.start[:-2], *(low for low, _ in met))
        return Box(start, (*box.shape[:-2], *(high - low for low, high in met)))
