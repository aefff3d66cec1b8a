"""Arrays that a weight becomes in FP8: codes, and scales of blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.transforms.fp8_quantizer import CHUNK, Fp8Quantizer
from grokpack.transforms.quantized_rows import QuantizedRows
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.layout import Box
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.fp8_quantizer import Fp8Codes
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight


@dataclass(frozen=True, slots=True)
class _Fp8Array(Transform):
    """Base of both arrays of a weight, which are found together.

    Attributes:
        weight: The source's weight, `[..., in, out]`.
        scheme: The quantization scheme.
        expert: The expert of a stack; None without a stack.
    """

    quantizes: ClassVar[bool] = True
    caches_scales: ClassVar[bool] = True
    weight: SourceWeight
    scheme: QuantizationScheme
    expert: int | None = None

    def quantizer(self, first: int, count: int) -> Fp8Quantizer:
        """Return the quantizer of some inputs."""
        inputs = self.weight.shape[0]
        part = None if count >= inputs else (first, min(count, inputs - first))
        return Fp8Quantizer(self.weight, self.expert, self.scheme, part)

    def describe(self) -> list[object]:
        """Return operation, weight, expert and scheme, as JSON."""
        return [self.operation, self.weight.name, self.expert, self.scheme.describe()]


@dataclass(frozen=True, slots=True)
class Fp8Weight(_Fp8Array):
    """Codes, `f8_e4m3[out, in]`."""

    operation: ClassVar[str] = "fp8"

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[QuantizedRows]:
        """Yield rows of the box, in order; chunks that it cuts are quantized whole.

        Raises:
            GrokpackError: GP407 if a value is not finite.
        """
        quantizer = self.quantizer(box.start[-1], box.shape[-1])
        outputs = self.weight.shape[1]
        first = box.start[-2] // CHUNK * CHUNK
        last = min(-(-box.stop[-2] // CHUNK) * CHUNK, outputs)
        for begin, made in quantizer.batches(first, last, reader, buffer_sizes):
            skip = max(0, box.start[-2] - begin)
            if self.scheme.outputs > 1:
                yield self._blocks(quantizer, made, slice(skip, box.stop[-2] - begin))
            else:
                yield self._outputs(quantizer, made, slice(skip, box.stop[-2] - begin))

    def _blocks(self, quantizer: Fp8Quantizer, made: Fp8Codes, rows: slice) -> QuantizedRows:
        """Return rows of blocks that have several outputs."""
        outputs, inputs = quantizer.block
        sizes = np.outer(_sizes(len(made.codes), outputs), _sizes(quantizer.inputs[1], inputs))
        return QuantizedRows(
            made.codes[rows],
            self.weight.name,
            made.sums,
            made.counts,
            sizes,
            by_group=True,
            rows_each=outputs,
            first_row=-rows.start,
        )

    def _outputs(self, quantizer: Fp8Quantizer, made: Fp8Codes, rows: slice) -> QuantizedRows:
        """Return rows of outputs that have scales of their own."""
        sums, counts = (array[:, rows].swapaxes(-1, -2) for array in (made.sums, made.counts))
        return QuantizedRows(made.codes[rows], self.weight.name, sums, counts, quantizer.block[1])


@dataclass(frozen=True, slots=True)
class Fp8Scales(_Fp8Array):
    """Scales of blocks, `f32[out, in]`, by which codes are multiplied."""

    operation: ClassVar[str] = "fp8 scales"

    def stream(
        self, box: Box, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield rows of the box, in order."""
        outputs, inputs = Fp8Quantizer(self.weight, self.expert, self.scheme).block
        quantizer = self.quantizer(box.start[-1] * inputs, box.shape[-1] * inputs)
        first, last = box.start[-2] * outputs, min(box.stop[-2] * outputs, self.weight.shape[1])
        yield from quantizer.scales(first, last, reader, buffer_sizes)


def _sizes(length: int, each: int) -> np.ndarray:
    """Return the lengths of the parts of a length, the last perhaps shorter."""
    return np.minimum(each, length - np.arange(0, length, each))
