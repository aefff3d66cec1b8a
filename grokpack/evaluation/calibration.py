"""Calibration: mean squares of each weight's inputs, channel by channel, in a file.

The file is safetensors. For each weight of attention, MLP and experts, by its own name:

    NAME/mean_square   f32[in] or f32[expert, in]   mean squares of the weight's inputs
    NAME/tokens        i64[1] or i64[expert]        number of tokens in the mean

Its metadata has `format: grokpack-calibration`, `version: 1`, `tokens`, and in `source` the digest
of the checkpoint's headers. Quantization weighs the error of a weight by the mean square of its
input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.core.errors import UnusableValue
from grokpack.core.tensors import ArraySpec, DType
from grokpack.evaluation.network.experts import EXPERT
from grokpack.evaluation.network.layer import DENSE, KEY, QUERY, VALUE
from grokpack.formats import safetensors
from grokpack.formats.calibration_file import FORMAT, MEAN_SQUARE, TOKENS, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.evaluation.input_tokens import Inputs
    from grokpack.models.architecture import Part

_SAME_INPUTS: dict[Part, tuple[Part, ...]] = {
    QUERY: (QUERY, KEY, VALUE),
    EXPERT.gate: (EXPERT.gate, EXPERT.up),
    DENSE.gate: (DENSE.gate, DENSE.up),
}
"""Weights with the same inputs, by the one whose inputs are reported."""
_ROWS = 1024  # tokens summed at a time


class Calibration:
    """Collector of mean squares of inputs while a network runs, and writer of the file.

    Args:
        checkpoint: The checkpoint whose network runs.
        path: The file to write, which must not exist yet.

    Raises:
        GrokpackError: GP346 for another suffix, GP323 where the file exists.
    """

    def __init__(self, checkpoint: Checkpoint, path: str) -> None:
        if not path.endswith(safetensors.SUFFIX):
            what = f"--calibrate needs a file that ends in {safetensors.SUFFIX}, not `{path}`"
            raise UnusableValue(what)
        storage.refuse_existing(path)
        self._checkpoint, self._path = checkpoint, path
        self._sums: dict[tuple[int, Part, int | None], list[np.ndarray]] = {}
        self._counts: dict[tuple[int, Part, int | None], int] = {}

    def watch(self, layer: int) -> Callable[[Part, int | None, np.ndarray], None]:
        """Return the function that receives the inputs of a layer's matrices."""

        def see(name: Part, expert: int | None, x: np.ndarray) -> None:
            key = layer, name, expert
            # inner activations come in slices, one after another
            self._sums.setdefault(key, []).append(_squares(x))
            self._counts[key] = len(x)

        return see

    def write(self, inputs: Inputs) -> None:
        """Write the file, which appears when it is whole.

        Raises:
            GrokpackError: GP401 on a full disk, GP324 where it cannot be written.
        """
        arrays = self._arrays()
        specs = {
            name: ArraySpec(values.shape, DType.I64 if values.dtype.kind == "i" else DType.F32)
            for name, values in arrays.items()
        }
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "source": self._checkpoint.identity(),
            "tokens": str(inputs.batch.size),
        }
        header = safetensors.header_bytes(specs, metadata)
        at, size = len(header), sum(values.nbytes for values in arrays.values())
        safetensors.check_written(self._path, header, at + size)
        with storage.new_file(self._path, at + size) as writer:
            writer.write(0, memoryview(header))
            for values in arrays.values():
                writer.write(at, values.reshape(-1).view(np.uint8).data)
                at += values.nbytes

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return the file's arrays by name; counts first, since they are wider."""
        means: dict[str, np.ndarray] = {}
        counts: dict[str, np.ndarray] = {}
        for layer, name in dict.fromkeys((layer, name) for layer, name, _ in self._sums):
            mean, tokens = self._stacked(layer, name)
            for weight in _SAME_INPUTS.get(name, (name,)):
                full = self._checkpoint.model.tensor(weight, layer).name
                means[f"{full}/{MEAN_SQUARE}"] = mean
                counts[f"{full}/{TOKENS}"] = tokens
        return counts | means

    def _stacked(self, layer: int, name: Part) -> tuple[np.ndarray, np.ndarray]:
        """Return mean squares and counts of a weight; experts that no token chose have zeros."""
        if name not in EXPERT:
            count = self._counts[layer, name, None]
            mean = np.concatenate(self._sums[layer, name, None]) / count
            return mean.astype(np.float32), np.array([count], np.int64)
        experts = self._checkpoint.geometry.experts
        rule = self._checkpoint.model.family.rule(name)
        means = np.zeros((experts, self._checkpoint.geometry.shape(rule)[-2]), np.float32)
        counts = np.zeros(experts, np.int64)
        for expert in range(experts):
            key = layer, name, expert
            if key in self._sums:
                counts[expert] = self._counts[key]
                means[expert] = np.concatenate(self._sums[key]) / counts[expert]
        return means, counts


def _squares(x: np.ndarray) -> np.ndarray:
    """Sum the squares of `f32[T, d]` over tokens, `f64[d]`."""
    total = np.zeros(x.shape[1])
    for first in range(0, len(x), _ROWS):
        total += np.square(x[first : first + _ROWS]).sum(axis=0, dtype=np.float64)
    return total
