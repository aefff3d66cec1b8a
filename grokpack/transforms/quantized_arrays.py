"""Arrays that a quantized weight becomes: codes, scales and zero points, in any orientation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.kernels import packing
from grokpack.kernels.dispatch import Implementation, twin
from grokpack.transforms.packed_words import byte_rows, pack
from grokpack.transforms.quantized_rows import QuantizedRows
from grokpack.transforms.quantizer import GroupQuantizer
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.layout import Box
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

_MIDDLE = 128  # unsigned 8-bit code of zero


class Orientation(Enum):
    """Axes of a quantized weight's arrays, and what its codes are packed into."""

    ROWS = "rows"
    """`[out, in]`, as compressed-tensors has them; codes and zero points in words."""
    COLUMNS = "columns"
    """`[in, out]`, as GPTQ has them; codes in words."""
    IN_PLACE = "in place"
    """`[..., in, out]`, as xAI has them; codes in bytes, zero points not packed."""


@dataclass(frozen=True, slots=True)
class QuantizedArray(Transform):
    """Base of the arrays that a quantized weight becomes; all share what is found for one.

    Attributes:
        weight: The source's weight.
        scheme: The quantization scheme.
        expert: The expert of a stack that the array holds; None for all, or without a stack.
    """

    quantizes: ClassVar[bool] = True
    caches_scales: ClassVar[bool] = True
    weight: SourceWeight
    scheme: QuantizationScheme
    expert: int | None = None

    def quantizer(self, box: Box) -> GroupQuantizer:
        """Return the quantizer of the matrix that a box lies in."""
        lead = box.start[:-2]
        return GroupQuantizer(self.weight, lead[0] if lead else self.expert, self.scheme)


