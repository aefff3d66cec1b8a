"""A release of Grok-2 that others made: its tensors, joined from files of eight ranks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.models import tensor_patterns
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


def test_words_of_its_names_are_patterns(release: Checkpoint) -> None:
    def chosen(pattern: str) -> list[str]:
        return [e.name for e in tensor_patterns.select(release.model.tensors(), pattern)]

    assert chosen("layers.1.self_attn.q_proj") == ["model.layers.1.self_attn.q_proj.weight"]
    assert len(chosen("w2")) == len(chosen("experts/w2.weight")) == 3
    assert len(chosen("model.layers.2")) == 15
    with pytest.raises(GrokpackError) as caught:
        chosen("self_attn.q_prj")
    assert ("nearest", "self_attn.q_proj") in caught.value.facts


def test_inspect_tells_file_rank_expert_and_region_of_each_slice() -> None:
    found = document(survey(str(RELEASE)), ["layers.2.block_sparse_moe.experts.w2"])
    assert (found["family"], found["ranks"]) == ("grok-2 architecture", 8)
    (tensor,) = found["tensors"]
    pieces = tensor["pieces"]["values"]
    assert len(pieces) == 64
    assert {
        "file": "pytorch_model-00007-TP-003.safetensors",
        "array": "model.layers.2.block_sparse_moe.experts.5.w2.weight",
        "start": (0, 24),
        "shape": (128, 8),
    }.items() <= next(p for p in pieces if "5.w2" in p["array"] and "-003" in p["file"]).items()
    (head,) = document(survey(str(RELEASE)), ["head"])["tensors"]
    assert [piece["file"] for piece in head["pieces"]["values"]] == [
        "pytorch_model-00001-TP-common.safetensors"
    ]
