"""Transforms that re-pack the released int8 codes and scales without re-quantizing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.arrays import contiguous
from grokpack.core.layout import Box
from grokpack.core.tensors import DType, TensorSpec
from grokpack.kernels import packing
from grokpack.kernels.dispatch import twin
from grokpack.kernels.group_index import group_index
from grokpack.transforms.dequantize import as_matrix, column_blocks, read_scales, recast
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.source_weight import SourceWeight

_PER_WORD = 4
_FLIP = 128  # int8 to the unsigned code whose zero point is 128


@dataclass(frozen=True, slots=True)
class CodeColumns(Transform):
    """int8 codes as GPTQ packs them, `i32[in / 4, out]`.

    Attributes:
        tensor: The weight, `int8[..., in, out]`.
        expert: The expert of a stack; None without a stack.
    """

    operation: ClassVar[str] = "code columns"
    tensor: TensorSpec
    expert: int | None

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        outputs = self.tensor.values.shape[-1]
        count = max(1, buffer_sizes.step_bytes // (_PER_WORD * outputs))
        for first in range(box.start[-2], box.stop[-2], count):
            rows = min(count, box.stop[-2] - first)
            part = _of_expert(Box((first * _PER_WORD, 0), (rows * _PER_WORD, outputs)), self.expert)
            codes = contiguous(as_matrix(reader.read(self.tensor.name, part)))
            words = np.empty((rows, outputs), np.uint32)
            twin(packing.interleave, buffer_sizes.implementation)(codes, _FLIP, words)
            yield words


@dataclass(frozen=True, slots=True)
class CodeRows(Transform):
    """int8 codes in engines' layout, `i8[out, in]`.

    Attributes:
        tensor: The weight, `int8[..., in, out]`.
        expert: The expert of a stack; None without a stack.
    """

    operation: ClassVar[str] = "code rows"
    tensor: TensorSpec
    expert: int | None

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        for block, height in column_blocks(self.tensor, self.expert, box, buffer_sizes, DType.I8):
            codes = contiguous(as_matrix(reader.read(self.tensor.name, block)))
            for first in range(0, codes.shape[1], height):
                part = np.ascontiguousarray(codes[:, first : first + height])
                transposed = np.empty(part.shape[::-1], np.uint8)
                twin(packing.transpose_bytes, buffer_sizes.implementation)(part, transposed)
                yield transposed


@dataclass(frozen=True, slots=True)
class RepeatedScales(Transform):
    """Scales of the source, repeated for each smaller group, `[group, out]`.

    Attributes:
        weight: The source's weight; its scale groups are multiples of `group`.
        expert: The expert of a stack; None without a stack.
        group: Inputs in a smaller group.
        dtype: Dtype of the result.
    """

    operation: ClassVar[str] = "repeated scales"
    weight: SourceWeight
    expert: int | None
    group: int
    dtype: DType

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the rows that the box needs and repeat them."""
        start, rows = box.start[-2] * self.group, box.shape[-2] * self.group
        part = _of_expert(Box((start, box.start[-1]), (rows, box.shape[-1])), self.expert)
        scales = as_matrix(read_scales(self.weight.tensor, part, reader, self.weight.groups))
        index = group_index(start, rows, self.weight.per_scale, self.group)
        bits = np.ascontiguousarray(scales[index]).view(np.uint32)
        return recast(bits, DType.F32, self.dtype, self.weight.name)


@dataclass(frozen=True, slots=True)
class OutputScales(Transform):
    """Scales of each output, `f32[out, group]`, transposed from the source.

    Attributes:
        weight: The source's weight.
        expert: The expert of a stack; None without a stack.
    """

    operation: ClassVar[str] = "output scales"
    weight: SourceWeight
    expert: int | None

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the scales; column `g` of the box holds those of group `g` of the source."""
        per_group = self.weight.per_scale
        start = (box.start[-1] * per_group, box.start[-2])
        part = _of_expert(Box(start, (box.shape[-1] * per_group, box.shape[-2])), self.expert)
        scales = as_matrix(read_scales(self.weight.tensor, part, reader, self.weight.groups))
        return np.ascontiguousarray(scales.T).view(np.uint32)


def _of_expert(box: Box, expert: int | None) -> Box:
    """Return a box of one matrix as a box of its stack."""
    return box if expert is None else Box((expert, *box.start), (1, *box.shape))
