"""Calibration: mean squares of each weight's inputs, channel by channel, in a file.

A file in `.safetensors` has for each weight of attention, MLP and experts, by its own name:

    NAME/mean_square   f32[in] or f32[expert, in]   mean squares of the weight's inputs
    NAME/tokens        i64[1] or i64[expert]        number of tokens in the mean

Its metadata has `format: grokpack-calibration`, `version: 1`, `tokens`, and in `source` the digest
of the checkpoint's headers. A file in `.gguf` is an importance matrix of llama.cpp, with sums in
place of means and GGUF's names. Quantization weighs the error of a weight by the mean square of its
input.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.core import optional_imports
from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.core.layout import Literal
from grokpack.core.tensors import ArraySpec, DType
from grokpack.evaluation.network.experts import EXPERT
from grokpack.evaluation.network.layer import DENSE, KEY, QUERY, VALUE
from grokpack.formats import gguf, imatrix, safetensors
from grokpack.formats.calibration_file import FORMAT, MEAN_SQUARE, TOKENS, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.evaluation.input_tokens import Inputs
    from grokpack.models.architecture import ModelTensor, NetworkPart

_SAME_INPUTS: dict[NetworkPart, tuple[NetworkPart, ...]] = {
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
        path: The file to write, which must not exist yet; its suffix gives the format.

    Raises:
        GrokpackError: GP346 for another suffix, GP323 where the file exists; for GGUF also GP306
            where llama.cpp has no names for the weights, and GP307 where the package is missing.
    """

    def __init__(self, checkpoint: Checkpoint, path: str) -> None:
        self._writes = self._formats().get(PurePath(path).suffix)
        if self._writes is None:
            what = f"--calibrate needs a file that ends in {' or '.join(self._formats())}"
            raise UnusableValue(f"{what}, not `{path}`")
        storage.refuse_existing(path)
        if path.endswith(imatrix.SUFFIX):
            _refuse_gguf(checkpoint)
        self._checkpoint, self._path = checkpoint, path
        self._sums: dict[tuple[int, NetworkPart, int | None], list[np.ndarray]] = {}
        self._counts: dict[tuple[int, NetworkPart, int | None], int] = {}

    def _formats(self) -> dict[str, Callable[[Inputs, str], None]]:
        return {safetensors.SUFFIX: self._write_means, imatrix.SUFFIX: self._write_sums}

    def watch(self, layer: int) -> Callable[[NetworkPart, int | None, np.ndarray], None]:
        """Return the function that receives the inputs of a layer's matrices."""

        def see(name: NetworkPart, expert: int | None, x: np.ndarray) -> None:
            key = layer, name, expert
            # inner activations come in slices, one after another
            self._sums.setdefault(key, []).append(_squares(x))
            self._counts[key] = len(x)

        return see

    def write(self, inputs: Inputs, dataset: str) -> None:
        """Write the file, which appears when it is whole.

        Args:
            inputs: The tokens that went through the network.
            dataset: The file that they came from.

        Raises:
            GrokpackError: GP401 on a full disk, GP324 where it cannot be written.
        """
        assert self._writes is not None  # noqa: S101  # the constructor has refused other suffixes
        self._writes(inputs, dataset)

    def _write_means(self, inputs: Inputs, _dataset: str) -> None:
        """Write means as safetensors; counts first, since they are wider."""
        means: dict[str, np.ndarray] = {}
        counts: dict[str, np.ndarray] = {}
        for entry, sums, tokens in self._measured():
            mean = sums / np.maximum(tokens, 1)[:, None]
            mean = mean.astype(np.float32)
            means[f"{entry.name}/{MEAN_SQUARE}"] = mean if entry.rule.stacked else mean[0]
            counts[f"{entry.name}/{TOKENS}"] = tokens
        arrays = counts | means
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
        size = len(header) + sum(values.nbytes for values in arrays.values())
        safetensors.check_written(self._path, header, size)
        self._write([header, *map(_bytes_of, arrays.values())])

    def _write_sums(self, inputs: Inputs, dataset: str) -> None:
        """Write sums as llama.cpp's importance matrix."""
        arrays: dict[str, np.ndarray] = {}
        for entry, sums, tokens in sorted(self._measured(), key=lambda row: row[0].gguf):
            arrays |= imatrix.arrays(entry.gguf, sums, tokens)
        chunk = max(map(len, inputs.sequences))
        chunks = imatrix.TextChunks(PurePath(dataset).name, inputs.batch.size // chunk, chunk)
        file = imatrix.lay_out(self._path, arrays, chunks)
        pieces = (
            part.data if isinstance(part, Literal) else _bytes_of(arrays[part.array])
            for part in file.segments
        )
        self._write(list(pieces))

    def _write(self, pieces: list[bytes | memoryview]) -> None:
        at = 0
        with storage.new_file(self._path, sum(map(len, pieces))) as writer:
            for piece in pieces:
                writer.write(at, memoryview(piece))
                at += len(piece)

    def _measured(self) -> Iterator[tuple[ModelTensor, np.ndarray, np.ndarray]]:
        """Yield each weight, sums of its inputs' squares `f64[matrix, in]`, and their counts."""
        for layer, name in dict.fromkeys((layer, name) for layer, name, _ in self._sums):
            sums, tokens = self._stacked(layer, name)
            for part in _SAME_INPUTS.get(name, (name,)):
                yield self._checkpoint.model.tensor(part, layer), sums, tokens

    def _stacked(self, layer: int, name: NetworkPart) -> tuple[np.ndarray, np.ndarray]:
        """Return sums and counts of a weight; experts that no token chose have zeros."""
        geometry, rule = self._checkpoint.geometry, self._checkpoint.model.family.rule(name)
        experts = range(geometry.experts) if name in EXPERT else (None,)
        sums = np.zeros((len(experts), geometry.shape(rule)[-2]))
        tokens = np.zeros(len(experts), np.int64)
        for row, expert in enumerate(experts):
            key = layer, name, expert
            if key in self._sums:
                sums[row], tokens[row] = np.concatenate(self._sums[key]), self._counts[key]
        return sums, tokens


def _refuse_gguf(checkpoint: Checkpoint) -> None:
    """Refuse before the network runs that the file cannot be written.

    Raises:
        GrokpackError: GP306 where llama.cpp has no names for the weights, GP307 where the package
            is missing.
    """
    optional_imports.import_extra("gguf", gguf.EXTRA)
    if not all(entry.gguf for entry in checkpoint.model.tensors() if entry.rule.quantized):
        title = checkpoint.model.family.title
        raise GrokpackError("GP306", f"llama.cpp has no names for the weights of {title}")


def _bytes_of(values: np.ndarray) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _squares(x: np.ndarray) -> np.ndarray:
    """Sum the squares of `f32[T, d]` over tokens, `f64[d]`."""
    total = np.zeros(x.shape[1])
    for first in range(0, len(x), _ROWS):
        total += np.square(x[first : first + _ROWS]).sum(axis=0, dtype=np.float64)
    return total
