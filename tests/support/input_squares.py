"""Squares of what flows into each weight, summed while the oracles' networks run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.oracle import forward, forward_grok2

Flow = dict[str, tuple[np.ndarray, np.ndarray]]
"""By weight: sums `f64[matrix, in]`, and how many tokens are in each, `i64[matrix]`."""


class Told:
    """A weight `[..., in, out]` that notes what it is multiplied with, each expert by itself."""

    __array_ufunc__ = None  # numpy leaves the product to `__rmatmul__`

    def __init__(self, values: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> None:
        self.values, self.sums, self.counts = values, sums, counts

    def __rmatmul__(self, x: np.ndarray) -> np.ndarray:
        self.sums += np.square(x, dtype=np.float64).sum(axis=0)
        self.counts += len(x)
        return np.asarray(x @ self.values)

    def __getitem__(self, expert: int) -> Told:
        own = slice(expert, expert + 1)
        return Told(self.values[expert], self.sums[own], self.counts[own])

    def astype(self, _dtype: type) -> Told:
        return self


class Turned(Told):
    """A weight `[out, in]`, as releases of Grok-2 have it, of which the transpose multiplies."""

    @property
    def T(self) -> Told:  # noqa: N802  # numpy's name
        return Told(self.values.T, self.sums, self.counts)


def of_grok1(folder: Path) -> Flow:
    """Run the prompts beside a golden checkpoint of Grok-1; names are the family's."""
    weights, config = forward.load(folder)
    flow: Flow = {}

    def told(name: str) -> Any:
        values = weights(name)
        if not name.endswith("/w") or "router" in name:
            return values
        experts = values.shape[0] if values.ndim == 3 else 1
        new = np.zeros((experts, values.shape[-2])), np.zeros(experts, np.int64)
        return Told(values, *flow.setdefault(name, new))

    lengths = json.loads((folder / "config.json").read_text(encoding="utf-8"))["prompt_lengths"]
    for row, length in zip(np.load(folder / "tokens.npy"), lengths, strict=True):
        forward.forward(told, config, row[:length])
    return flow


def of_grok2(folder: Path) -> Flow:
    """Run the prompts beside a golden release of Grok-2; names are the release's."""
    weights, config = forward_grok2.load(folder / "release")
    flow: Flow = {}

    def told(name: str) -> Any:
        values = weights(name)
        if not name.endswith(("_proj.weight", "w1.weight", "w2.weight", "w3.weight")):
            return values
        new = np.zeros((1, values.shape[1])), np.zeros(1, np.int64)
        return Turned(values, *flow.setdefault(name, new))

    for row in np.load(folder / "tokens.npy"):
        forward_grok2.forward(told, config, row)
    return flow
