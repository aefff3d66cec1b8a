"""Errors that ways of quantizing leave on samples of a weight, before anything is written.

A sample is a run of inputs and a few outputs, as many inputs as blocks and groups need. Samples are
spread evenly over a weight and all of its experts; small weights are measured whole. An error
reaches the output multiplied by the weight's input, so that each counts in proportion to the mean
square of that input where a calibration tells it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.layout import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from grokpack.kernels.dispatch import Implementation
    from grokpack.transforms.array_source import ArraySource
    from grokpack.transforms.source_weight import InputImportance, SourceWeight

    Trial = Callable[["WeightSample", Implementation], np.ndarray]
    """Quantizes a sample; returns the values that a reader will see, `f32[in, out]`."""

SAMPLED = 1 << 17
"""Weights of a tensor that are measured; tensors with fewer are measured whole."""
_ROWS = 256  # inputs of a sample: a multiple of all blocks of GGUF
_COLUMNS = 64
_GOLDEN = 0.6180339887498949  # its multiples, modulo 1, are spread evenly


@dataclass(frozen=True, slots=True)
class SampledInputs:
    """Importance of some inputs of one matrix, as quantizers take it.

    Attributes:
        importance: Importance of all inputs of the weight.
        matrix: Index in a stack of experts; None where there is no stack.
        rows: The inputs.
    """

    importance: InputImportance
    matrix: int | None
    rows: slice

    def of(self, _expert: int | None) -> np.ndarray:
        """Return the importance of the inputs, `f32[in]`."""
        return np.ascontiguousarray(self.importance.of(self.matrix)[self.rows])

    def measured(self, _expert: int | None) -> np.ndarray:
        """Return the mean squares of the inputs, `f32[in]`."""
        return np.ascontiguousarray(self.importance.measured(self.matrix)[self.rows])


@dataclass(frozen=True, slots=True)
class WeightSample:
    """Part of a weight, as quantizers take it.

    Attributes:
        values: `i8[in, out]` codes, or `f32[in, out]`.
        scales: `f32[group, out]`, of groups of equally many inputs; a row of ones for float32.
        importance: Importance of the inputs; None if all are equal.
    """

    values: np.ndarray
    scales: np.ndarray
    importance: SampledInputs | None

    def exact(self) -> np.ndarray:
        """Return the weights, `f32[in, out]`."""
        per_group = len(self.values) // len(self.scales)
        scales = self.scales.repeat(per_group, axis=0)
        products: np.ndarray = self.values.astype(np.float32) * scales
        return products

    def weighed(self, values: np.ndarray) -> float:
        """Sum squares of `f32[in, out]`, those of each input times its mean square."""
        by_input = np.square(values, dtype=np.float64).sum(axis=1)
        if self.importance is not None:
            by_input *= self.importance.measured(None)
        return float(by_input.sum())


@dataclass(frozen=True, slots=True)
class SampledErrors:
    """Errors on samples of a weight.

    Attributes:
        weights: Number of weights that were measured.
        relative: Weighed sum of squared errors by that of squared weights, by name of the trial.
    """

    weights: int
    relative: Mapping[str, float]


def measure(
    weight: SourceWeight,
    trials: Mapping[str, Trial],
    reader: ArraySource,
    implementation: Implementation,
    *,
    whole_columns: bool = False,
) -> SampledErrors:
    """Measure the errors of each trial on samples of a weight.

    Args:
        weight: The weight, with the importance of its inputs where that is known.
        trials: Ways to quantize it, by name.
        reader: The source of values.
        implementation: Implementation of each kernel.
        whole_columns: True to take all inputs of an output together, for scales of outputs.
    """
    squares, count = 0.0, 0
    errors = dict.fromkeys(trials, 0.0)
    for sample in _samples(weight, reader, whole_columns=whole_columns):
        exact = sample.exact()
        weight.refuse_not_finite(exact)
        count += exact.size
        squares += sample.weighed(exact)
        for name, trial in trials.items():
            errors[name] += sample.weighed(exact - trial(sample, implementation))
    return SampledErrors(
        count, {name: _short(error / squares) if squares else 0.0 for name, error in errors.items()}
    )


def _samples(
    weight: SourceWeight, reader: ArraySource, *, whole_columns: bool
) -> Iterator[WeightSample]:
    inputs, outputs = weight.shape
    rows = inputs if whole_columns or inputs % _ROWS else _ROWS
    columns = min(_COLUMNS, outputs)
    lead = () if weight.by_token else weight.tensor.values.shape[:-2]
    grid = (*lead, inputs // rows, -(-outputs // columns))
    wanted = max(math.prod(lead), SAMPLED // (rows * columns))
    for at in _spread(math.prod(grid), wanted):
        *matrix, row, column = (int(n) for n in np.unravel_index(at, grid))
        left = column * columns
        box = Box((row * rows, left), (rows, min(columns, outputs - left)))
        yield _sample(weight, tuple(matrix), box, reader)


def _spread(total: int, wanted: int) -> list[int]:
    """Return at most so many different numbers below `total`, spread evenly."""
    if total <= wanted:
        return list(range(total))
    return sorted({int((number + 0.5) * _GOLDEN % 1 * total) for number in range(wanted)})


def _sample(
    weight: SourceWeight, matrix: tuple[int, ...], box: Box, reader: ArraySource
) -> WeightSample:
    values, scales = weight.read(matrix, box, reader)
    _, scales = weight.aligned(box, scales)
    if weight.importance is None:
        return WeightSample(values, scales, None)
    rows = slice(box.start[0], box.stop[0])
    own = SampledInputs(weight.importance, matrix[0] if matrix else None, rows)
    return WeightSample(values, scales, own)


def _short(ratio: float) -> float:
    """Round to six digits, so that processors that add in another order choose alike."""
    return float(f"{ratio:.6g}")
