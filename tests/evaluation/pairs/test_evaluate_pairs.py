"""`evaluate --against` tells networks that differ in one thing from networks that are the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.core.errors import GrokpackError
from grokpack.evaluation.config_comparison import differences, ignored_switches
from grokpack.evaluation.network_verdict import suspects
from tests.support import sentencepieces
from tests.support.altered_copies import (
    alter,
    copy,
    of_layer,
    set_constant,
)
from tests.support.conversions import convert

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[[Path], object]
from tests.support.evaluated_pairs import (
    CONSTANTS,
    GATE,
    MODEL,
    WRONG,
    errors,
    evaluated,
    reverse,
    scale_by,
)


@pytest.mark.parametrize("key", CONSTANTS)
def test_another_constant_is_named(model: Path, other: Path, key: str) -> None:
    set_constant(other, **{key: CONSTANTS[key]})
    named = key.removesuffix("_scale").removesuffix("_token").removeprefix("num_")
    for pair in ((model, other), (other, model)):
        first = errors(evaluated(*pair))[0]
        assert first.code == "GP143"
        assert first.message.startswith({"sequence_len": "context"}.get(key, named))
        assert f"{CONSTANTS[key]:g}" in (first.expected, first.found)


def test_each_key_that_a_config_has_for_a_constant_counts(model: Path, tmp_path: Path) -> None:
    """Programs differ in the key that they read."""
    convert(model, tmp_path / "hf", "hf", dtype="f32", tokenizer="none")
    assert not errors(evaluated(model, tmp_path / "hf"))
    set_constant(tmp_path / "hf", max_attn_value=50.0)
    found = evaluated(model, tmp_path / "hf")
    assert not suspects(found)
    (row,) = errors(found)
    assert row.message.startswith("attn_logit_cap")
    assert row.found == "attn_logit_softcapping 30, max_attn_value 50"


def test_a_switch_that_both_configs_have_is_compared(model: Path, tmp_path: Path) -> None:
    convert(model, tmp_path / "hf", "hf", dtype="f32", tokenizer="none")
    shutil.copytree(tmp_path / "hf", tmp_path / "silu")
    set_constant(tmp_path / "silu", hidden_act="silu")
    (row,) = errors(evaluated(tmp_path / "hf", tmp_path / "silu"))
    assert (row.code, row.expected, row.found) == ("GP143", "'gelu_pytorch_tanh'", "'silu'")


@pytest.mark.parametrize("name", WRONG)
def test_one_difference_is_found_and_named(model: Path, other: Path, name: str) -> None:
    make, tensor = WRONG[name]
    make(other)
    for pair in ((model, other), (other, model)):
        found = errors(evaluated(*pair))
        named = [row.tensor or "" for row in found if row.code == "GP144"]
        assert any(tensor in each for each in named)


def test_a_difference_in_an_expert_that_no_token_chose_is_found(model: Path, other: Path) -> None:
    few = evaluated(model, model, 1)
    assert few.tokens == 1
    alter(other, of_layer(0, GATE), reverse)
    found = evaluated(model, other, 1)
    rows = [row for part in found.parts for row in part.weights if row.state == "beyond"]
    assert {row.expert for row in rows} == set(range(MODEL.experts))


def test_the_first_part_beyond_its_limit_is_named(model: Path, other: Path) -> None:
    """Also where every part after it errs as much."""
    for layer in range(MODEL.layers):
        alter(other, of_layer(layer, "rms_norm_3/scale"), scale_by(1.01))
    found = evaluated(model, other)
    assert [(part.name, part.layer) for part in suspects(found)] == [("experts", 0), ("experts", 1)]
    (row,) = [row for row in errors(found) if row.code == "GP141"]
    assert row.message == "layer 0, experts is the first part beyond its limit; 1 part more is"


SWITCHES = {
    "rope_scaling": {"type": "linear", "factor": 2.0},
    "rope_parameters": {"rope_type": "yarn", "factor": 2.0},
    "hidden_act": "silu",
    "sliding_window": 4096,
    "moe_router_renormalize": True,
    "router_logit_softcapping": 30.0,
    "final_logit_softcapping": 30.0,
    "partial_rotary_factor": 0.5,
    "residual_moe": True,
}
PLAIN = {
    "rope_scaling": {"rope_type": "default"},
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "hidden_act": "gelu",
    "sliding_window": -1,
    "router_logit_softcapping": 0.0,
    "residual_moe": False,
}


@pytest.mark.parametrize("key", SWITCHES)
def test_a_switch_that_one_config_lacks_is_the_networks_own(
    model: Path, other: Path, key: str
) -> None:
    named = "rope_scaling" if key == "rope_parameters" else key
    set_constant(other, **{key: SWITCHES[key]})
    for pair in ((model, other), (other, model)):
        (row,) = differences(*(open_checkpoint(str(path)) for path in pair))
        assert (row.code, row.message) == ("GP143", f"{named} is not the same in both")
        assert repr(SWITCHES[key]) in (row.expected, row.found)
    (note,) = ignored_switches(open_checkpoint(str(other)))
    assert named in note
    assert repr(SWITCHES[key]) in note


@pytest.mark.parametrize("key", PLAIN)
def test_a_switch_that_changes_nothing_is_no_difference(model: Path, other: Path, key: str) -> None:
    set_constant(other, **{key: PLAIN[key]})
    first, second = open_checkpoint(str(model)), open_checkpoint(str(other))
    assert not differences(first, second)
    assert not differences(second, first)
    assert not ignored_switches(second)


def test_each_place_where_configs_keep_the_rotation_counts(model: Path, other: Path) -> None:
    set_constant(other, rope_parameters={"rope_theta": 500_000.0, "rope_type": "default"})
    (row,) = differences(open_checkpoint(str(model)), open_checkpoint(str(other)))
    assert row.found == "rope_theta 10000, rope_parameters.rope_theta 500000"


@pytest.mark.parametrize("said", ["1e-6", [1e-5], True, {"value": 1e-5}])
def test_a_constant_that_is_no_number_is_refused(model: Path, other: Path, said: object) -> None:
    set_constant(other, rms_norm_eps=said)
    with pytest.raises(GrokpackError, match="is no number") as caught:
        evaluated(model, other)
    assert caught.value.code == "GP202"


@pytest.mark.parametrize("form", ["ckpt-0", "gguf"])
def test_exchanged_pieces_of_a_tokenizer_are_found(
    model: Path, other: Path, tmp_path: Path, form: str
) -> None:
    own = sentencepieces.model(MODEL.vocab)
    (other / "tokenizer.model").write_bytes(own.SerializeToString())
    one = other
    if form == "gguf":
        one = tmp_path / "one.gguf"
        convert(other, one, "gguf", type="q8_0", tokenizer=None)
    two = copy(model, tmp_path / "two")
    own.pieces[40].piece, own.pieces[41].piece = own.pieces[41].piece, own.pieces[40].piece
    (two / "tokenizer.model").write_bytes(own.SerializeToString())
    (row,) = differences(open_checkpoint(str(one)), open_checkpoint(str(two)))
    assert row.message == "token 40, the first of 2 pieces, is not the same in both"
