"""Transforms that pack weights in GGUF's blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core import reused_memory
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.ggml_types import GGMLType
from grokpack.core.layout import Box
from grokpack.core.tensors import DType, TensorSpec
from grokpack.kernels import transposed_weights
from grokpack.kernels.block_kernels import KERNELS
from grokpack.kernels.dispatch import twin
from grokpack.kernels.float_casts import to_f32
from grokpack.kernels.transposed_weights import Q8_BLOCK, Q8_BYTES
from grokpack.transforms.dequantize import (
    as_matrix,
    column_blocks,
    implementation_for,
    read_scale_bits,
    read_scales,
    rows_per_group,
)
from grokpack.transforms.quantized_rows import QuantizedRows
from grokpack.transforms.quantizer import aligned_ranges, whole_chunks
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.kernels.dispatch import Implementation
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.source_weight import InputImportance, SourceWeight


_SIGN = np.uint16(0x8000)
_SMALLEST_NORMAL = np.uint16(0x3880)  # 2 to the power of -14, in bfloat16
_NORMALS = np.uint16(0x4780 - 0x3880)  # of one sign, below 65536


def _all_normal(bits: np.ndarray) -> bool:
    """Return whether bfloat16 values are zeros or normal in float16, which has more digits then."""
    magnitudes = bits & ~_SIGN
    normal = magnitudes - _SMALLEST_NORMAL < _NORMALS  # what is smaller wraps around
    return bool((normal | (magnitudes == 0)).all())


def _in_float16(values: np.ndarray) -> np.ndarray:
    """Round to float16; what is too large becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float16)


