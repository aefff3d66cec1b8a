"""Grok-2 quantized from bfloat16: for SGLang at any width, for vLLM by its modules' names."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.core.errors import GrokpackError
from grokpack.models.grok2 import GROK2
from grokpack.verification.verify_structure import verify_structure
from tests.support import packed_formula
from tests.support.evaluated_pairs import errors, evaluated
from tests.support.grok2 import RELEASE, released
from tests.support.quantized_checkpoints import quantize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYERS = 3
EXPERTS = 8
NAMES = GROK2.conventions["sglang"]
KEPT = {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"}
"""Weights outside the layers; those in layers are told by their parts."""
FORMS: dict[str, dict[str, Any]] = {
    "compressed-tensors": {"to": "compressed-tensors", "group": "32", "method": "rtn"},
    "gptq": {"to": "gptq", "group": "32", "method": "rtn"},
    "w8a8": {"bits": 8, "to": "w8a8-int8", "tp": 1},
    "w8a8 for 2": {"bits": 8, "to": "w8a8-int8", "tp": 2},
    "w8a8 for 8": {"bits": 8, "to": "w8a8-int8"},
}
SCALES = 2.0**-8
"""Relative error of a scale in bfloat16."""
WIDTHS = {"w8a8": 1, "w8a8 for 2": 2, "w8a8 for 8": 8}


@pytest.fixture(scope="module", params=FORMS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("made") / "out"
    return request.param, quantize(RELEASE, out, **FORMS[request.param])


def modules() -> Iterator[str]:
    """Every module whose weight can be quantized, by the release's names."""
    for entry in GROK2.tensors(LAYERS):
        if entry.rule.quantized:
            for expert in range(EXPERTS) if entry.rule.stacked else (None,):
                yield NAMES.of(entry, expert).removesuffix(".weight")


def test_every_weight_is_near_what_was_released(made: tuple[str, Path]) -> None:
    """Half a step away at most, with a step of its own for each output, group and rank."""
    form, out = made
    bits, found = FORMS[form].get("bits", 4), packed_formula.arrays(out)
    steps = (1 << (bits - 1)) - 1
    for base in modules():
        wanted = released()[f"{base}.weight"]
        parts = wanted.shape[1] // 32
        if form in WIDTHS:
            parts = WIDTHS[form] if base.endswith("w2") else 1
        grouped = wanted.reshape(len(wanted), parts, -1)
        error = packed_formula.decoded(found, base, bits).reshape(grouped.shape) - grouped
        largest = np.abs(grouped).max(axis=2, keepdims=True)
        assert (np.abs(error) <= (0.5 / steps + SCALES) * largest).all(), base


def test_everything_else_is_as_released(made: tuple[str, Path]) -> None:
    found, packs = packed_formula.arrays(made[1]), {f"{base}.weight" for base in modules()}
    others = released().keys() - packs
    assert {name for name in others if "layers" not in name} == KEPT
    assert {name.rpartition(".layers.")[2].partition(".")[2] for name in others - KEPT} == {
        "block_sparse_moe.gate.weight",
        *(f"{kind}_norm.weight" for kind in ("pre_attn", "post_attn", "pre_moe", "post_moe")),
    }
    for name in others:
        assert found[name].dtype.name == "bfloat16"
        np.testing.assert_array_equal(found[name].astype(np.float64), released()[name])


def test_grokpack_reads_it_as_whole_and_as_near_as_its_format_allows(
    made: tuple[str, Path],
) -> None:
    _, out = made
    assert verify_structure(survey(str(out))).findings == ()
    assert open_checkpoint(str(out)).model.family.name == "grok-2"
    assert errors(evaluated(RELEASE, out)) == []


def test_config_keeps_the_release_s_keys_and_says_how_experts_lie(made: tuple[str, Path]) -> None:
    form, out = made
    config = json.loads((out / "config.json").read_text())
    assert config["model_type"] == "git"
    assert config["tie_word_embeddings"] is False
    assert config.get("load_presharded_moe", False) is (WIDTHS.get(form, 1) > 1)
    assert "license_name: grok-2-community" in (out / "README.md").read_text()
    assert "float32" not in (out / "README.md").read_text()


