"""Quantization in groups too large to hold, in xAI's layout, in two passes.

xAI's code takes one scale for each output and model shard, and GPTQ may have one for each output:
thousands of inputs share one. The scales of a matrix are therefore found first, column by column,
and the codes are then made row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.layout import Box
from grokpack.kernels.float_casts import to_f32
from grokpack.transforms.packed_words import pack
from grokpack.transforms.quantized_arrays import QuantizedArray
from grokpack.transforms.quantized_rows import QuantizedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.quantizer import GroupQuantizer

_MOST_ROWS = 64  # rows of a part of a group whose error is measured separately
_WIDE_BYTES = 4


@dataclass(frozen=True, slots=True)
class WideCodes(QuantizedArray):
    """Codes of 8 bits, symmetric, `i8[..., in, out]`."""

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if a scale does not fit.
        """
        quantizer = self.quantizer(box)
        rows = box.start[-2], box.stop[-2]
        for own in _measured_codes(quantizer, rows, 1, reader, buffer_sizes):
            skip = max(0, rows[0] - own.first)
            codes = own.codes.view(np.uint8)[skip : rows[1] - own.first]
            yield own.output_rows(codes, skip, 1)

    def describe(self) -> list[object]:
        """Return `["wide codes", tensor, scheme]`: one array holds all experts."""
        return ["wide codes", self.weight.name, self.scheme.describe()]


@dataclass(frozen=True, slots=True)
class WideScales(QuantizedArray):
    """Scales, `[..., group, out]`, of a symmetric scheme."""

    operation: ClassVar[str] = "wide steps"

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        quantizer = self.quantizer(box)
        part = Box(box.start[-2:], box.shape[-2:])
        yield quantizer.bits_of(wide_scales(quantizer, part, reader, buffer_sizes))


@dataclass(frozen=True, slots=True)
class WideWords(QuantizedArray):
    """Codes of a symmetric scheme as GPTQ packs them, `i32[in * bits / 32, out]`."""

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order; errors are those of `WideCodes`."""
        quantizer = self.quantizer(box)
        per_word, middle = self.scheme.per_word, np.uint8(1 << (self.scheme.bits - 1))
        rows = box.start[-2] * per_word, box.stop[-2] * per_word
        for own in _measured_codes(quantizer, rows, per_word, reader, buffer_sizes):
            skip = max(0, rows[0] - own.first)
            codes = own.codes.view(np.uint8)[skip : rows[1] - own.first] + middle
            yield own.output_rows(pack(codes, self.scheme.bits), skip, per_word)

    def describe(self) -> list[object]:
        """Return `["wide words", tensor, expert, scheme]`."""
        return ["wide words", self.weight.name, self.expert, self.scheme.describe()]


@dataclass(frozen=True, slots=True)
class _MeasuredCodes:
    """Codes of some rows, and the errors of parts of groups.

    Attributes:
        quantizer: Quantizer of the matrix.
        first: The first row.
        unit: Rows of a part.
        codes: `i8[row, out]`.
        sums: `f32[3, part, out]`, as in `QuantizedGroups`.
        counts: `i32[2, part, out]`.
    """

    quantizer: GroupQuantizer
    first: int
    unit: int
    codes: np.ndarray
    sums: np.ndarray
    counts: np.ndarray

    def output_rows(self, values: np.ndarray, skip: int, per_value: int) -> QuantizedRows:
        """Return output rows made of these, `per_value` of them each, without the first `skip`."""
        return QuantizedRows(
            values,
            self.quantizer.weight.name,
            self.sums,
            self.counts,
            self.unit,
            by_group=True,
            rows_each=self.unit // per_value,
            first_row=-skip // per_value,
        )


def _measured_codes(
    quantizer: GroupQuantizer,
    rows: tuple[int, int],
    multiple: int,
    reader: ArraySource,
    buffer_sizes: BufferSizes,
) -> Iterator[_MeasuredCodes]:
    """Yield all rows of a range, extended to whole parts of groups.

    Args:
        quantizer: Quantizer of the matrix.
        rows: The first row, and one past the last.
        multiple: A number that divides the rows of a part, and of a group.
        reader: The source of values.
        buffer_sizes: Bytes to make at a time.
    """
    outputs, unit = quantizer.shape[1], unit_rows(quantizer.per_group, multiple)
    scales = wide_scales(quantizer, Box((0, 0), (quantizer.groups, outputs)), reader, buffer_sizes)
    count = max(1, buffer_sizes.step_bytes // (_WIDE_BYTES * unit * outputs)) * unit
    first, last = rows[0] // unit * unit, -(-rows[1] // unit) * unit
    for begin in range(first, last, count):
        end = min(begin + count, last)
        own = scales[np.arange(begin, end) // quantizer.per_group]
        codes, sums, counts = _round(quantizer, (begin, end), own, reader)
        sums = sums.reshape(3, -1, unit, outputs).sum(2)
        counts = counts.reshape(2, -1, unit, outputs).sum(2, dtype=np.int32)
        yield _MeasuredCodes(quantizer, begin, unit, codes, sums, counts)


def _round(
    quantizer: GroupQuantizer, rows: tuple[int, int], scales: np.ndarray, reader: ArraySource
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes `i8[row, out]` of some rows, and the terms of each for sums and counts."""
    box = Box((rows[0], 0), (rows[1] - rows[0], scales.shape[1]))
    half = 1 << (quantizer.scheme.bits - 1)
    values = quantizer.weight.read_as_f32(quantizer.lead, box, reader)
    rounded = np.clip(np.rint(values / scales), -half, half - 1)
    errors = values - rounded * scales
    sums = np.stack([values * values, errors * errors, values * errors])
    ends = (rounded == -half) | (rounded == half - 1)
    counts = np.stack([ends, (values != 0) & (rounded == 0)])
    return rounded.astype(np.int8), sums, counts


def wide_scales(
    quantizer: GroupQuantizer, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
) -> np.ndarray:
    """Return scales `f32[group, out]` of a part of a matrix, computed or cached."""
    found = [bits for bits, _ in quantizer.found(box.start[-1], box.stop[-1], reader, buffer_sizes)]
    bits = np.ascontiguousarray(np.concatenate(found).T[box.start[-2] : box.stop[-2]])
    return to_f32(bits, quantizer.scheme.scales)


def unit_rows(per_group: int, multiple: int = 1) -> int:
    """Return the rows of a separately measured part of a group: the most that divide it."""
    most = _MOST_ROWS // multiple
    return next(n for n in range(most, 0, -1) if per_group // multiple % n == 0) * multiple