@dataclass(frozen=True, slots=True)
class PackQ8(Transform):
    """Weight in blocks of Q8_0, `u8[..., out, in / 32 * 34]`: the released codes, re-packed.

    The scale of a group becomes the scale of each of its blocks; nothing is re-quantized.

    Attributes:
        tensor: The weight, `int8[..., in, out]` with scales whose groups are multiples of 32.
        groups: Scale groups that expanded rows fall into; None for the rows as they are.
    """

    tensor: TensorSpec
    groups: int | None = None

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order.

        Raises:
            GrokpackError: GP406 if float16 cannot hold a scale.
        """
        per_group = rows_per_group(self.tensor, self.groups)
        whole = Box((*box.start[:-1], 0), (*box.shape[:-1], self.tensor.values.shape[-2]))
        for block, height in column_blocks(self.tensor, None, whole, buffer_sizes, DType.I8):
            codes = as_matrix(reader.read(self.tensor.name, block)).view(np.int8)
            pack = twin(transposed_weights.q8_0, implementation_for(codes, buffer_sizes))
            scales = self.scales(block, reader)
            inputs, columns = codes.shape
            for column in range(0, columns, height):
                count = min(height, columns - column)
                out = reused_memory.empty((count, inputs // Q8_BLOCK * Q8_BYTES), np.uint8)
                pack(codes, scales, column, 0, per_group, out)
                yield out

    def check(self, reader: ArraySource) -> None:
        """Check that float16 holds every scale, before anything is written.

        Raises:
            GrokpackError: GP406 if it does not.
        """
        for box in self._matrices():
            if not self._fits(box, reader):
                self.scales(box, reader)

    def fits(self, reader: ArraySource) -> bool:
        """Return whether float16 holds every scale."""
        return all(self._fits(box, reader) for box in self._matrices())

    def _fits(self, block: Box, reader: ArraySource) -> bool:
        """Return whether float16 holds the scales of a block, those of bfloat16 by their bits."""
        bits, dtype = read_scale_bits(self.tensor, block, reader, self.groups)
        if dtype is DType.BF16 and _all_normal(bits):
            return True
        scales = to_f32(bits, dtype)
        return bool((_in_float16(scales) == scales).all())

    def _matrices(self) -> Iterator[Box]:
        shape = self.tensor.values.shape
        for lead in np.ndindex(*shape[:-2]):
            yield Box((*lead, 0, 0), (*(1 for _ in lead), *shape[-2:]))

    def scales(self, block: Box, reader: ArraySource) -> np.ndarray:
        """Return the scales of a block of the weight as float16 bits, all of them exact."""
        scales = as_matrix(read_scales(self.tensor, block, reader, self.groups))
        narrow = _in_float16(scales)
        wrong = narrow != scales
        if wrong.any():
            raise self._inexact(scales, np.argwhere(wrong), block)
        return narrow.view(np.uint16)

    def _inexact(self, scales: np.ndarray, wrong: np.ndarray, block: Box) -> GrokpackError:
        group, column = (int(n) for n in wrong[0])
        expert = f"expert {block.start[0]}, " if len(block.start) > 2 else ""  # noqa: PLR2004
        facts = (
            ("scale", f"{float(scales[group, column])!r}"),
            ("at", f"{expert}group {group}, output {block.start[-1] + column}"),
            ("in this block", f"{len(wrong):,} of {scales.size:,} scales"),
        )
        what = "float16 cannot hold a scale exactly, and Q8_0 keeps scales in float16"
        hint = (
            "`grokpack quantize --to gguf --type q8_0` requantizes, with a scale of its own for "
            "each block; `--type bf16` and `--type f32` hold every product"
        )
        return GrokpackError("GP406", what, Place(self.tensor.name), facts, hint)

    def describe(self) -> list[object]:
        """Return `["q8_0", tensor]`."""
        return ["q8_0", self.tensor.name]


_MEASURED = 32  # weights of a group whose error is measured; a sub-block of Q4_K


def searches(kind: str) -> bool:
    """Return whether a type has a search of grokpack's own, with less error than ggml's."""
    return KERNELS[kind].search is not None


def weighs(kind: str) -> bool:
    """Return whether the importance of inputs changes what is made of a type."""
    return searches(kind) or KERNELS[kind].weighted is not None


@dataclass(frozen=True, slots=True)
class BlockRecipe:
    """Type of blocks, and how they are made.

    Attributes:
        kind: Type of the blocks.
        searched: True to search for scales; otherwise they are those of ggml's reference.
    """

    kind: str
    searched: bool

    def row_bytes(self, inputs: int) -> int:
        """Return the bytes of the blocks of one output."""
        own = GGMLType[self.kind.upper()]
        return inputs // own.weights * own.nbytes

    def quantizer(
        self,
        importance: InputImportance | None,
        expert: int | None,
        implementation: Implementation,
    ) -> BlockQuantizer:
        """Return the quantizer of a matrix.

        Args:
            importance: Importance of the inputs; None if all are equal.
            expert: Index in a stack of experts; None where there is no stack.
            implementation: Implementation of the kernel.
        """
        kernels, kernel = KERNELS[self.kind], KERNELS[self.kind].quantize
        known: tuple[np.ndarray, ...] = ()
        if self.searched and kernels.search is not None:
            kernel = kernels.search
            known = () if importance is None else (importance.of(expert),)
        elif importance is not None and kernels.weighted is not None:
            kernel, known = kernels.weighted, (importance.measured(expert),)
        return BlockQuantizer(self, twin(kernel, implementation), known)


@dataclass(frozen=True, slots=True)
class BlockQuantizer:
    """Quantizer of some columns of a matrix to blocks.

    Attributes:
        form: The blocks.
        kernel: Kernel that makes them.
        known: Importance of the inputs, if the kernel takes that.
    """

    form: BlockRecipe
    kernel: Callable[..., None]
    known: tuple[np.ndarray, ...]

    def make(
        self, values: np.ndarray, scales: np.ndarray, column: int, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the blocks of some columns, and sums and counts of their errors.

        Args:
            values: `i8[in, out]`, float32 or bits of bfloat16.
            scales: `f32[group, out]`.
            column: The first column.
            count: Number of columns.
        """
        inputs = len(values)
        out = reused_memory.empty((count, self.form.row_bytes(inputs)), np.uint8)
        sums = np.empty((3, inputs // _MEASURED, count), np.float32)
        counts = np.empty((2, inputs // _MEASURED, count), np.int32)
        per_group = inputs // len(scales)
        self.kernel(values, scales, column, per_group, out, sums, counts, *self.known)
        return out, sums, counts


@dataclass(frozen=True, slots=True)
class QuantizeBlocks(Transform):
    """Weight in blocks, `u8[..., out, in / block * bytes]`, quantized like ggml's or better.

    Attributes:
        weight: The source's weight, `[..., in, out]`.
        kind: Type of the blocks.
        searched: True to search for scales; otherwise they are those of ggml's reference.
    """

    operation: ClassVar[str] = "blocks"
    quantizes: ClassVar[bool] = True
    weight: SourceWeight
    kind: str
    searched: bool

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if float16 cannot hold a scale.
        """
        inputs = self.weight.shape[0]
        expert = box.start[0] if len(box.start) > 2 else None  # noqa: PLR2004  # a stack
        form = BlockRecipe(self.kind, self.searched)
        quantizer = form.quantizer(self.weight.importance, expert, buffer_sizes.implementation)
        width = whole_chunks(buffer_sizes.band_bytes // (inputs * self.weight.value_bytes))
        height = whole_chunks(buffer_sizes.step_bytes // form.row_bytes(inputs))
        for left, right in aligned_ranges(box.start[-2], box.stop[-2], width):
            part = Box((0, left), (inputs, right - left))
            values, scales = self.weight.read_unwidened(box.start[:-2], part, reader)
            for begin, end in aligned_ranges(left, right, height):
                out, sums, counts = quantizer.make(values, scales, begin - left, end - begin)
                self._check(sums)
                yield QuantizedRows(out, self.weight.name, sums, counts, _MEASURED)

    def _check(self, sums: np.ndarray) -> None:
        self.weight.refuse_not_finite(sums[0])
        if not np.isfinite(sums[1]).all():
            what = "a scale does not fit float16, in which GGUF keeps scales"
            raise GrokpackError("GP405", what, Place(self.weight.name), hint="convert --type bf16")
