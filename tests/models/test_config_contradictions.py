"""Numbers of a config that no model can have, or that this one has no room for."""

from __future__ import annotations

from typing import Any

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.formats.gguf_header import ArrayLength
from grokpack.models import hyperparameters
from grokpack.models.config_json import contradictions
from tests.support.checkpoints import GOLDEN

WRONG: dict[str, tuple[str, Any]] = {
    "a negative width": ("emb_size", -32),
    "no layers": ("num_layers", 0),
    "a count in quotes": ("num_experts", "8"),
    "a switch for a count": ("num_kv_heads", True),
    "a fraction for a count": ("num_q_heads", 2.5),
    "an array for a count": ("key_size", ArrayLength(1)),
    "an array for a constant": ("rope_theta", ArrayLength(1)),
    "a part of an expert": ("num_selected_experts", 1.5),
    "more experts than there are": ("num_selected_experts", 100),
    "scale groups that divide nothing": ("scale_groups", 10**30),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_number_that_no_model_has_is_described(name: str) -> None:
    checkpoint = open_checkpoint(str(GOLDEN))
    key, value = WRONG[name]
    assert contradictions(checkpoint.config, checkpoint.model) == []
    (text,) = contradictions({**checkpoint.config, key: value}, checkpoint.model)
    assert key.removeprefix("num_selected_").split("_")[0] in text


@pytest.mark.parametrize("value", [None, 2, 2.0])
def test_a_number_may_be_missing_or_written_as_a_float(value: float | None) -> None:
    checkpoint = open_checkpoint(str(GOLDEN))
    config = {**checkpoint.config, "num_selected_experts": value}
    assert contradictions(config, checkpoint.model) == []


def test_a_model_of_one_expert_chooses_no_more_by_default() -> None:
    model = open_checkpoint(str(GOLDEN)).model.sized(experts=1)
    assert contradictions({}, model) == []
    assert hyperparameters.defaults(model).selected_experts == 1
