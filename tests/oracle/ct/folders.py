"""Folders that `grokpack quantize` writes, read by `tests.support.packed_formula`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.models.grok1 import GROK1
from tests.support import packed_formula
from tests.support.weight_formula import exact_weights

if TYPE_CHECKING:
    from grokpack.models.architecture import ModelTensor
    from tests.oracle import forward


@dataclass(frozen=True)
class Part:
    """One matrix: its module in the folder, xAI's entry, its exact values `f32[out, in]`."""

    module: str
    entry: ModelTensor
    expert: int | None
    exact: np.ndarray


class Folder:
    """A quantized folder beside the checkpoint that it was made of."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path = path
        self.source = source

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads((self.path / "config.json").read_text(encoding="utf-8"))

    @property
    def quantization(self) -> dict[str, Any]:
        return self.config["quantization_config"]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        return packed_formula.arrays(self.path)

    @cached_property
    def names(self) -> str:
        head = "layers.0.attn."
        return "hpcai" if any(head in name for name in self.arrays) else "sglang"

    @cached_property
    def exact(self) -> dict[str, np.ndarray]:
        return exact_weights(self.source)

    @property
    def layers(self) -> int:
        return self.config["num_hidden_layers"]

    def parts(self) -> Iterator[Part]:
        """Every matrix that can be quantized."""
        for entry in GROK1.tensors(self.layers):
            if not entry.rule.quantized:
                continue
            values = self.exact[entry.name]
            stack = enumerate(values) if values.ndim == 3 else [(None, values)]
            for expert, matrix in stack:
                base = packed_formula.module(self.names, entry, expert)
                yield Part(base, entry, expert, np.ascontiguousarray(matrix.T))

    def packed(self, module: str) -> bool:
        return any(f"{module}.{part}" in self.arrays for part in ("weight_packed", "qweight"))

    def bits(self, module: str) -> int:
        """Bits of a weight: 16 where it is not quantized."""
        if f"{module}.weight_shape" in self.arrays:
            inputs = int(self.arrays[f"{module}.weight_shape"][1])
            return self.arrays[f"{module}.weight_packed"].shape[1] * 32 // inputs
        if f"{module}.qweight" in self.arrays:
            return self.arrays[f"{module}.qweight"].shape[0] * 32 // self.inputs(module)
        return 16

    def inputs(self, module: str) -> int:
        return len(self.arrays[f"{module}.g_idx"])

    def matrix(self, module: str) -> np.ndarray:
        """A weight as it is stored or decoded, `f64[out, in]`."""
        kept = self.arrays.get(f"{module}.weight")
        if kept is not None and kept.dtype.itemsize > 1:  # codes have a byte
            return kept.astype(np.float64)
        return packed_formula.decoded(self.arrays, module, self.bits(module))

    def weights(self) -> forward.Weights:
        """xAI's parameter name -> decoded values, for the network in numpy."""
        table = {entry.name: entry for entry in GROK1.tensors(self.layers)}
        own = GROK1.conventions[self.names]

        def weight(name: str) -> np.ndarray:
            entry = table[name]
            if entry.rule.role == "expert":
                count = self.config["num_experts"]
                modules = (packed_formula.module(self.names, entry, e) for e in range(count))
                return np.stack([self.matrix(module).T for module in modules])
            if entry.rule.quantized:
                return self.matrix(packed_formula.module(self.names, entry, None)).T
            values = self.arrays[own.of(entry)].astype(np.float64)
            return values.T if entry.rule.path == "router/w" else values

        kept: dict[str, np.ndarray] = {}
        return lambda name: kept[name] if name in kept else kept.setdefault(name, weight(name))
