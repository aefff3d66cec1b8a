"""Weights of the source as input of the quantizing kernels: int8 codes and scales, or float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from grokpack.core import reused_memory
from grokpack.core.arrays import contiguous
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.layout import Box
from grokpack.core.tensors import DType, TensorSpec
from grokpack.kernels import widening
from grokpack.kernels.dispatch import twin
from grokpack.kernels.float_casts import to_f32
from grokpack.kernels.group_index import group_index
from grokpack.transforms.dequantize import as_matrix, read_scales

if TYPE_CHECKING:
    from grokpack.core.tensors import ArraySpec
    from grokpack.kernels.dispatch import Implementation
    from grokpack.transforms.array_source import ArraySource

_WIDE_BYTES = 4
_STRIP = 64  # rows or columns that are widened at a time; of columns, whole cache lines


class InputImportance(Protocol):
    """Importance of errors at each input of a weight."""

    def of(self, expert: int | None) -> np.ndarray:
        """Return the importance of all inputs of a matrix, `f32[in]`, with a mean of one."""

    def measured(self, expert: int | None) -> np.ndarray:
        """Return the mean squares of all inputs of a matrix as they were measured, `f32[in]`."""


@dataclass(frozen=True, slots=True)
class SourceWeight:
    """Tensor `[..., in, out]` to quantize.

    Attributes:
        tensor: The source's tensor.
        groups: Scale groups that expanded rows fall into; None for the rows as they are.
        importance: Importance of errors at its inputs; None if all are equal.
        by_token: True for a tensor that is stored `[out, in]`: an embedding or a head.
    """

    tensor: TensorSpec
    groups: int | None = None
    importance: InputImportance | None = None
    by_token: bool = False

    @property
    def name(self) -> str:
        """xAI's name."""
        return self.tensor.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its arrays."""
        return tuple(self.tensor.arrays())

    @property
    def shape(self) -> tuple[int, int]:
        """Inputs and outputs of a matrix."""
        inputs, outputs = self.tensor.values.shape[-2:]
        return (outputs, inputs) if self.by_token else (inputs, outputs)

    @property
    def coded(self) -> bool:
        """True for int8 codes with scales; anything else is read as float32."""
        return self.tensor.values.dtype is DType.I8 and self.tensor.scales is not None

    @property
    def scale_rows(self) -> int:
        """Number of groups of inputs that share a scale; 1 if it is read as float32."""
        if not self.coded or self.tensor.scales is None:
            return 1
        return self._groups_of(self.tensor.scales)

    def _groups_of(self, scales: ArraySpec) -> int:
        return self.groups or scales.shape[-2]

    @property
    def per_scale(self) -> int:
        """Number of inputs that share a scale."""
        return self.shape[0] // self.scale_rows

    @property
    def value_bytes(self) -> int:
        """Bytes of a value when it is read."""
        return 1 if self.coded else _WIDE_BYTES

    def read(
        self,
        lead: tuple[int, ...],
        box: Box,
        reader: ArraySource,
        implementation: Implementation = "numpy",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a part of one matrix.

        Args:
            lead: Index of the matrix in a stack.
            box: A box of the matrix, `[in, out]`.
            reader: The source of values.
            implementation: Implementation of the kernel that widens bfloat16.

        Returns:
            Codes `i8[in, out]` and the scales of their groups, `f32[group, out]`; or values
            `f32[in, out]` and a row of ones.
        """
        if self.by_token:
            raw = reader.read(self.name, Box(box.start[::-1], box.shape[::-1])).T
            values = _widened(raw, self.tensor.values.dtype, implementation)
            return values, np.ones((1, box.shape[1]), np.float32)
        whole = Box((*lead, *box.start), (*(1 for _ in lead), *box.shape))
        raw = as_matrix(reader.read(self.name, whole))
        if self.coded:
            scales = as_matrix(read_scales(self.tensor, whole, reader, self.groups))
            return contiguous(raw).view(np.int8), contiguous(scales)
        values = _widened(raw, self.tensor.values.dtype, implementation)
        if self.tensor.scales is not None:  # ones, where xAI's code asks for scales
            scales = as_matrix(read_scales(self.tensor, whole, reader, self.groups))
            rows = self._groups_of(self.tensor.scales)
            values *= scales[group_index(box.start[0], box.shape[0], self.shape[0] // rows)]
        return values, np.ones((1, box.shape[1]), np.float32)

    def read_as_stored(
        self, lead: tuple[int, ...], box: Box, reader: ArraySource
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Read a part of one matrix as it lies, without a transpose.

        Args:
            lead: Index of the matrix in a stack.
            box: A box of the matrix, `[in, out]`.
            reader: The source of values.

        Returns:
            Codes and scales as `read` returns them, or bits of bfloat16 as `u16`, or float32, with
            a row of ones; and True if the values are `[out, in]`.
        """
        dtype = self.tensor.values.dtype
        if self.tensor.scales is not None:
            return *self.read(lead, box, reader), False
        if self.by_token:
            raw = reader.read(self.name, Box(box.start[::-1], box.shape[::-1])).T
        else:
            whole = Box((*lead, *box.start), (*(1 for _ in lead), *box.shape))
            raw = as_matrix(reader.read(self.name, whole))
        turned = raw.strides[0] < raw.strides[1]
        lying = contiguous(raw.T if turned else raw)
        values = lying if dtype is DType.BF16 else to_f32(lying, dtype)
        return values, np.ones((1, values.shape[1]), np.float32), turned

    def read_unwidened(
        self, lead: tuple[int, ...], box: Box, reader: ArraySource
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a part of one matrix like `read`, but bfloat16 as bits, `u16[in, out]`.

        What is stored `[out, in]` is a transposed view.
        """
        values, scales, turned = self.read_as_stored(lead, box, reader)
        if not turned:
            return values, scales
        return values.T, np.ones((1, box.shape[1]), np.float32)

    def aligned(self, box: Box, scales: np.ndarray) -> tuple[int, np.ndarray]:
        """Align the scales of a part that may begin within a group of the source.

        Returns:
            Inputs of a run of the part, and one row of scales for each run.
        """
        if not self.coded:
            return box.shape[0], scales
        first, rows = box.start[0], box.shape[0]
        fine = int(np.gcd.reduce([self.per_scale, first, rows]))
        return fine, np.ascontiguousarray(scales[group_index(first, rows, self.per_scale, fine)])

    def read_as_f32(self, lead: tuple[int, ...], box: Box, reader: ArraySource) -> np.ndarray:
        """Read a part of one matrix in float32, `[in, out]`."""
        values, scales = self.read(lead, box, reader)
        if not self.coded:
            return values
        index = group_index(box.start[0], box.shape[0], self.per_scale)
        product: np.ndarray = values * scales[index]
        return product

    def refuse_not_finite(self, squares: np.ndarray) -> None:
        """Refuse groups with infinite or NaN values, by their sums of squares.

        Raises:
            GrokpackError: GP407.
        """
        if not np.isfinite(squares).all():
            what = "a value is infinite or no number and cannot be quantized"
            hint = f"`grokpack inspect SRC {self.name} --stats` shows how many"
            raise GrokpackError("GP407", what, Place(self.name), hint=hint)


def _widened(raw: np.ndarray, dtype: DType, implementation: Implementation) -> np.ndarray:
    """Convert a matrix of raw bits, perhaps transposed, to contiguous float32.

    It works strip by strip in memory order, so that only one copy of the whole exists.
    """
    values = reused_memory.empty(raw.shape, np.float32)
    transposed = not raw.flags.c_contiguous
    if transposed and dtype is DType.BF16:
        twin(widening.widen_transposed, implementation)(np.ascontiguousarray(raw.T), values)
        return values
    source, out = (raw.T, values.T) if transposed else (raw, values)
    for first in range(0, len(source), _STRIP):
        strip = np.ascontiguousarray(source[first : first + _STRIP])
        out[first : first + _STRIP] = to_f32(strip, dtype)
    return values
