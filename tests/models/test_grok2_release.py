"""A release of Grok-2 that others made: its tensors, joined from files of eight ranks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.core.layout import Box
from grokpack.models.family import Model
from grokpack.models.grok2 import GROK2
from tests.support.grok2 import RELEASE, listed

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def release() -> Checkpoint:
    return open_checkpoint(str(RELEASE))


def test_the_family_has_the_parameters_and_tensors_of_the_release() -> None:
    model = Model(GROK2, GROK2.release)
    counted = model.parameters()
    assert (counted.total, counted.active) == (269_515_497_472, 114_896_674_816)
    assert sum(model.spec(e).values.nbytes for e in model.tensors()) == 539_030_994_944
    matrices = sum(8 if entry.rule.stacked else 1 for entry in model.tensors())
    assert matrices == 2_307
    assert model.title == "grok-2"


def test_every_merged_tensor_has_its_hash(release: Checkpoint) -> None:
    convention = GROK2.conventions["sglang"]
    reader = ArrayReader(release)
    seen = {}
    for entry in release.model.tensors():
        shape = release.tensors[entry.name].values.shape
        values = reader.read(entry.name, Box((0,) * len(shape), shape))
        if entry.rule.matrix:
            values = np.swapaxes(values, -1, -2)
        for expert in range(len(values)) if entry.rule.stacked else (None,):
            one = values if expert is None else values[expert]
            seen[convention.of(entry, expert)] = hashlib.sha256(one.tobytes()).hexdigest()
    assert seen == {name: row["sha256"] for name, row in listed().items()}


def test_family_and_dimensions_are_found(release: Checkpoint) -> None:
    assert release.model.family is GROK2
    found = release.geometry
    assert (found.layers, found.d_model, found.ffn, found.mlp) == (3, 128, 64, 256)
    assert (found.q_heads, found.kv_heads, found.head_dim, found.vocab) == (8, 2, 16, 600)
