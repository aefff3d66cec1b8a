"""Quantization of a weight's matrix, block by block, with the kernels.

Codes, scales and zero points of a weight are separate arrays of the output, found together.
Codes come first. The scales found with them are cached in the reader for the arrays that follow,
and computed again if they were evicted: any range of any array can be made alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.errors import GrokpackError, Place
from grokpack.core.layout import Box
from grokpack.core.tensors import DType
from grokpack.kernels import integer_quantization
from grokpack.kernels.dispatch import twin
from grokpack.transforms.dequantize import recast
from grokpack.transforms.quantization_scheme import METHODS, PRECISIONS, QuantizationScheme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.lru_cache import NumberedEntries
    from grokpack.kernels.dispatch import Implementation
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.source_weight import SourceWeight

CHUNK = 64
"""Outputs whose scales are cached together, as many as a strip of the kernels has."""
KEPT_TOGETHER = 16 * CHUNK
"""Outputs whose scales are taken from the cache, or computed again, together."""


@dataclass(frozen=True, slots=True)
class QuantizedGroups:
    """Codes and scales of some outputs.

    Attributes:
        words: Packed codes, `u32[in / 8, out]` for 4 bits, `u8[in, out]` for 8; no rows if only
            scales were requested.
        scales: Scales, exact in the scheme's dtype, `f32[group, out]`.
        zeros: Zero points as codes, `u8[group, out]`.
        sums: Sums of x^2, e^2 and x * e of each group, `f32[3, group, out]`.
        counts: Codes at an end, and values that became zero, of each group, `i32[2, group, out]`.
    """

    words: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    sums: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True, slots=True)
class GroupQuantizer:
    """Quantizer of one matrix.

    Attributes:
        weight: The source's weight, `[..., in, out]`.
        expert: The expert of a stack; None without a stack.
        scheme: The quantization scheme.
        part: First input and number of inputs to quantize, whole groups; None for all.
    """

    weight: SourceWeight
    expert: int | None
    scheme: QuantizationScheme
    part: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of inputs and outputs."""
        inputs, outputs = self.weight.shape
        return self.part[1] if self.part else inputs, outputs

    @property
    def lead(self) -> tuple[int, ...]:
        """Index of the matrix in a stack."""
        return () if self.expert is None else (self.expert,)

    @property
    def per_group(self) -> int:
        """Number of inputs that share a scale."""
        return self.scheme.inputs_per_group(self.weight.shape[0])

    @property
    def groups(self) -> int:
        """Number of groups of inputs."""
        return self.shape[0] // self.per_group

    def columns(
        self, first: int, last: int, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[tuple[int, QuantizedGroups]]:
        """Yield outputs `first` to `last` in batches, each with its first output."""
        inputs, row = self.shape[0], self.part[0] if self.part else 0
        width = whole_chunks(buffer_sizes.band_bytes // (inputs * self.weight.value_bytes))
        height = whole_chunks(buffer_sizes.step_bytes * 8 // (inputs * self.scheme.bits))
        for left, right in aligned_ranges(first, last, width):
            box = Box((row, left), (inputs, right - left))
            values, scales = self.weight.read(self.lead, box, reader, buffer_sizes.implementation)
            fine, scales = self.weight.aligned(box, scales)
            for begin, end in aligned_ranges(left, right, height):
                quantized = self._quantize(
                    (values, scales, fine), begin - left, end - begin, row, buffer_sizes
                )
                self._remember(begin, quantized, reader)
                yield begin, quantized

    def rows(
        self, first: int, last: int, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[tuple[int, QuantizedGroups]]:
        """Yield groups `first` to `last` of all outputs in batches, each with its first group."""
        outputs, group = self.shape[1], self.per_group
        cached = self._by_group(reader)
        row_bytes = group * outputs * self.weight.value_bytes
        count = max(1, 2 * buffer_sizes.step_bytes // row_bytes)
        for begin in range(first, last, count):
            end = min(begin + count, last)
            box = Box((begin * group, 0), ((end - begin) * group, outputs))
            values, scales = self.weight.read(self.lead, box, reader, buffer_sizes.implementation)
            fine, scales = self.weight.aligned(box, scales)
            quantized = self._quantize(
                (values, scales, fine), 0, outputs, begin * group, buffer_sizes
            )
            found = zip(self.bits_of(quantized.scales), quantized.zeros, strict=True)
            for number, arrays in enumerate(found, begin):
                cached.put(number, tuple(array.copy() for array in arrays))
            yield begin, quantized

    def found(
        self, first: int, last: int, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield scales (bits) and zero points `[out, group]` of outputs `first` to `last`."""
        cached = self._by_chunk(reader)
        for begin, end in aligned_ranges(first, last, KEPT_TOGETHER):
            kept = self._kept(begin, end, cached)
            if kept is not None:
                yield kept
                continue
            for _, quantized in self.columns(begin, end, reader, buffer_sizes):
                yield self._turned(quantized)

    def found_rows(
        self, first: int, last: int, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield scales (bits) and zero points `[group, out]` of groups `first` to `last`."""
        cached = self._by_group(reader)
        for group in range(first, last):
            kept = cached.take(group)
            if kept is not None:
                bits, zeros = kept
                yield bits[None], zeros[None]
                continue
            for _, quantized in self.rows(group, group + 1, reader, buffer_sizes):
                yield self.bits_of(quantized.scales), quantized.zeros

    def _by_chunk(self, reader: ArraySource) -> NumberedEntries:
        """Return the cached scales and zero points of chunks of outputs, `[out, group]`."""
        return reader.cache.numbered((self, "chunk"))

    def _by_group(self, reader: ArraySource) -> NumberedEntries:
        """Return the cached scales and zero points of groups of inputs, `[out]`."""
        return reader.cache.numbered((self, "group"))

    def _kept(
        self, begin: int, end: int, cached: NumberedEntries
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return cached scales and zero points of outputs; None if one of them is missing."""
        found = cached.take_all(range(begin // CHUNK, -(-end // CHUNK)))
        if found is None:
            return None
        rows = slice(begin % CHUNK, begin % CHUNK + end - begin)
        bits, zeros = (arrays[rows] for arrays in found)
        return bits, zeros

    def _turned(self, quantized: QuantizedGroups) -> tuple[np.ndarray, np.ndarray]:
        """Return scales, as bits of their dtype, and zero points, both `[out, group]`."""
        bits = self.bits_of(quantized.scales)
        return np.ascontiguousarray(bits.T), np.ascontiguousarray(quantized.zeros.T)

    def bits_of(self, scales: np.ndarray) -> np.ndarray:
        """Return scales as raw bits of the scheme's dtype, which holds them exactly."""
        return recast(scales.view(np.uint32), DType.F32, self.scheme.scales, self.weight.name)

    def _quantize(
        self,
        block: tuple[np.ndarray, np.ndarray, int],
        column: int,
        count: int,
        row: int,
        buffer_sizes: BufferSizes,
    ) -> QuantizedGroups:
        """Quantize some columns of a block.

        Args:
            block: Its values, its scales, and the number of inputs that share one.
            column: The first column.
            count: Number of columns.
            row: The block's first input.
            buffer_sizes: Gives the implementation of the kernel.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if the dtype of the scales cannot
                hold one.
        """
        own = self.weight.importance
        rows = slice(row, row + len(block[0]))
        known = None if own is None else own.of(self.expert)[rows]
        quantized = quantize_groups(
            block, (column, count), self.scheme, self.per_group, known, buffer_sizes.implementation
        )
        self._check(quantized)
        return quantized

    def _check(self, quantized: QuantizedGroups) -> None:
        self.weight.refuse_not_finite(quantized.sums[0])
        if not np.isfinite(quantized.scales).all():
            what = f"a scale does not fit {self.scheme.scales.label}"
            raise GrokpackError(
                "GP405", what, Place(self.weight.name), hint="--scale-dtype bf16 holds it"
            )

    def _remember(self, begin: int, quantized: QuantizedGroups, reader: ArraySource) -> None:
        """Cache the scales of whole chunks."""
        bits, zeros = self._turned(quantized)
        cached, outputs, end = self._by_chunk(reader), self.shape[1], begin + len(bits)
        for chunk in range(-(-begin // CHUNK), -(-end // CHUNK)):
            stop = min((chunk + 1) * CHUNK, outputs)
            if stop <= end:
                part = slice(chunk * CHUNK - begin, stop - begin)
                cached.put(chunk, (bits[part].copy(), zeros[part].copy()))


def quantize_groups(
    block: tuple[np.ndarray, np.ndarray, int],
    columns: tuple[int, int],
    scheme: QuantizationScheme,
    group: int,
    importance: np.ndarray | None,
    implementation: Implementation,
) -> QuantizedGroups:
    """Quantize some columns of a block of a weight.

    Args:
        block: Its values, its scales, and the number of inputs that share one.
        columns: The first column, and how many.
        scheme: The quantization scheme.
        group: Inputs that share a scale.
        importance: Importance of the inputs, `f32[in]`; None if all are equal.
        implementation: Implementation of the kernel.
    """
    values, scales, per_group = block
    inputs, (column, count) = len(values), columns
    groups, four = inputs // group, scheme.bits == 4  # noqa: PLR2004  # bits
    words = np.empty((inputs // 8 if four else inputs, count), np.uint32 if four else np.uint8)
    quantized = QuantizedGroups(
        words,
        np.empty((groups, count), np.float32),
        np.empty((groups, count), np.uint8),
        np.empty((3, groups, count), np.float32),
        np.empty((2, groups, count), np.int32),
    )
    twin(integer_quantization.quantize, implementation)(
        values, scales, column, per_group, group, scheme.bits, METHODS[scheme.method],
        scheme.symmetric, PRECISIONS[scheme.scales], words, quantized.scales, quantized.zeros,
        quantized.sums, quantized.counts, _one_on_average(importance, group),
    )  # fmt: skip
    return quantized


def _one_on_average(importance: np.ndarray | None, group: int) -> np.ndarray | None:
    """Return importance with mean one in each group, `f32[in]`."""
    if importance is None:
        return None
    part = importance.reshape(-1, group)
    mean = part.mean(axis=1, keepdims=True, dtype=np.float64)
    weights: np.ndarray = (part / mean).astype(np.float32).reshape(-1)
    return weights


def aligned_ranges(first: int, last: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range, cut at multiples of a width."""
    while first < last:
        stop = min((first // width + 1) * width, last)
        yield first, stop
        first = stop


def whole_chunks(columns: int) -> int:
    """Round a number of outputs down to whole chunks, at least one."""
    return max(CHUNK, columns // CHUNK * CHUNK)
