"""Quantization of a weight's matrix to FP8, with a scale for each block of inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.layout import Box
from grokpack.kernels import fp8
from grokpack.kernels.dispatch import twin
from grokpack.transforms.quantization_scheme import METHODS
from grokpack.transforms.quantizer import KEPT_TOGETHER, aligned_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.buffer_sizes import BufferSizes
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

CHUNK = fp8.LANES
"""Outputs that are quantized together at least, and whose scales are cached together."""


@dataclass(frozen=True, slots=True)
class Fp8Codes:
    """Codes and scales of some outputs.

    Attributes:
        codes: `u8[out, in]`.
        scales: Scales of blocks, `f32[out, in]`.
        sums: Sums of x^2, e^2 and x * e of each block, `f32[3, out, in]`.
        counts: Codes at an end, and values that became zero, of each block, `i32[2, out, in]`.
    """

    codes: np.ndarray
    scales: np.ndarray
    sums: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True, slots=True)
class _Band:
    """Some outputs of a matrix as they were read.

    Attributes:
        values: Values as `kernels.fp8.quantize` takes them, `[in, out]` or `[out, in]`.
        scales: Their scales, ones but for int8.
        per_scale: Inputs that share one.
        turned: True for `[out, in]`.
    """

    values: np.ndarray
    scales: np.ndarray
    per_scale: int
    turned: bool


@dataclass(frozen=True, slots=True)
class Fp8Quantizer:
    """Quantizer of one matrix.

    Attributes:
        weight: The source's weight, `[..., in, out]`.
        expert: The expert of a stack; None without a stack.
        scheme: The quantization scheme.
        part: First input and number of inputs to quantize, whole blocks; None for all.
    """

    weight: SourceWeight
    expert: int | None
    scheme: QuantizationScheme
    part: tuple[int, int] | None = None

    @property
    def inputs(self) -> tuple[int, int]:
        """First input, and number of inputs."""
        return self.part or (0, self.weight.shape[0])

    @property
    def block(self) -> tuple[int, int]:
        """Outputs and inputs of a block."""
        return self.scheme.outputs, self.scheme.inputs_per_group(self.weight.shape[0])

    def batches(
        self, first: int, last: int, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[tuple[int, Fp8Codes]]:
        """Yield outputs `first` to `last` in batches of whole chunks, each with its first output.

        Raises:
            GrokpackError: GP407 if a value is not finite.
        """
        row, inputs = self.inputs
        width = _whole_chunks(buffer_sizes.band_bytes // (inputs * self.weight.value_bytes))
        height = _whole_chunks(buffer_sizes.step_bytes // inputs)
        for left, right in aligned_ranges(first, last, width):
            band = self._read(Box((row, left), (inputs, right - left)), reader)
            for begin, end in aligned_ranges(left, right, height):
                made = self._quantize(band, begin - left, end - begin, buffer_sizes)
                self.weight.refuse_not_finite(made.sums[0])
                self._remember(begin, made.scales, reader)
                yield begin, made

    def scales(
        self, first: int, last: int, reader: ArraySource, buffer_sizes: BufferSizes
    ) -> Iterator[np.ndarray]:
        """Yield scales of the blocks of outputs `first` to `last`, some chunks at a time."""
        cached, outputs = reader.cache.numbered(self), self.weight.shape[1]
        for begin, end in aligned_ranges(first, last, KEPT_TOGETHER):
            chunks = range(begin // CHUNK, -(-end // CHUNK))
            kept = cached.take_all(chunks)
            if kept is None:
                whole = chunks.start * CHUNK, min(chunks.stop * CHUNK, outputs)
                batches = self.batches(*whole, reader, buffer_sizes)
                kept = (np.concatenate([made.scales for _, made in batches]),)
            low = begin % CHUNK // self.scheme.outputs
            yield kept[0][low : low + -(-(end - begin) // self.scheme.outputs)]

    def _read(self, box: Box, reader: ArraySource) -> _Band:
        lead = () if self.expert is None else (self.expert,)
        values, scales, turned = self.weight.read_as_stored(lead, box, reader)
        per_scale, scales = self.weight.aligned(box, scales)
        return _Band(values, scales, per_scale, turned)

    def _quantize(self, band: _Band, first: int, count: int, buffer_sizes: BufferSizes) -> Fp8Codes:
        """Quantize some outputs of a band, in the order in which its values lie."""
        outputs, inputs = self.block
        if not band.turned:
            made = self._run(band, first, count, (inputs, outputs), buffer_sizes)
            turned = (array.swapaxes(-1, -2) for array in (made.scales, made.sums, made.counts))
            return Fp8Codes(made.codes.T, *map(np.ascontiguousarray, turned))
        part = _Band(band.values[first : first + count], band.scales, band.per_scale, turned=True)
        if outputs > 1:
            return self._run(part, 0, part.values.shape[1], (outputs, inputs), buffer_sizes)
        return self._by_output(part, buffer_sizes)

    def _by_output(self, band: _Band, buffer_sizes: BufferSizes) -> Fp8Codes:
        """Quantize outputs that lie side by side, each group of inputs folded to a block."""
        count, every = band.values.shape
        inputs = self.block[1]
        lanes = min(inputs & -inputs, fp8.LANES)  # the largest power of two that divides them
        folded = _Band(band.values.reshape(-1, lanes), band.scales[:, :lanes], 1, turned=True)
        made = self._run(folded, 0, lanes, (inputs // lanes, lanes), buffer_sizes)
        groups = every // inputs
        return Fp8Codes(
            made.codes.reshape(count, every),
            made.scales.reshape(count, groups),
            made.sums.reshape(-1, count, groups),
            made.counts.reshape(-1, count, groups),
        )

    def _run(
        self,
        band: _Band,
        column: int,
        columns: int,
        block: tuple[int, int],
        buffer_sizes: BufferSizes,
    ) -> Fp8Codes:
        """Run the kernel on some columns of a band; the result is oriented as the band is.

        In memory, an output's codes lie side by side whatever the orientation.
        """
        rows = len(band.values)
        shape = -(-rows // block[0]), -(-columns // block[1])
        made = Fp8Codes(
            np.empty((rows, columns), np.uint8, order="C" if band.turned else "F"),
            np.empty(shape, np.float32),
            np.empty((3, *shape), np.float32),
            np.empty((2, *shape), np.int32),
        )
        twin(fp8.quantize, buffer_sizes.implementation)(
            band.values, band.scales, column, band.per_scale, *block, METHODS[self.scheme.method],
            made.codes, made.scales, made.sums, made.counts,
        )  # fmt: skip
        return made

    def _remember(self, begin: int, scales: np.ndarray, reader: ArraySource) -> None:
        """Cache the scales of whole chunks."""
        cached, each = reader.cache.numbered(self), CHUNK // self.scheme.outputs
        for chunk, at in enumerate(range(0, len(scales), each), begin // CHUNK):
            cached.put(chunk, (scales[at : at + each].copy(),))


def _whole_chunks(outputs: int) -> int:
    """Round a number of outputs down to whole chunks, at least one."""
    return max(CHUNK, outputs // CHUNK * CHUNK)
