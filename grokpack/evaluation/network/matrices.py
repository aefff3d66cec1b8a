"""Matrices `[in, out]` of the network, in bands that are each read at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.layout import Box
from grokpack.core.tensors import DType
from grokpack.transforms.dequantize import read_scales, rows_per_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.array_reader import ArrayReader
    from grokpack.core.tensors import TensorSpec

BAND_BYTES = 32 << 20
"""Bytes of a band as it is read: 1,024 rows of a gate projection in int8, 32,768 wide."""
_ALIGNED = 128  # rows or columns; a multiple of the scale groups of all engines
_PROBE = 64


@dataclass(frozen=True, slots=True)
class Matrix:
    """Region of one matrix of a weight.

    Attributes:
        tensor: The weight, `[in, out]` or `[expert, in, out]`.
        expert: Which matrix of a stack; None where there is no stack.
        inputs: First row, and last + 1.
        outputs: First column, and last + 1.
    """

    tensor: TensorSpec
    expert: int | None
    inputs: tuple[int, int]
    outputs: tuple[int, int]

    @property
    def rows(self) -> int:
        """Number of inputs."""
        return self.inputs[1] - self.inputs[0]

    @property
    def columns(self) -> int:
        """Number of outputs."""
        return self.outputs[1] - self.outputs[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the stored values."""
        return self.rows * self.columns * self.tensor.values.dtype.itemsize

    def box(self, rows: tuple[int, int], columns: tuple[int, int]) -> Box:
        """Return the box of the tensor for a part that is given relative to this region."""
        lead = () if self.expert is None else (self.expert,)
        start = (*lead, self.inputs[0] + rows[0], self.outputs[0] + columns[0])
        return Box(start, (*(1 for _ in lead), rows[1] - rows[0], columns[1] - columns[0]))


def matrix(
    tensor: TensorSpec,
    expert: int | None = None,
    inputs: tuple[int, int] | None = None,
    outputs: tuple[int, int] | None = None,
) -> Matrix:
    """Return a matrix of a weight, or some of its rows and columns."""
    rows, columns = tensor.values.shape[-2:]
    return Matrix(tensor, expert, inputs or (0, rows), outputs or (0, columns))


@dataclass(frozen=True, slots=True)
class CodedBand:
    """Values of a band as they are stored, with scales that are not applied yet.

    Attributes:
        rows: First input in the matrix, and last + 1.
        columns: First output in the matrix, and last + 1.
        values: `i8` codes, or the bits of weights in their dtype, contiguous: `[in, out]`, or
            `[out, in]` if `transposed`.
        dtype: Dtype of the values.
        transposed: True if the values are stored `[out, in]`.
        scales: `f32[group, out]`, or `[out, group]` if `transposed`; None where there are none.
        first: Index of the first input within its scale group.
        per_group: Inputs that share a scale.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    values: np.ndarray
    dtype: DType
    transposed: bool
    scales: np.ndarray | None = None
    first: int = 0
    per_group: int = 1

    def transpose(self) -> CodedBand:
        """Return the transposed block, which must have no scales."""
        assert self.scales is None  # noqa: S101  # groups run along inputs
        return CodedBand(self.columns, self.rows, self.values, self.dtype, not self.transposed)


MatrixRange = tuple[tuple[int, int], tuple[int, int]]
"""First row and last + 1, first column and last + 1."""


def bands(
    whole: Matrix, *, transposed: bool, itemsize: int | None = None, smaller: int = 1
) -> Iterator[MatrixRange]:
    """Yield the rows and columns of each band of a matrix.

    A band is one run of bytes in the file, or nearly: whole rows, or whole columns of a matrix that
    is stored `[out, in]`.

    Args:
        whole: The matrix.
        transposed: True if bands are whole columns.
        itemsize: Bytes of a value, from which the size of a band follows; by default those of the
            matrix's dtype.
        smaller: Factor by which bands are smaller than `BAND_BYTES`.
    """
    long, wide = (whole.columns, whole.rows) if transposed else (whole.rows, whole.columns)
    line_bytes = wide * (itemsize or whole.tensor.values.dtype.itemsize)
    step = max(_ALIGNED, BAND_BYTES // smaller // line_bytes // _ALIGNED * _ALIGNED)
    for first in range(0, long, step):
        part = first, min(first + step, long)
        yield ((0, wide), part) if transposed else (part, (0, wide))


def read(
    whole: Matrix, rows: tuple[int, int], columns: tuple[int, int], reader: ArrayReader
) -> CodedBand:
    """Read a band and its scales.

    Raises:
        GrokpackError: What reading raises.
    """
    tensor, box = whole.tensor, whole.box(rows, columns)
    bits = reader.read(tensor.name, box)
    bits = bits.reshape(bits.shape[-2:])
    dtype = tensor.values.dtype
    transposed = not bits.flags.c_contiguous and bits.T.flags.c_contiguous
    lying = bits.T if transposed else np.ascontiguousarray(bits)
    values = lying.view(np.int8) if dtype is DType.I8 else lying
    if tensor.scales is None:
        return CodedBand(rows, columns, values, dtype, transposed)
    scales = read_scales(tensor, box, reader)
    scales = scales.reshape(scales.shape[-2:])
    scales = np.ascontiguousarray(scales.T if transposed else scales)
    per_group = rows_per_group(tensor)
    first = box.start[-2] % per_group
    return CodedBand(rows, columns, values, dtype, transposed, scales, first, per_group)


def is_transposed(tensor: TensorSpec, reader: ArrayReader) -> bool:
    """Return whether a weight is stored `[out, in]`, by reading one corner of it."""
    shape = tensor.values.shape
    corner = (*(1 for _ in shape[:-2]), *(min(_PROBE, n) for n in shape[-2:]))
    bits = reader.read(tensor.name, Box((0,) * len(shape), corner))
    return not bits.reshape(bits.shape[-2:]).flags.c_contiguous
