"""Policies: which weights are quantized and how, and files that are none."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.quantization import policy_file
from grokpack.conversion.quantization.policy import Policy
from grokpack.core.errors import GrokpackError
from grokpack.models.family import Model
from grokpack.models.grok1 import GROK1
from grokpack.transforms.quantization_scheme import QuantizationScheme
from tests.support import packed_formula
from tests.support.checkpoints import synthesize
from tests.support.quantized_checkpoints import WIDE, quantize

DEEP = replace(WIDE, layers=2)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, for policies that tell them apart."""
    return synthesize(tmp_path_factory.mktemp("wide") / "in", DEEP)


def test_the_last_table_that_takes_a_weight_decides_alone(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        '[[tensors]]\nrole = "attention"\nbits = 8\nmethod = "lsq"\n'
        "[[tensors]]\nlayers = [1]\nbits = 16\n"
        '[[tensors]]\nname = "*/value/w"\ngroup = 32\n'
    )
    default = QuantizationScheme(4, 128, "mse")
    policy = Policy(default, policy_file.read(str(file), Model(GROK1, DEEP)))
    found = {e.name: policy.scheme(e) for e in GROK1.tensors(2) if e.rule.quantized}
    attention = "transformer/decoder_layer_{}/multi_head_attention/{}/w"
    assert found[attention.format(0, "query")] == replace(default, bits=8, method="lsq")
    assert found[attention.format(1, "query")] is None
    assert found[attention.format(0, "value")] == replace(default, group=32)
    assert found[attention.format(1, "value")] == replace(default, group=32)
    assert found["transformer/decoder_layer_0/moe/linear/w"] == default


def test_a_policy_decides_by_role_name_and_layer(wide: Path, tmp_path: Path) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text(
        '[[tensors]]\nrole = "attention"\nbits = 8\n'
        '[[tensors]]\nname = "*/moe/linear_1/w"\nlayers = [-1]\ngroup = 32\n'
        '[[tensors]]\nname = "*/value/w"\nbits = 16\n'
    )
    out = quantize(wide, tmp_path / "out", policy=str(rules))
    found = packed_formula.arrays(out)
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    schemes = {
        tuple(row["targets"]): (row["weights"]["num_bits"], row["weights"]["group_size"])
        for row in config["config_groups"].values()
    }
    assert schemes[("Linear",)] == (4, 128)
    (attention,) = (targets for targets, scheme in schemes.items() if scheme == (8, 128))
    assert r"re:model\.layers\.\d+\.attn\.(q_proj|qkv_proj)$" in attention  # vLLM asks for qkv_proj
    down = r"re:model\.layers\.(1)\.moe_block\.experts\.\d+\.(linear_1|down_proj)$"
    assert schemes[(down,)] == (4, 32)
    assert r"re:model\.layers\.\d+\.attn\.v_proj$" in config["ignore"]
    assert found["model.layers.0.attn.v_proj.weight"].dtype.name == "bfloat16"
    assert found["model.layers.0.attn.q_proj.weight_packed"].shape == (256, 64)
    assert found["model.layers.1.moe_block.experts.0.linear_1.weight_scale"].shape == (256, 8)
    assert found["model.layers.0.moe_block.experts.0.linear_1.weight_scale"].shape == (256, 2)


