"""A second formula for what the weights are: unpickled by Python, multiplied head-on by numpy."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # pickles name it
import numpy as np

from grokpack.models.grok1 import GROK1


class _Weight:
    """Stands in for xAI's QuantizedWeight8bit."""

    weight: np.ndarray
    scales: np.ndarray


class _Loader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _Weight if name == "QuantizedWeight8bit" else super().find_class(module, name)


def exact_weights(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor in float32 by xAI's name; products of int8 and bf16 are exact in it."""
    return {name: _values(path) for name, path in _files(folder).items()}


def unpickled(folder: Path) -> dict[str, np.ndarray]:
    """Every array as the pickles hold it, by xAI's name; scales are `<name>/scales`."""
    arrays = {}
    for name, path in _files(folder).items():
        stored = _load(path)
        if isinstance(stored, np.ndarray):
            arrays[name] = stored
        else:
            arrays |= {name: stored.weight, f"{name}/scales": stored.scales}
    return arrays


def _files(folder: Path) -> dict[str, Path]:
    found = folder / "ckpt-0" if (folder / "ckpt-0").is_dir() else folder
    files = sorted(found.glob("tensor*_000"))
    entries = GROK1.tensors(GROK1.layers_of(len(files)))
    return {e.name: path for e, path in zip(entries, files, strict=True)}


def _load(path: Path) -> Any:
    with path.open("rb") as handle:
        return _Loader(handle).load()


def _values(path: Path) -> np.ndarray:
    stored = _load(path)
    if isinstance(stored, np.ndarray):
        return np.asarray(stored)
    weight, scales = stored.weight.astype(np.float32), stored.scales.astype(np.float32)
    product: np.ndarray = weight * np.repeat(scales, weight.shape[-2] // scales.shape[-2], axis=-2)
    return product
