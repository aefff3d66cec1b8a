"""Transforms to the arrays of a quantized weight: packed codes, scales, zero points.

`...Rows` have compressed-tensors' layout, `[out, in]`; `...Columns` GPTQ's, `[in, out]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.kernels import groupwise, packing
from grokpack.kernels.dispatch import Implementation, twin
from grokpack.transforms.quantized_rows import QuantizedRows
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.layout import Box
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.quantizer import GroupQuantizer
    from grokpack.transforms.step_sizes import StepSizes


_MIDDLE = 128  # unsigned 8-bit code of zero


@dataclass(frozen=True, slots=True)
class PackedRows(Transform):
    """Codes, packed along the inputs: `i32[out, in * bits / 32]`."""

    quantizer: GroupQuantizer

    def stream(
        self, box: Box, reader: ArraySource, step_sizes: StepSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if a scale does not fit.
        """
        name, per_group = self.quantizer.weight.name, self.quantizer.per_group
        for _, quantized in self.quantizer.columns(box.start[-2], box.stop[-2], reader, step_sizes):
            yield QuantizedRows(
                _turned(quantized.words, step_sizes.implementation),
                name,
                quantized.sums,
                quantized.counts,
                per_group,
            )

    def describe(self) -> list[object]:
        """Return `["packed rows", ...]`."""
        return ["packed rows", *self.quantizer.describe()]


@dataclass(frozen=True, slots=True)
class ScaleRows(Transform):
    """Scales, `[out, group]`."""

    quantizer: GroupQuantizer

    def stream(self, box: Box, reader: ArraySource, step_sizes: StepSizes) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        for bits, _ in self.quantizer.found(box.start[-2], box.stop[-2], reader, step_sizes):
            yield bits

    def describe(self) -> list[object]:
        """Return `["scale rows", ...]`."""
        return ["scale rows", *self.quantizer.describe()]


@dataclass(frozen=True, slots=True)
class ZeroRows(Transform):
    """Zero points, packed along the outputs: `i32[out * bits / 32, group]`."""

    quantizer: GroupQuantizer

    def stream(self, box: Box, reader: ArraySource, step_sizes: StepSizes) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        scheme = self.quantizer.scheme
        first = box.start[-2] * scheme.per_word
        last = min(box.stop[-2] * scheme.per_word, self.quantizer.shape[1])
        zeros = [z for _, z in self.quantizer.found(first, last, reader, step_sizes)]
        padded = np.zeros((box.shape[-2] * scheme.per_word, box.shape[-1]), np.uint32)
        padded[: last - first] = np.concatenate(zeros)
        shifts = np.arange(scheme.per_word, dtype=np.uint32) * np.uint32(scheme.bits)
        lanes = padded.reshape(-1, scheme.per_word, box.shape[-1]) << shifts[:, None]
        yield np.bitwise_or.reduce(lanes, axis=1)

    def describe(self) -> list[object]:
        """Return `["zero rows", ...]`."""
        return ["zero rows", *self.quantizer.describe()]


@dataclass(frozen=True, slots=True)
class PackedColumns(Transform):
    """Codes, packed along the inputs: `i32[in * bits / 32, out]`."""

    quantizer: GroupQuantizer

    def stream(
        self, box: Box, reader: ArraySource, step_sizes: StepSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order; groups that it cuts are quantized whole.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if a scale does not fit.
        """
        name, per_group = self.quantizer.weight.name, self.quantizer.per_group
        rows = self.quantizer.rows_per_group
        low, high = box.start[-2] // rows, -(-box.stop[-2] // rows)
        for group, quantized in self.quantizer.rows(low, high, reader, step_sizes):
            skip = max(0, box.start[-2] - group * rows)
            words = _words(quantized.words, step_sizes.implementation)[
                skip : box.stop[-2] - group * rows
            ]
            yield QuantizedRows(
                words,
                name,
                quantized.sums,
                quantized.counts,
                per_group,
                by_group=True,
                rows_each=rows,
                first_row=-skip,
            )

    def describe(self) -> list[object]:
        """Return `["packed columns", ...]`."""
        return ["packed columns", *self.quantizer.describe()]


@dataclass(frozen=True, slots=True)
class ScaleColumns(Transform):
    """Scales, `[group, out]`."""

    quantizer: GroupQuantizer

    def stream(self, box: Box, reader: ArraySource, step_sizes: StepSizes) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        for bits, _ in self.quantizer.found_rows(box.start[-2], box.stop[-2], reader, step_sizes):
            yield bits

    def describe(self) -> list[object]:
        """Return `["scale columns", ...]`."""
        return ["scale columns", *self.quantizer.describe()]


@dataclass(frozen=True, slots=True)
class CodesRefitted(Transform):
    """New int8 codes `i8[out, in]` with zero point 0."""

    quantizer: GroupQuantizer

    def stream(
        self, box: Box, reader: ArraySource, step_sizes: StepSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order; errors are those of `PackedRows`."""
        name, per_group = self.quantizer.weight.name, self.quantizer.per_group
        for _, quantized in self.quantizer.columns(box.start[-2], box.stop[-2], reader, step_sizes):
            codes = _turned(quantized.words, step_sizes.implementation).view(np.uint8) ^ np.uint8(
                _MIDDLE
            )
            yield QuantizedRows(codes, name, quantized.sums, quantized.counts, per_group)

    def describe(self) -> list[object]:
        """Return `["codes refitted", ...]`."""
        return ["codes refitted", *self.quantizer.describe()]


def _turned(words: np.ndarray, implementation: Implementation) -> np.ndarray:
    """Return the packed codes transposed, `u32[out, in * bits / 32]`."""
    rows, columns = words.shape
    if words.dtype == np.uint8:
        octets = np.empty((columns, rows), np.uint8)
        twin(groupwise.turn_bytes, implementation)(words, octets)
        return octets.view("<u4")
    out = np.empty((columns, rows), np.uint32)
    twin(groupwise.turn_words, implementation)(words, out)
    return out


def _words(words: np.ndarray, implementation: Implementation) -> np.ndarray:
    """Return the packed codes as words, `u32[in * bits / 32, out]`."""
    if words.dtype == np.uint32:
        return words
    out = np.empty((len(words) // 4, words.shape[1]), np.uint32)
    twin(packing.interleave, implementation)(words, 0, out)
    return out