@dataclass(frozen=True, slots=True)
class _OrientedArray(QuantizedArray):
    """Base of the arrays of a weight that is quantized in one pass.

    Attributes:
        orientation: Its axes; stacks of experts are only quantized in place.
    """

    operations: ClassVar[dict[Orientation, str]]
    orientation: Orientation = Orientation.IN_PLACE

    @property
    def inputs_each(self) -> int:
        """Number of inputs that an element of a row stands for, in rows."""
        return self.scheme.inputs_per_group(self.weight.shape[0])

    def quantizer(self, box: Box) -> GroupQuantizer:
        """Return the quantizer of a matrix; in rows, of the inputs that the box has columns for."""
        whole = QuantizedArray.quantizer(self, box)
        first, count = (self.inputs_each * edge for edge in (box.start[-1], box.shape[-1]))
        if self.orientation is not Orientation.ROWS or count >= self.weight.shape[0]:
            return whole
        return replace(whole, part=(first, count))

    def found(
        self, box: Box, part: tuple[int, int], reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield scales, as bits, and zero points of some outputs; of groups unless in rows."""
        quantizer = self.quantizer(box)
        by_output = self.orientation is Orientation.ROWS
        find = quantizer.found if by_output else quantizer.found_rows
        return find(*part, reader, buffer_sizes)

    def describe(self) -> list[object]:
        """Return operation, weight, expert if there is an array for each, and scheme, as JSON."""
        expert = [] if self.orientation is Orientation.IN_PLACE else [self.expert]
        operation = self.operations[self.orientation]
        return [operation, self.weight.name, *expert, self.scheme.describe()]


@dataclass(frozen=True, slots=True)
class QuantizedCodes(_OrientedArray):
    """Codes, packed along the inputs; or signed, a byte for each.

    Packed they are `i32[out, in * bits / 32]` in rows, `i32[in * bits / 32, out]` in columns, and
    `u8[..., in * bits / 8, out]` in place; signed `i8[out, in]` in rows and `i8[..., in, out]` in
    place.

    Attributes:
        signed: True for codes of 8 bits with zero point 0.
    """

    operations: ClassVar[dict[Orientation, str]] = {
        Orientation.ROWS: "packed rows",
        Orientation.COLUMNS: "packed columns",
        Orientation.IN_PLACE: "codes in place",
    }
    signed: bool = False

    @property
    def inputs_each(self) -> int:
        """Number of inputs that an element of a row stands for, in rows."""
        return 1 if self.signed else self.scheme.per_word

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order; groups that it cuts are quantized whole.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if a scale does not fit.
        """
        if self.orientation is Orientation.ROWS:
            return self._by_output(box, reader, buffer_sizes)
        return self._by_group(box, reader, buffer_sizes)

    def _by_output(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[QuantizedRows]:
        quantizer, name = self.quantizer(box), self.weight.name
        for _, made in quantizer.columns(box.start[-2], box.stop[-2], reader, buffer_sizes):
            codes = _turned(made.words, buffer_sizes.implementation)
            if self.signed:
                codes = codes.view(np.uint8) ^ np.uint8(_MIDDLE)
            yield QuantizedRows(codes, name, made.sums, made.counts, quantizer.per_group)

    def _by_group(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[QuantizedRows]:
        quantizer = self.quantizer(box)
        unit = 4 if self.orientation is Orientation.COLUMNS else 1  # bytes of a row's element
        rows = quantizer.per_group * self.scheme.bits // (8 * unit)
        low, high = box.start[-2] // rows, -(-box.stop[-2] // rows)
        for group, made in quantizer.rows(low, high, reader, buffer_sizes):
            skip = max(0, box.start[-2] - group * rows)
            codes = self._packed(made.words, buffer_sizes.implementation)
            yield QuantizedRows(
                codes[skip : box.stop[-2] - group * rows],
                self.weight.name,
                made.sums,
                made.counts,
                quantizer.per_group,
                by_group=True,
                rows_each=rows,
                first_row=-skip,
            )

    def _packed(self, words: np.ndarray, implementation: Implementation) -> np.ndarray:
        """Return codes of whole groups as rows of words, or of bytes in place."""
        if self.orientation is Orientation.COLUMNS:
            return _words(words, implementation)
        codes = words if words.dtype == np.uint8 else byte_rows(words)
        return codes ^ np.uint8(_MIDDLE) if self.signed else codes

    def describe(self) -> list[object]:
        """Return operation, weight, expert if there is an array for each, and scheme, as JSON."""
        operation, *rest = _OrientedArray.describe(self)
        if self.orientation is Orientation.IN_PLACE:
            return [operation, *rest, self.signed]
        return ["codes refitted" if self.signed else operation, *rest]


@dataclass(frozen=True, slots=True)
class QuantizedScales(_OrientedArray):
    """Scales: `[out, group]` in rows, `[group, out]` in columns, `[..., group, out]` in place."""

    operations: ClassVar[dict[Orientation, str]] = {
        Orientation.ROWS: "scale rows",
        Orientation.COLUMNS: "scale columns",
        Orientation.IN_PLACE: "steps in place",
    }

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        for bits, _ in self.found(box, (box.start[-2], box.stop[-2]), reader, buffer_sizes):
            yield bits


@dataclass(frozen=True, slots=True)
class QuantizedZeros(_OrientedArray):
    """Zero points: `u8[..., group, out]` in place; in rows `i32[out * bits / 32, group]`."""

    operations: ClassVar[dict[Orientation, str]] = {
        Orientation.ROWS: "zero rows",
        Orientation.IN_PLACE: "zeros in place",
    }

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        if self.orientation is Orientation.ROWS:
            yield self._packed(box, reader, buffer_sizes)
            return
        for _, zeros in self.found(box, (box.start[-2], box.stop[-2]), reader, buffer_sizes):
            yield zeros

    def _packed(self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes) -> np.ndarray:
        """Return zero points packed along the outputs."""
        per_word, (rows, groups) = self.scheme.per_word, box.shape[-2:]
        first = box.start[-2] * per_word
        last = min(box.stop[-2] * per_word, self.weight.shape[1])
        zeros = [z for _, z in self.found(box, (first, last), reader, buffer_sizes)]
        padded = np.zeros((rows * per_word, groups), np.uint8)
        padded[: last - first] = np.concatenate(zeros)
        return pack(padded, self.scheme.bits)


def _turned(words: np.ndarray, implementation: Implementation) -> np.ndarray:
    """Return the packed codes transposed, `u32[out, in * bits / 32]`."""
    rows, columns = words.shape
    if words.dtype == np.uint8:
        octets = np.empty((columns, rows), np.uint8)
        twin(packing.transpose_bytes, implementation)(words, octets)
        return octets.view("<u4")
    out = np.empty((columns, rows), np.uint32)
    twin(packing.transpose_words, implementation)(words, out)
    return out


def _words(words: np.ndarray, implementation: Implementation) -> np.ndarray:
    """Return the packed codes as words, `u32[in * bits / 32, out]`."""
    if words.dtype == np.uint32:
        return words
    out = np.empty((len(words) // 4, words.shape[1]), np.uint32)
    twin(packing.interleave, implementation)(words, 0, out)
    return out
