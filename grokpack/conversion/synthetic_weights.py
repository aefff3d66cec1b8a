"""Synthetic weights: random arrays of the magnitudes that a trained model has, or zeros."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grokpack.core.tensors import DType, scales_name
from grokpack.transforms import copies, random_values

if TYPE_CHECKING:
    from grokpack.core.tensors import ArraySpec, Shape, TensorSpec
    from grokpack.models.architecture import Geometry, ModelTensor
    from grokpack.transforms.protocols import LazyArray

EMBEDDING_RMS = 0.0128  # of the release, by published measurements
_SCALE_SPREAD = 0.1  # relative; scales stay positive: the noise ends at 2 * sqrt(3)


def zeros(arrays: dict[str, ArraySpec]) -> dict[str, LazyArray]:
    """Return zeros for each array."""
    return {name: copies.Constant(0, array.dtype.itemsize) for name, array in arrays.items()}


def weights(
    entry: ModelTensor, tensor: TensorSpec, geometry: Geometry, seed: int
) -> dict[str, LazyArray]:
    """Return the arrays of a tensor as xAI's code has it: codes with scales, or floats."""
    name, shape = tensor.name, tensor.values.shape
    if tensor.scales is None:
        return {name: floats(name, tensor.values, entry, geometry, seed)}
    mean = 1 / (random_values.CODE_RMS * math.sqrt(shape[-2]))
    scales, spread = scales_name(name), mean * _SCALE_SPREAD
    return {
        name: random_values.RandomCodes(name, shape, seed),
        scales: random_values.RandomFloats(
            scales, tensor.scales.shape, seed, mean, spread, bf16=True
        ),
    }


def floats(
    name: str, array: ArraySpec, entry: ModelTensor, geometry: Geometry, seed: int
) -> random_values.RandomFloats:
    """Return a floating-point array of a tensor's magnitude, in any orientation."""
    mean, spread = _magnitude(entry, geometry)
    bf16 = array.dtype is DType.BF16
    return random_values.RandomFloats(name, array.shape, seed, mean, spread, bf16=bf16)


def in_slices(
    name: str, array: ArraySpec, slices: int, entry: ModelTensor, geometry: Geometry, seed: int
) -> LazyArray:
    """Return a matrix like `floats`, of which any slice of columns can be made alone."""
    rows, columns = array.shape
    width = columns // slices
    shape: Shape = (slices, rows, width)
    drawn = floats(name, type(array)(shape, array.dtype), entry, geometry, seed)
    return copies.SideBySide(drawn, width)


def _magnitude(entry: ModelTensor, geometry: Geometry) -> tuple[float, float]:
    """Return mean and spread of a tensor's values."""
    if entry.rule.role == "embedding":
        return 0.0, EMBEDDING_RMS
    if entry.rule.role == "norm":
        return 1.0, 0.1
    inputs = geometry.d_model if entry.rule.role == "head" else geometry.shape(entry.rule)[-2]
    return 0.0, 1 / math.sqrt(inputs)
