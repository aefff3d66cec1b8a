"""Importance of each input of a weight, from `evaluate --calibrate` or llama.cpp's imatrix.

An error in a weight reaches the output multiplied by the weight's input. It therefore counts in
proportion to the mean square of that input. A hundredth of the matrix's mean is added to each, so
that channels that were silent on the calibration's tokens still count.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.core.errors import GrokpackError, MalformedInput, Place
from grokpack.core.tensors import DType
from grokpack.formats import imatrix, safetensors
from grokpack.formats.calibration_file import FORMAT, MEAN_SQUARE, VERSION
from grokpack.storage import hashing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.tensors import TensorSpec
    from grokpack.formats.imatrix import InputSums
    from grokpack.formats.pickle import Bytes, StoredArray

_SILENT = 0.01  # of the matrix's mean, added to every input
_F32 = 4


@dataclass(frozen=True, slots=True)
class WeightImportance:
    """Importance of one weight's inputs.

    Attributes:
        path: The calibration file.
        offset: Byte of the file at which the weight's mean squares begin.
        shape: Shape of the mean squares, `[in]` or `[expert, in]`.
        counts: What each matrix's numbers are divided by; one may stand for all.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    counts: tuple[float, ...] = (1.0,)

    def of(self, expert: int | None) -> np.ndarray:
        """Return the importance of a matrix's inputs, `f32[in]`, 1 on average; ones if unknown."""
        squares = self._read(expert)
        if squares is None:
            return np.ones(self.shape[-1], np.float32)
        mean = np.float32(squares.mean(dtype=np.float64))
        weights: np.ndarray = squares / mean + np.float32(_SILENT)
        return weights

    def measured(self, expert: int | None) -> np.ndarray:
        """Return the mean squares of a matrix's inputs, `f32[in]`; ones if unknown."""
        squares = self._read(expert)
        return np.ones(self.shape[-1], np.float32) if squares is None else squares

    def _read(self, expert: int | None) -> np.ndarray | None:
        """Read the mean squares of a matrix's inputs; return None if they are none or all zero."""
        inputs = self.shape[-1]
        squares = np.empty(inputs, np.float32)
        at = self.offset + _F32 * inputs * (expert or 0)
        storage.read_into(self.path, at, squares.view(np.uint8).data)
        squares /= np.float32(self.counts[(expert or 0) % len(self.counts)] or np.nan)
        known = np.isfinite(squares).all() and squares.min() >= 0 and squares.max() > 0
        return squares if known else None


@dataclass(frozen=True, slots=True)
class Importance:
    """Importance of all weights, in a calibration file.

    Attributes:
        path: Path of the file.
        digest: sha256 of its bytes, hex; part of the plan.
        arrays: The arrays in it, by name.
        sums: Sums of an imatrix, by the names of the model's tensors; the file has no arrays then.
    """

    path: str
    digest: str
    arrays: Mapping[str, StoredArray]
    sums: Mapping[str, InputSums] = field(default_factory=dict)

    def of(self, tensor: TensorSpec) -> WeightImportance:
        """Return the importance of a weight's inputs.

        Raises:
            GrokpackError: GP344 if the file has none, or one of another shape.
        """
        wanted = tensor.values.shape[:-1]
        own = self.sums.get(tensor.name)
        if own is not None and own.numbers == math.prod(wanted):
            return WeightImportance(self.path, own.offset, wanted, own.counts)
        stored = self.arrays.get(f"{tensor.name}/{MEAN_SQUARE}")
        if stored is None or stored.spec.shape != wanted or stored.spec.dtype is not DType.F32:
            found = "nothing" if own is None else f"{own.numbers:,} numbers"
            found = found if stored is None else str(list(stored.spec.shape))
            facts = (("expected", f"f32{list(wanted)}"), ("found", found))
            what = f"the calibration does not fit: {tensor.name}"
            raise GrokpackError("GP344", what, Place(self.path), facts)
        return WeightImportance(self.path, stored.offset, stored.spec.shape)


def read(path: str, names: Mapping[str, str]) -> Importance:
    """Open a calibration file or an imatrix. Its numbers are read when they are needed.

    Args:
        path: The file.
        names: Names in GGUF by the names of the model's tensors.

    Raises:
        GrokpackError: GP344 if the file is not a calibration file.
    """
    if not storage.is_file(path):
        raise GrokpackError("GP344", "there is no such file", Place(path))
    data = storage.FileBytes(path)
    try:
        header = safetensors.read(data, path)
    except GrokpackError as error:
        sums = _imatrix(data, path)
        if sums is None:
            raise GrokpackError("GP344", f"no calibration: {error.what}", Place(path)) from error
        known = {name: sums[own] for name, own in names.items() if own in sums}
        return Importance(path, _digest(path, data), {}, known)
    if (header.metadata.get("format"), header.metadata.get("version")) != (FORMAT, VERSION):
        raise GrokpackError("GP344", "the file is no calibration of version 1", Place(path))
    return Importance(path, _digest(path, data), header.arrays)


def _imatrix(data: Bytes, path: str) -> dict[str, InputSums] | None:
    """Read llama.cpp's forms; return None for a file that is neither."""
    try:
        return imatrix.read(data, path)
    except MalformedInput:
        return None


def _digest(path: str, data: Bytes) -> str:
    """Return the sha256 of a file's bytes."""
    digest = hashlib.sha256()
    for piece in hashing.pieces(path, 0, data.size()):
        digest.update(piece)
    return digest.hexdigest()
