"""Transforms that quantize weights and keep xAI's layout, `[..., in, out]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.transforms.packed_views import octet_rows
from grokpack.transforms.quantized_rows import QuantizedRows
from grokpack.transforms.quantizer import GroupQuantizer
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.layout import Box
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight
    from grokpack.transforms.step_sizes import StepSizes

_MIDDLE = 128  # unsigned 8-bit code of zero


@dataclass(frozen=True, slots=True)
class CodesInPlace(Transform):
    """Codes: signed, `i8[..., in, out]`; or unsigned, `u8[..., in * bits / 8, out]`.

    Attributes:
        weight: The source's weight.
        scheme: The quantization scheme, in groups of inputs; for signed codes 8 bits, symmetric.
        signed: True for signed codes.
    """

    operation: ClassVar[str] = "codes in place"
    weight: SourceWeight
    scheme: QuantizationScheme
    signed: bool

    def stream(
        self, box: Box, reader: ArraySource, step_sizes: StepSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order; groups that it cuts are quantized whole.

        Raises:
            GrokpackError: GP407 if a value is not finite, GP405 if a scale does not fit.
        """
        quantizer = quantizer_of(self.weight, self.scheme, box)
        rows = quantizer.per_group * self.scheme.bits // 8
        low, high = box.start[-2] // rows, -(-box.stop[-2] // rows)
        for group, quantized in quantizer.rows(low, high, reader, step_sizes):
            skip = max(0, box.start[-2] - group * rows)
            codes = (
                quantized.words
                if quantized.words.dtype == np.uint8
                else octet_rows(quantized.words)
            )
            if self.signed:
                codes = codes ^ np.uint8(_MIDDLE)
            yield QuantizedRows(
                codes[skip : box.stop[-2] - group * rows],
                self.weight.name,
                quantized.sums,
                quantized.counts,
                quantizer.per_group,
                by_group=True,
                rows_each=rows,
                first_row=-skip,
            )


@dataclass(frozen=True, slots=True)
class ScalesInPlace(Transform):
    """Scales, `[..., group, out]`.

    Attributes:
        weight: The source's weight.
        scheme: The quantization scheme, in groups of inputs.
    """

    operation: ClassVar[str] = "steps in place"
    weight: SourceWeight
    scheme: QuantizationScheme

    def stream(self, box: Box, reader: ArraySource, step_sizes: StepSizes) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        quantizer = quantizer_of(self.weight, self.scheme, box)
        for bits, _ in quantizer.found_rows(box.start[-2], box.stop[-2], reader, step_sizes):
            yield bits


@dataclass(frozen=True, slots=True)
class ZerosInPlace(Transform):
    """Zero points, `u8[..., group, out]`.

    Attributes:
        weight: The source's weight.
        scheme: The quantization scheme, in groups of inputs.
    """

    operation: ClassVar[str] = "zeros in place"
    weight: SourceWeight
    scheme: QuantizationScheme

    def stream(self, box: Box, reader: ArraySource, step_sizes: StepSizes) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        quantizer = quantizer_of(self.weight, self.scheme, box)
        for _, zeros in quantizer.found_rows(box.start[-2], box.stop[-2], reader, step_sizes):
            yield zeros


def quantizer_of(
    weight: SourceWeight, scheme: QuantizationScheme, box: Box, expert: int | None = None
) -> GroupQuantizer:
    """Return the quantizer of the matrix of a box, or of an expert."""
    lead = box.start[:-2]
    return GroupQuantizer(weight, lead[0] if lead else expert, scheme)
