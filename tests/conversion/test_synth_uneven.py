"""`synth --uneven`: layers, roles and channels that differ, the same on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_synth import plan_synth
from grokpack.core.layout import whole_box
from grokpack.execution.run import execute
from grokpack.models.architecture import Geometry
from grokpack.transforms import random_values
from grokpack.transforms.dequantize import read_as_f32

if TYPE_CHECKING:
    from pathlib import Path

    from grokpack.checkpoint.checkpoint import Checkpoint

GROK1 = Geometry(
    vocab=64, d_model=64, layers=2, experts=2, ffn=256, q_width=128, kv_width=64, head_dim=16
)
GROK2 = Geometry(
    vocab=512, d_model=64, layers=2, experts=2, ffn=256, mlp=256, q_width=128, kv_width=64,
    head_dim=16, scale_groups=None,
)  # fmt: skip


def made(out: Path, model: str, uneven: float) -> Checkpoint:
    geometry = {"grok-1": GROK1, "grok-2": GROK2}[model]
    execute(plan_synth(geometry, 3, model=model, uneven=uneven), str(out))
    return open_checkpoint(str(out))


def values(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    reader = ArrayReader(checkpoint)
    return {
        tensor.name: read_as_f32(tensor, whole_box(tensor.values.shape), reader)
        for tensor in checkpoint.tensors.values()
    }


def peak(x: np.ndarray) -> float:
    """Largest value by the root mean square."""
    return float(np.abs(x).max() / np.sqrt(np.square(x).mean()))


@pytest.mark.parametrize("model", ["grok-1", "grok-2"])
def test_roles_and_layers_differ_and_magnitudes_stay(tmp_path: Path, model: str) -> None:
    even, uneven = (made(tmp_path / str(n), model, n) for n in (0, 1))
    usual, found = values(even), values(uneven)
    weights = [e.name for e in even.model.tensors() if e.rule.quantized]
    peaks = {name: peak(found[name]) / peak(usual[name]) for name in weights}
    assert max(peaks.values()) > 1.5
    assert max(peaks.values()) > 1.25 * min(peaks.values())
    for name in weights:
        rms = [np.sqrt(np.square(own[name]).mean()) for own in (usual, found)]
        assert rms[1] == pytest.approx(rms[0], rel=0.05), name
    norms = [e.name for e in even.model.tensors() if e.rule.role == "norm" and e.layer is not None]
    means = [float(found[name].mean()) for name in norms]
    assert max(means) > 1.5 * min(means)
    assert all(found[name].std() > 1.5 * usual[name].std() for name in norms)


def test_even_weights_are_what_they_were() -> None:
    geometry = GROK1
    assert plan_synth(geometry, 3).digest() == plan_synth(geometry, 3, uneven=0.0).digest()
    assert plan_synth(geometry, 3).digest() != plan_synth(geometry, 3, uneven=0.5).digest()
    assert random_values.code_rms(0.0) == random_values.CODE_RMS
