"""Synthetic weights: random arrays of the magnitudes that a trained model has, or zeros."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.tensors import DType, scales_name
from grokpack.transforms import copies, random_values

if TYPE_CHECKING:
    from grokpack.core.tensors import ArraySpec, Shape, TensorSpec
    from grokpack.models.architecture import Geometry, ModelTensor
    from grokpack.transforms.protocols import LazyArray

EMBEDDING_RMS = 0.0128  # of the release, by published measurements
_SCALE_SPREAD = 0.1  # relative; scales stay positive: the noise ends at 2 * sqrt(3)
_NORM_SPREAD = 0.1
_SHARP = 7.0  # added to the mean of the last norm, so that predictions are sharp


def zeros(arrays: dict[str, ArraySpec]) -> dict[str, LazyArray]:
    """Return zeros for each array."""
    return {name: copies.Constant(0, array.dtype.itemsize) for name, array in arrays.items()}


@dataclass(frozen=True, slots=True)
class SyntheticWeights:
    """Maker of the arrays of a model.

    Attributes:
        geometry: Dimensions of the model.
        seed: Seed of the weights.
        uneven: How much layers, roles and channels differ, from 0 to 1. Weights then have outliers,
            more in some tensors than in others; norms let some channels through more than others,
            and some halves of layers add more to the stream; predictions are sharp.
    """

    geometry: Geometry
    seed: int
    uneven: float = 0.0

    def weights(self, entry: ModelTensor, tensor: TensorSpec) -> dict[str, LazyArray]:
        """Return the arrays of a tensor as xAI's code has it: codes with scales, or floats."""
        name, shape = tensor.name, tensor.values.shape
        if tensor.scales is None:
            return {name: self.floats(name, tensor.values, entry)}
        tail = self._tail(entry)
        mean = 1 / (random_values.code_rms(tail) * math.sqrt(shape[-2]))
        scales, spread = scales_name(name), mean * _SCALE_SPREAD
        return {
            name: random_values.RandomCodes(name, shape, self.seed, tail),
            scales: random_values.RandomFloats(
                scales, tensor.scales.shape, self.seed, mean, spread, bf16=True
            ),
        }

    def floats(self, name: str, array: ArraySpec, entry: ModelTensor) -> random_values.RandomFloats:
        """Return a floating-point array of a tensor's magnitude, in any orientation."""
        mean, spread = self._magnitude(entry)
        bf16 = array.dtype is DType.BF16
        return random_values.RandomFloats(
            name, array.shape, self.seed, mean, spread, bf16, self._tail(entry)
        )

    def in_slices(self, name: str, array: ArraySpec, slices: int, entry: ModelTensor) -> LazyArray:
        """Return a matrix like `floats`, of which any slice of columns can be made alone."""
        rows, columns = array.shape
        width = columns // slices
        shape: Shape = (slices, rows, width)
        drawn = self.floats(name, type(array)(shape, array.dtype), entry)
        return copies.SideBySide(drawn, width)

    def _magnitude(self, entry: ModelTensor) -> tuple[float, float]:
        """Return mean and spread of a tensor's values."""
        if entry.rule.role == "embedding":
            return 0.0, EMBEDDING_RMS
        if entry.rule.part == "final_norm":
            return 1.0 + _SHARP * self.uneven, _NORM_SPREAD
        if entry.rule.role == "norm":
            mean = 2 ** (self.uneven * (2 * self._draw(entry, "mean") - 1))
            return mean, _NORM_SPREAD * (1 + 3 * self.uneven) * mean
        geometry = self.geometry
        inputs = geometry.d_model if entry.rule.role == "head" else geometry.shape(entry.rule)[-2]
        return 0.0, 1 / math.sqrt(inputs)

    def _tail(self, entry: ModelTensor) -> float:
        """Return how far the outliers of a tensor are."""
        return round(self.uneven * self._draw(entry, "tail"), 3)

    def _draw(self, entry: ModelTensor, what: str) -> float:
        """Return a number from 0 to 1 that layers and roles share with no other."""
        return zlib.crc32(f"{self.seed} {entry.name} {what}".encode()) / 0xFFFFFFFF
