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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.layout import Box
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.quantizer import GroupQuantizer
    from grokpack.transforms.step_sizes import StepSizes


_MIDDLE = 128  # unsigned 8-bit code of zero


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Codes, packed along the inputs: `i32[out, in * bits / 32]`."""

    fitter: GroupQuantizer

    def stream(
        self, box: Box, reader: ArraySource, step_sizes: StepSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if a scale does not fit.
        """
        name, per_group = self.fitter.weight.name, self.fitter.per_group
        for _, fit in self.fitter.columns(box.start[-2], box.stop[-2], reader, step_sizes):
            yield QuantizedRows(
                _turned(fit.words, step_sizes.implementation), name, fit.sums, fit.counts, per_group
            )

    def describe(self) -> list[object]:
        """Return `["packed rows", ...]`."""
        return ["packed rows", *self.fitter.describe()]


@dataclass(frozen=True, slots=True)
class ScaleRows:
    """Scales, `[out, group]`."""

    fitter: GroupQuantizer

    def stream(self, box: Box, reader: ArraySource, step_sizes: StepSizes) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        for bits, _ in self.fitter.found(box.start[-2], box.stop[-2], reader, step_sizes):
            yield bits

    def describe(self) -> list[object]:
        """Return `["scale rows", ...]`."""
        return ["scale rows", *self.fitter.describe()]


@dataclass(frozen=True, slots=True)
class ZeroRows:
    """Zero points, packed along the outputs: `i32[out * bits / 32, group]`."""

    fitter: GroupQuantizer

    def stream(self, box: Box, reader: ArraySource, step_sizes: StepSizes) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        recipe = self.fitter.recipe
        first = box.start[-2] * recipe.per_word
        last = min(box.stop[-2] * recipe.per_word, self.fitter.shape[1])
        zeros = [z for _, z in self.fitter.found(first, last, reader, step_sizes)]
        padded = np.zeros((box.shape[-2] * recipe.per_word, box.shape[-1]), np.uint32)
        padded[: last - first] = np.concatenate(zeros)
        shifts = np.arange(recipe.per_word, dtype=np.uint32) * np.uint32(recipe.bits)
        lanes = padded.reshape(-1, recipe.per_word, box.shape[-1]) << shifts[:, None]
        yield np.bitwise_or.reduce(lanes, axis=1)

    def describe(self) -> list[object]:
        """Return `["zero rows", ...]`."""
        return ["zero rows", *self.fitter.describe()]


@dataclass(frozen=True, slots=True)
class PackedColumns:
    """Codes, packed along the inputs: `i32[in * bits / 32, out]`."""

    fitter: GroupQuantizer

    def stream(
        self, box: Box, reader: ArraySource, step_sizes: StepSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order; the groups of its first and last row are fitted whole.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if a scale does not fit.
        """
        name, per_group = self.fitter.weight.name, self.fitter.per_group
        rows = self.fitter.rows_per_group
        low, high = box.start[-2] // rows, -(-box.stop[-2] // rows)
        for group, fit in self.fitter.rows(low, high, reader, step_sizes):
            skip = max(0, box.start[-2] - group * rows)
            words = _words(fit.words, step_sizes.implementation)[skip : box.stop[-2] - group * rows]
            yield QuantizedRows(
                words,
                name,
                fit.sums,
                fit.counts,
                per_group,
                by_group=True,
                rows_each=rows,
                first_row=-skip,
            )

    def describe(self) -> list[object]:
        """Return `["packed columns", ...]`."""
        return ["packed columns", *self.fitter.describe()]


@dataclass(frozen=True, slots=True)
class ScaleColumns:
    """Scales, `[group, out]`."""

    fitter: GroupQuantizer

    def stream(self, box: Box, reader: ArraySource, step_sizes: StepSizes) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        for bits, _ in self.fitter.found_rows(box.start[-2], box.stop[-2], reader, step_sizes):
            yield bits

    def describe(self) -> list[object]:
        """Return `["scale columns", ...]`."""
        return ["scale columns", *self.fitter.describe()]


@dataclass(frozen=True, slots=True)
class CodesRefitted:
    """New int8 codes `i8[out, in]` with zero point 0."""

    fitter: GroupQuantizer

    def stream(
        self, box: Box, reader: ArraySource, step_sizes: StepSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order; errors are those of `PackedRows`."""
        name, per_group = self.fitter.weight.name, self.fitter.per_group
        for _, fit in self.fitter.columns(box.start[-2], box.stop[-2], reader, step_sizes):
            codes = _turned(fit.words, step_sizes.implementation).view(np.uint8) ^ np.uint8(_MIDDLE)
            yield QuantizedRows(codes, name, fit.sums, fit.counts, per_group)

    def describe(self) -> list[object]:
        """Return `["codes refitted", ...]`."""
        return ["codes refitted", *self.fitter.describe()]


def _turned(words: np.ndarray, implementation: Implementation) -> np.ndarray:
    """Return the packed codes of a fit transposed, `u32[out, in * bits / 32]`."""
    rows, columns = words.shape
    if words.dtype == np.uint8:
        octets = np.empty((columns, rows), np.uint8)
        twin(groupwise.turn_bytes, implementation)(words, octets)
        return octets.view("<u4")
    out = np.empty((columns, rows), np.uint32)
    twin(groupwise.turn_words, implementation)(words, out)
    return out


def _words(words: np.ndarray, implementation: Implementation) -> np.ndarray:
    """Return the packed codes of a fit as words, `u32[in * bits / 32, out]`."""
    if words.dtype == np.uint32:
        return words
    out = np.empty((len(words) // 4, words.shape[1]), np.uint32)
    twin(packing.interleave, implementation)(words, 0, out)
    return out