@pytest.mark.parametrize(
    ("to", "asked"),
    [
        ("compressed-tensors", "model.layers.1.moe_block.experts.0.gate_proj"),
        ("compressed-tensors", "model.layers.1.moe_block.experts.0.up_proj"),
        ("compressed-tensors", "model.layers.1.moe_block.experts.0.down_proj"),
        ("gptq", "model.layers.1.moe_block.experts"),
    ],
)
def test_experts_that_are_kept_are_so_by_the_names_that_vllm_asks_for(
    wide: Path, tmp_path: Path, to: str, asked: str
) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text('[[tensors]]\nrole = "expert"\nlayers = [1]\nbits = 16\n')
    out = quantize(wide, tmp_path / "out", to=to, policy=str(rules), engine="vllm")
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    patterns = [*config.get("ignore", []), *config.get("dynamic", [])]
    bare = [pattern.removeprefix("re:").removeprefix("-:") for pattern in patterns]
    assert any(re.match(pattern, asked) for pattern in bare)
    assert not any(re.match(pattern, asked.replace("layers.1", "layers.0")) for pattern in bare)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[tensors", "not TOML"),
        ("a = 1", r"tables \[\[tensors\]\] and nothing else"),
        ("[[tensors]]\nbit = 4", "`bit` is no key"),
        ("[[tensors]]\nrole = 'router'\nbits = 4", "role takes attention, expert"),
        ("[[tensors]]\nbits = 7", "bits takes 2, 3, 4, 5, 6, 8, 16"),
        ("[[tensors]]\nbits = true", "bits takes 2, 3, 4, 5, 6, 8, 16"),
        ("[[tensors]]\nbits = 8.0", "bits takes 2, 3, 4, 5, 6, 8, 16"),
        ("[[tensors]]\nbits = 16.0", "bits takes 2, 3, 4, 5, 6, 8, 16"),
        ("[[tensors]]\nbits = '8'", "bits takes 2, 3, 4, 5, 6, 8, 16"),
        ("[[tensors]]\nbits = [8]", "bits takes 2, 3, 4, 5, 6, 8, 16"),
        ("[[tensors]]\nbits = -8", "bits takes 2, 3, 4, 5, 6, 8, 16"),
        ("[[tensors]]\nbits = 16\ngroup = 32", "bits = 16 keeps the weight, so group says nothing"),
        ("[[tensors]]\nbits = 16\ngroup = 33", "group takes 32, 64, 128, 256, channel"),
        ("[[tensors]]\ngroup = 64.0", "group takes 32, 64, 128, 256, channel"),
        ("[[tensors]]\ngroup = 'Channel'", "group takes 32, 64, 128, 256, channel"),
        ("[[tensors]]\nsymmetric = 1", "symmetric takes true, false"),
        ("[[tensors]]\nsymmetric = 1.0", "symmetric takes true, false"),
        ("[[tensors]]\nmethod = ['mse']", "method takes rtn"),
        ("[[tensors]]\nmethod = 2024-01-01", "method takes rtn"),
        ("[[tensors]]\nrole = ['attention']\nbits = 4", "role takes attention, expert"),
        ("[[tensors]]\nrole = ''\nbits = 4", "role takes attention, expert"),
        ("[[tensors]]\nbits = 4\nlayers = [2]", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = 'all'", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = '0-999999999999'", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = '0, 7-9'", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = [0.0]", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = 0", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = []", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = [true]", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = [-3]", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = '1-0, 1'", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = '0_1'", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nname = 7", "name takes a pattern"),
        ("[[tensors]]\nbits = 4\nname = ''", "name takes a pattern"),
        ("[[tensors]]\nbits = 4\nname = '*query*'\nrole = 'expert'", "no tensor is of this role"),
        ("[[tensors]]\nbits = 4\nname = 'router'", "router/w is never quantized"),
        ("[[tensors]]\nbits = 4\n" * 1025, "at most 1,024 tables, not 1,025"),
        ("[tensors]\nbits = 4", "a policy has tables"),
        ("a." * 9 + "b = 1", "line 1 has more than 8 dots"),
        ("tensors = [1]", "has tables and nothing else"),
        (f"[[tensors]]\nname = {'[' * 5000}", "not TOML"),
        ("[[tensors]]\nlayers = [0]", "nothing is changed"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(
    wide: Path, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(GrokpackError, match=words) as caught:
        plan_quantize(
            open_checkpoint(str(wide)), QuantizeOptions(policy=str(tmp_path / "policy.toml"))
        )
    assert caught.value.code == "GP310"


@pytest.mark.parametrize(
    "text",
    [
        "[[tensors]]\nbits = 8\n" + "#" * (1 << 18),
        "\n" * (1 << 18) + "[[tensors]]\nbits = 8\n",
    ],
)
def test_a_policy_is_taken_whole_or_refused(wide: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(GrokpackError, match="too large for its kind") as caught:
        plan_quantize(
            open_checkpoint(str(wide)), QuantizeOptions(policy=str(tmp_path / "policy.toml"))
        )
    assert caught.value.code == "GP235"


def test_kept_weights_are_bf16(wide: Path, tmp_path: Path) -> None:
    found = packed_formula.arrays(quantize(wide, tmp_path / "out", keep=("experts", "key")))
    assert "model.layers.0.moe_block.experts.0.linear.weight" in found
    assert "model.layers.0.attn.k_proj.weight" in found
    assert "model.layers.0.attn.q_proj.weight_packed" in found
