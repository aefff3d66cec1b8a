"""Quantized checkpoints for tests, and what they were made of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.execution.run import execute
from grokpack.kernels import dispatch
from grokpack.models.architecture import Geometry, ModelTensor
from grokpack.models.grok1 import GROK1
from tests.support.weight_formula import exact_weights

if TYPE_CHECKING:
    from grokpack.execution.run_options import RunOptions

WIDE = Geometry(
    vocab=64, d_model=256, layers=1, experts=2, ffn=256, q_width=256, kv_width=64, head_dim=32
)
"""Groups of 256 divide it; its scale groups of 32 inputs lie within those of 128."""


FASTEST = "numba" if dispatch.compiler_loads() else "numpy"
"""Implementation of the kernels for tests of more than the kernels: both leave the same bits."""


def quantize(source: Path, out: Path, limits: RunOptions | None = None, **options: Any) -> Path:
    """Quantize, by compiled kernels unless the environment says which."""
    plan = plan_quantize(open_checkpoint(str(source)), QuantizeOptions(**options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(dispatch.VARIABLE, os.environ.get(dispatch.VARIABLE, FASTEST))
        execute(plan, str(out), limits)
    return out


def weights(source: Path, layers: int) -> Iterator[tuple[ModelTensor, int | None, np.ndarray]]:
    """Every weight that can be quantized, `f64[out, in]`, one for each expert."""
    exact = exact_weights(source)
    for entry in GROK1.tensors(layers):
        if entry.rule.role == "expert":
            for expert, values in enumerate(exact[entry.name]):
                yield entry, expert, values.T.astype(np.float64)
        elif entry.rule.role == "attention":
            yield entry, None, exact[entry.name].T.astype(np.float64)


def make_tiles_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tiles of 5,000 bytes, which end within matrices and within groups."""
    for module in (
        "core.tiles",
        "storage.hashing",
        "planning.tasks",
        "execution.quantization_error",
        "checkpoint.manifest_file",
    ):
        monkeypatch.setattr(f"grokpack.{module}.TILE_BYTES", 5000)