WHOLE = "moe_block.experts"
"""All experts of a layer: asked for in GPTQ's config only."""
VLLM = {
    "attention": ["attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.qkv_proj", "attn.o_proj"],
    "experts": [
        WHOLE,
        *(f"{WHOLE}.0.{name}_proj" for name in ("gate", "up", "down")),
    ],
    "mlp": ["mlp.gate_proj", "mlp.up_proj", "mlp.gate_up_proj", "mlp.down_proj"],
}
"""Modules by which vLLM 0.24 looks up whether a weight is quantized."""


@pytest.mark.parametrize("to", ["compressed-tensors", "gptq"])
@pytest.mark.parametrize("role", VLLM)
def test_vllm_finds_what_is_kept_by_its_own_names(to: str, role: str) -> None:
    options = QuantizeOptions(to=to, group="32", keep=(role,))
    config = json.loads(
        plan_quantize(open_checkpoint(str(RELEASE)), options).target.finals["config.json"]
    )
    said = config["quantization_config"]
    patterns = said["ignore"] if to == "compressed-tensors" else said["dynamic"]
    rules = [p.removeprefix("re:").removeprefix("-:") for p in patterns]
    asked = [(other, name) for other, names in VLLM.items() for name in names]
    for other, name in asked:
        if name != WHOLE or to == "gptq":
            matched = any(re.match(rule, f"model.layers.2.{name}") for rule in rules)
            assert matched is (other == role), name


def test_gptq_lists_the_modules_by_the_names_that_vllm_has_for_them() -> None:
    """Without a list vLLM looks for the names in the files, and fills weights with nothing."""
    options = QuantizeOptions(to="gptq", group="32", keep=("o_proj",))
    plan = plan_quantize(open_checkpoint(str(RELEASE)), options)
    said = json.loads(plan.target.finals["config.json"])["quantization_config"]
    (listed,) = said["modules_in_block_to_quantize"]
    names = [name for name in chain.from_iterable(VLLM.values()) if f"{WHOLE}." not in name]
    assert sorted(listed) == sorted(set(names) - {"attn.o_proj"})


def test_a_policy_decides_by_role_name_and_layer(tmp_path: Path) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text(
        '[[tensors]]\nrole = "mlp"\nbits = 8\n[[tensors]]\nname = "w2"\nlayers = [-1]\nbits = 16\n'
    )
    found = packed_formula.arrays(
        quantize(RELEASE, tmp_path / "out", group="32", method="rtn", policy=str(rules))
    )

    def bits(module: str) -> int:
        words, inputs = (
            found[f"{module}.weight_packed"].shape[1],
            found[f"{module}.weight_shape"][1],
        )
        return int(words * 32 // inputs)

    assert bits("model.layers.1.mlp.up_proj") == 8
    assert bits("model.layers.2.self_attn.q_proj") == 4
    experts = [f"block_sparse_moe.experts.{number}.w2" for number in range(EXPERTS)]
    assert {bits(f"model.layers.1.{expert}") for expert in experts} == {4}
    for expert in experts:
        kept = found[f"model.layers.2.{expert}.weight"]
        np.testing.assert_array_equal(kept, released()[f"model.layers.2.{expert}.weight"])


def test_a_width_that_the_model_cannot_be_cut_into_is_refused() -> None:
    with pytest.raises(GrokpackError, match="cannot be cut into 3") as caught:
        plan_quantize(open_checkpoint(str(RELEASE)), QuantizeOptions(bits=8, to="w8a8-int8", tp=3))
    assert caught.value.code == "GP301"


def test_transformers_has_no_code_for_it() -> None:
    options = QuantizeOptions(group="32", engine="transformers")
    with pytest.raises(GrokpackError, match="no code for Grok-2") as caught:
        plan_quantize(open_checkpoint(str(RELEASE)), options)
    assert caught.value.code == "GP313"
