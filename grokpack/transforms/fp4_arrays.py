"""Arrays that a weight in four-bit floats becomes: codes, scales, and the scale of the matrix.

Codes come first. The scales chosen with them are cached in the reader, as those of `quantizer` are.
NVFP4 divides its scales by one number for a whole matrix, or for matrices that engines fuse, which
follows from their largest magnitude: it is found first, in a pass of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.layout import Box
from grokpack.kernels import fp4, fp4_blocks
from grokpack.kernels.dispatch import twin
from grokpack.kernels.float_casts import widen_bf16
from grokpack.transforms.quantized_rows import QuantizedRows
from grokpack.transforms.quantizer import CHUNK, KEPT_TOGETHER, aligned_ranges, whole_chunks
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.lru_cache import NumberedEntries
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.source_weight import SourceWeight

_LARGEST = np.float32(448 * 6)  # of E4M3, and of the levels
_INFINITE = np.uint16(0x7F80)  # of bfloat16
_PROBE_BYTES = 8 << 20  # of a matrix that are read at a time for its largest magnitude


@dataclass(frozen=True, slots=True)
class WeightMatrix:
    """One matrix of a source's weight.

    Attributes:
        weight: The weight, `[..., in, out]`.
        expert: The expert of a stack; None without a stack.
    """

    weight: SourceWeight
    expert: int | None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its arrays."""
        return self.weight.inputs

    @property
    def lead(self) -> tuple[int, ...]:
        """Index of the matrix in a stack."""
        return () if self.expert is None else (self.expert,)

    def bands(self, first: int, last: int, nbytes: int) -> Iterator[Box]:
        """Yield boxes of all inputs of outputs `first` to `last`, of about so many bytes."""
        inputs = self.weight.shape[0]
        width = whole_chunks(nbytes // (inputs * self.weight.value_bytes))
        for left, right in aligned_ranges(first, last, width):
            yield Box((0, left), (inputs, right - left))

    def largest(self, reader: ArraySource) -> np.float32:
        """Find the largest magnitude; NaN is passed over, and refused where it is quantized."""
        found = np.float32(0)
        for box in self.bands(0, self.weight.shape[1], _PROBE_BYTES):
            values, scales = self.weight.read_unwidened(self.lead, box, reader)
            if values.dtype == np.uint16:
                found = max(found, _largest_bf16(values))
                continue
            groups = values.reshape(len(scales), -1, values.shape[1])
            high, low = groups.max(axis=1), groups.min(axis=1)
            with np.errstate(invalid="ignore"):
                sizes = np.maximum(np.abs(high.astype(np.float32)), np.abs(low.astype(np.float32)))
                found = np.fmax(found, np.nanmax(sizes * np.abs(scales), initial=0))
        return found

    def describe(self) -> list[object]:
        """Return the weight's name and the expert."""
        return [self.weight.name, self.expert]


@dataclass(frozen=True, slots=True)
class _Fp4Array(Transform):
    """Base of the arrays of a matrix in four-bit floats.

    Attributes:
        matrix: The matrix.
        searched: True to search for scales.
        fused: Matrices that share the scale of the whole, for NVFP4; none for MXFP4.
    """

    quantizes: ClassVar[bool] = True
    caches_scales: ClassVar[bool] = True
    matrix: WeightMatrix
    searched: bool
    fused: tuple[WeightMatrix, ...] = ()

    @property
    def height(self) -> int:
        """Number of inputs that share a scale."""
        return fp4_blocks.NV_BLOCK if self.fused else fp4_blocks.MX_BLOCK

    def unit(self, reader: ArraySource) -> float | None:
        """Return the number by which all scales are divided; None for MXFP4."""
        return global_scale(self.fused, reader) if self.fused else None

    def quantized(
        self, first: int, last: int, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[tuple[int, np.ndarray, QuantizedRows]]:
        """Yield outputs `first` to `last` in batches: the first output, scales, and codes."""
        weight, unit = self.matrix.weight, self.unit(reader)
        kernel = twin(fp4.quantize_fp4, buffer_sizes.implementation)
        inputs, blocks = weight.shape[0], weight.shape[0] // self.height
        height = whole_chunks(buffer_sizes.step_bytes // (inputs // 2))
        known = self._importance()
        for box in self.matrix.bands(first, last, buffer_sizes.band_bytes):
            values, scales = weight.read(self.matrix.lead, box, reader, buffer_sizes.implementation)
            left = box.start[1]
            for begin, end in aligned_ranges(left, box.stop[1], height):
                count = end - begin
                codes = np.empty((count, inputs // 2), np.uint8)
                chosen = np.empty((count, blocks), np.uint8)
                sums = np.empty((3, blocks, count), np.float32)
                counts = np.empty((2, blocks, count), np.int32)
                kernel(
                    values, scales, begin - left, inputs // len(scales), unit, known,
                    codes, chosen, sums, counts,
                )  # fmt: skip
                weight.refuse_not_finite(sums)
                yield begin, chosen, QuantizedRows(codes, weight.name, sums, counts, self.height)

    def _importance(self) -> np.ndarray | None:
        """Return the importance of each input in a search; None without one."""
        if not self.searched:
            return None
        own = self.matrix.weight.importance
        if own is None:
            return np.ones(self.matrix.weight.shape[0], np.float32)
        return own.of(self.matrix.expert)

    def describe(self) -> list[object]:
        """Return operation, matrix, whether scales are searched for, and fused matrices."""
        fused = [one.describe() for one in self.fused]
        return [self.operation, *self.matrix.describe(), self.searched, fused]

    def _by_chunk(self, reader: ArraySource) -> NumberedEntries:
        """Return the cached scales of chunks of outputs."""
        return reader.cache.numbered((self.matrix, self.searched, self.fused))


@dataclass(frozen=True, slots=True)
class Fp4Codes(_Fp4Array):
    """Codes of E2M1, `u8[out, in / 2]`: of two inputs in a byte the first has the low bits."""

    operation: ClassVar[str] = "fp4 codes"

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order.

        Raises:
            GrokpackError: GP407 if a value is not finite.
        """
        outputs, cached = self.matrix.weight.shape[1], self._by_chunk(reader)
        for begin, chosen, rows in self.quantized(box.start[0], box.stop[0], reader, buffer_sizes):
            end = begin + len(chosen)
            for chunk in range(-(-begin // CHUNK), -(-end // CHUNK)):
                stop = min((chunk + 1) * CHUNK, outputs)
                if stop <= end:
                    own = chosen[chunk * CHUNK - begin : stop - begin]
                    cached.put(chunk, (own.copy(),))
            yield rows


@dataclass(frozen=True, slots=True)
class Fp4Scales(_Fp4Array):
    """Scales of blocks, as bytes of E8M0 or E4M3, `u8[out, in / block]`."""

    operation: ClassVar[str] = "fp4 scales"

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order: cached ones, or those of some chunks made again."""
        cached = self._by_chunk(reader)
        for begin, end in aligned_ranges(box.start[0], box.stop[0], KEPT_TOGETHER):
            kept = cached.take_all(range(begin // CHUNK, -(-end // CHUNK)))
            if kept is not None:
                yield kept[0][begin % CHUNK : begin % CHUNK + end - begin]
                continue
            for _, chosen, _rows in self.quantized(begin, end, reader, buffer_sizes):
                yield chosen


@dataclass(frozen=True, slots=True)
class GlobalScale(Transform):
    """Number by which the scales of fused matrices are divided, `f32[1]`."""

    operation: ClassVar[str] = "global scale"
    fused: tuple[WeightMatrix, ...]

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Find the largest magnitude of all fused matrices, and return its scale."""
        made = np.full(box.shape, global_scale(self.fused, reader), np.float32)
        return made.view(np.uint32)


def _largest_bf16(bits: np.ndarray) -> np.float32:
    """Return the largest magnitude of bits of bfloat16, NaN left out."""
    sizes = bits & np.uint16(0x7FFF)  # in the order of magnitudes, with NaN beyond infinity
    sizes[sizes > _INFINITE] = 0
    return np.float32(widen_bf16(sizes.max(initial=0, keepdims=True)).item())


def global_scale(fused: tuple[WeightMatrix, ...], reader: ArraySource) -> float:
    """Return the number that makes 448 of the scale of a block with the largest magnitude.

    It is 1 where that magnitude is zero, too small or infinite, as in compressed-tensors.
    """
    kept = reader.cache.take(fused)
    if kept is None:
        kept = (np.array([max(one.largest(reader) for one in fused)], np.float32),)
    reader.cache.put(fused, kept)  # again where it was there, or it would be among the oldest
    with np.errstate(divide="ignore", over="ignore"):
        # as torch divides a number by a tensor: it multiplies with the reciprocal
        scale = float(_LARGEST * (np.float32(1) / kept[0][0]))
    return scale if 0 < scale < np.inf else 1.0
