"""Transforms to floating point: dequantized, cast, and transposed for engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core import reused_memory
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.layout import Box
from grokpack.core.tensors import DType, TensorSpec, scales_name
from grokpack.kernels import transposed_weights
from grokpack.kernels.dispatch import twin
from grokpack.kernels.float_casts import narrow_bf16, narrow_f16, to_f32
from grokpack.kernels.group_index import group_index
from grokpack.transforms.copies import Regroup
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.kernels.dispatch import Implementation
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes

_LANES = 64  # columns that the kernels transpose at a time; blocks are cut at multiples of it


@dataclass(frozen=True, slots=True)
class Cast(Transform):
    """Array in another float dtype, rounded to nearest even.

    Attributes:
        array: The source's array.
        source: Its dtype.
        dtype: The dtype of the result.
    """

    array: str
    source: DType
    dtype: DType

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box and cast it.

        Raises:
            GrokpackError: GP405 if a value does not fit float16.
        """
        return recast(reader.read(self.array, box), self.source, self.dtype, self.array)

    def describe(self) -> list[object]:
        """Return `["recast", array, dtype]`."""
        return ["recast", self.array, self.dtype.value]


@dataclass(frozen=True, slots=True)
class Dequantize(Transform):
    """Weight in xAI's orientation times its scales, rounded at most once.

    Attributes:
        tensor: The weight with scales, `[..., in, out]`: int8, or floats whose scales are ones.
        dtype: The dtype of the result.
    """

    tensor: TensorSpec
    dtype: DType = DType.BF16

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Compute `float32(weight) * float32(scale)`, exactly; in bf16 as xAI's code computes.

        Raises:
            GrokpackError: GP405 if a value does not fit float16.
        """
        first, rows = box.start[-2], box.shape[-2]
        per_group = rows_per_group(self.tensor)
        bits, dtype = reader.read(self.tensor.name, box), self.tensor.values.dtype
        values = bits.view(np.int8).astype(np.float32) if dtype is DType.I8 else to_f32(bits, dtype)
        scales = read_scales(self.tensor, box, reader)
        products: np.ndarray = values * scales[..., group_index(first, rows, per_group), :]
        return recast(products.view(np.uint32), DType.F32, self.dtype, self.tensor.name)

    def describe(self) -> list[object]:
        """Return `["dequantize", weight]`, and the dtype if it is not bf16."""
        other = [] if self.dtype is DType.BF16 else [self.dtype.value]
        return ["dequantize", self.tensor.name, *other]


@dataclass(frozen=True, slots=True)
class EngineMatrix(Transform):
    """Matrix as engines store it, `[..., out, in]`, in floating point.

    A weight is multiplied by its scales: int8 codes exactly in float32, then rounded once, to
    nearest even, to anything narrower. The scales of bfloat16 weights are ones.

    Attributes:
        tensor: The source's tensor, `[..., in, out]`.
        dtype: The dtype of the result.
        expert: The one expert of a stack that the array holds; None for all, or without a stack.
        groups: Scale groups that expanded rows fall into; None for the rows as they are.
    """

    tensor: TensorSpec
    dtype: DType
    expert: int | None = None
    groups: int | None = None

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, `[row, in]`, in order.

        Raises:
            GrokpackError: GP405 if a value does not fit float16.
        """
        for block, height in column_blocks(self.tensor, self.expert, box, buffer_sizes, self.dtype):
            if self.tensor.scales is None:
                yield from self._plain(block, height, reader)
            elif self.tensor.values.dtype is DType.I8:
                yield from self._products(block, height, reader, buffer_sizes)
            else:
                yield from self._scaled(block, height, reader)

    def _plain(self, block: Box, height: int, reader: ArraySource) -> Iterator[np.ndarray]:
        source = self.tensor.values.dtype
        transposed = as_matrix(reader.read(self.tensor.name, block)).T
        for row in range(0, len(transposed), height):
            piece = np.ascontiguousarray(transposed[row : row + height])
            yield recast(piece, source, self.dtype, self.tensor.name)

    def _products(
        self, block: Box, height: int, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        direct = self.dtype is DType.BF16  # the others pass through exact float32
        codes = as_matrix(reader.read(self.tensor.name, block)).view(np.int8)
        kernel = transposed_weights.product_bf16 if direct else transposed_weights.product_f32
        product = twin(kernel, implementation_for(codes, buffer_sizes))
        scales = as_matrix(read_scales(self.tensor, block, reader, self.groups))
        first, per_group = block.start[-2], rows_per_group(self.tensor, self.groups)
        inputs, columns = codes.shape
        for column in range(0, columns, height):
            count = min(height, columns - column)
            out = reused_memory.empty((count, inputs), np.uint16 if direct else np.float32)
            product(codes, scales, column, first, per_group, out)
            made = out if direct else out.view(np.uint32)
            yield recast(made, DType.BF16 if direct else DType.F32, self.dtype, self.tensor.name)

    def _scaled(self, block: Box, height: int, reader: ArraySource) -> Iterator[np.ndarray]:
        """Yield rows of floats whose scales are all ones, where xAI's code asks for scales."""
        source, name = self.tensor.values.dtype, self.tensor.name
        transposed = as_matrix(reader.read(name, block)).T
        scales = as_matrix(read_scales(self.tensor, block, reader, self.groups)).T
        first, per_group = block.start[-2], rows_per_group(self.tensor, self.groups)
        group = group_index(first, transposed.shape[-1], per_group)
        for row in range(0, len(transposed), height):
            piece = np.ascontiguousarray(transposed[row : row + height])
            own = scales[row : row + height]
            if source is not self.dtype or (own != 1).any():
                product = to_f32(piece, source) * own[:, group]
                piece = recast(product.view(np.uint32), DType.F32, self.dtype, name)
            yield piece

    def describe(self) -> list[object]:
        """Return `["transpose", tensor, expert, dtype]`."""
        return ["transpose", self.tensor.name, self.expert, self.dtype.value]


def column_blocks(
    tensor: TensorSpec, expert: int | None, box: Box, buffer_sizes: BufferSizes, dtype: DType
) -> Iterator[tuple[Box, int]]:
    """Yield the boxes to read for rows of a transposed output, band by band.

    Args:
        tensor: The source's tensor, `[..., in, out]`.
        expert: The expert to read, if the output has only one.
        box: A box of the output, `[..., out, in]`, within one matrix.
        buffer_sizes: Bytes to read, and to make, at a time.
        dtype: Dtype of the output.

    Yields:
        A box of the source, `[..., in, a band of columns]`, and the number of output rows to make
        at a time.
    """
    lead = tuple(box.start[:-2]) if expert is None else (expert,)
    ones = (1,) * len(lead)
    inputs, first_input = box.shape[-1], box.start[-1]
    width = _lanes(buffer_sizes.band_bytes // _column_bytes(tensor, inputs))
    height = _lanes(buffer_sizes.step_bytes // (inputs * dtype.itemsize))
    for column in range(box.start[-2], box.stop[-2], width):
        count = min(width, box.stop[-2] - column)
        yield Box((*lead, first_input, column), (*ones, inputs, count)), min(height, count)


def _column_bytes(tensor: TensorSpec, inputs: int) -> int:
    """Return the memory of a column of a source's block, with its scales in two dtypes."""
    rows = tensor.scales.shape[-2] if tensor.scales else 0
    return inputs * tensor.values.dtype.itemsize + rows * _SCALE_BYTES


_SCALE_BYTES = DType.BF16.itemsize + DType.F32.itemsize  # as read, and as multiplied


def _lanes(columns: int) -> int:
    return max(_LANES, columns // _LANES * _LANES)


def implementation_for(codes: np.ndarray, buffer_sizes: BufferSizes) -> Implementation:
    """Choose the implementation of a transposing kernel: numpy for a transposed view.

    Such codes are contiguous in the wanted order, and numpy only copies them.
    """
    return buffer_sizes.implementation if codes.flags.c_contiguous else "numpy"


def as_matrix(array: np.ndarray) -> np.ndarray:
    """Return the last two axes of an array whose other axes have one element."""
    return array.reshape(array.shape[-2:])


def rows_per_group(tensor: TensorSpec, groups: int | None = None) -> int:
    """Return the number of inputs that share a scale."""
    assert tensor.scales is not None  # noqa: S101  # callers have looked
    return tensor.values.shape[-2] // (groups or tensor.scales.shape[-2])


def read_scales(
    tensor: TensorSpec, box: Box, reader: ArraySource, groups: int | None = None
) -> np.ndarray:
    """Return the scales that a box of a weight needs, `f32[..., group, column]`.

    The first row is that of the group of the box's first input.

    Raises:
        GrokpackError: GP215 if rows do not fall into the requested number of groups.
    """
    return to_f32(*read_scale_bits(tensor, box, reader, groups))


def read_scale_bits(
    tensor: TensorSpec, box: Box, reader: ArraySource, groups: int | None = None
) -> tuple[np.ndarray, DType]:
    """Return what `read_scales` does as raw bits, with their dtype.

    Raises:
        GrokpackError: GP215 if rows do not fall into the requested number of groups.
    """
    assert tensor.scales is not None  # noqa: S101  # callers have looked
    per_group, rows = rows_per_group(tensor, groups), tensor.scales.shape[-2]
    low, high = box.start[-2] // per_group, -(-box.stop[-2] // per_group)
    start = (*box.start[:-2], low, box.start[-1])
    wanted = Box(start, (*box.shape[:-2], high - low, box.shape[-1]))
    name = scales_name(tensor.name)
    if groups in (None, rows):
        bits = reader.read(name, wanted)
    else:
        bits = Regroup(name, rows, groups).make(wanted, reader)
    return bits, tensor.scales.dtype


def read_as_f32(tensor: TensorSpec, box: Box, reader: ArraySource) -> np.ndarray:
    """Return a box of a tensor's weights, `f32[...]`, without rounding.

    Raises:
        GrokpackError: An error of reading.
    """
    if tensor.scales is None:
        made = Cast(tensor.name, tensor.values.dtype, DType.F32).make(box, reader)
    else:
        made = Dequantize(tensor, DType.F32).make(box, reader)
    values: np.ndarray = np.ascontiguousarray(made).view(np.float32)
    return values


def recast(bits: np.ndarray, source: DType, dtype: DType, name: str) -> np.ndarray:
    """Convert raw bits of one float dtype to another.

    Raises:
        GrokpackError: GP405 if a finite value does not fit float16.
    """
    if source is dtype:
        return bits
    values = to_f32(bits, source)
    if dtype is DType.BF16:
        return narrow_bf16(values)
    if dtype is DType.F32:
        return values.view(np.uint32)
    rounded, lost = narrow_f16(values)
    if lost:
        largest = float(np.abs(values[np.isfinite(values)]).max())
        facts = (("largest", f"{largest:.6g}"), ("float16 holds", "65504"))
        what = f"{lost:,} values are too large for float16"
        hint = "`--dtype bf16` or `--type bf16` holds them"
        raise GrokpackError("GP405", what, Place(name), facts, hint)
    return rounded
