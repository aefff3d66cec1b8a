"""Grok-2 in GGUF, as llama.cpp's own reader sees it, and back to the release."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_synth import plan_synth_model
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.models.family import Model
from grokpack.models.grok2 import GROK2
from grokpack.verification.verify_structure import verify_structure
from tests.support.evaluated_pairs import errors, evaluated
from tests.support.grok2 import RELEASE, released

NAMES = GROK2.conventions["sglang"]
YARN = {
    "type": "yarn",
    "factor": 16.0,
    "original_context_length": 8192,
    "yarn_ext_factor": 1.0,
    "yarn_attn_factor": 1.0,
    "yarn_beta_fast": 8.0,
    "yarn_beta_slow": 1.0,
}


@pytest.fixture(scope="module")
def bf16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "grok-2-bf16.gguf"
    execute(
        plan_convert(open_checkpoint(str(RELEASE)), "gguf", ConvertOptions(type="bf16")), str(out)
    )
    return out


def keys(path: Path) -> dict[str, Any]:
    """Every key but the vocabulary's."""
    read = gguf.GGUFReader(path).fields
    known = {name: field.contents() for name, field in read.items()}
    return {n: v for n, v in known.items() if n.startswith(("general.", "grok."))}


def test_keys_are_those_of_llama_cpp_s_converter_without_yarn(bf16: Path) -> None:
    assert keys(bf16) == {
        "general.architecture": "grok",
        "general.name": "Grok",
        "general.organization": "xAI",
        "general.license": "other",
        "general.license.name": "grok-2-community",
        "general.license.link": "https://huggingface.co/xai-org/grok-2/blob/main/LICENSE",
        "general.repo_url": "https://huggingface.co/xai-org/grok-2",
        "general.file_type": int(gguf.LlamaFileType.MOSTLY_BF16),
        "general.quantization_version": 2,
        "grok.block_count": 3,
        "grok.context_length": 131072,
        "grok.embedding_length": 128,
        "grok.feed_forward_length": 256,
        "grok.expert_feed_forward_length": 64,
        "grok.expert_count": 8,
        "grok.expert_used_count": 2,
        "grok.attention.head_count": 8,
        "grok.attention.head_count_kv": 2,
        "grok.attention.key_length": 16,
        "grok.attention.value_length": 16,
        "grok.attention.layer_norm_rms_epsilon": np.float32(1e-5),
        "grok.attention.output_scale": 0.25,
        "grok.attention.temperature_length": 16,
        "grok.rope.dimension_count": 16,
        "grok.rope.freq_base": np.float32(208533496),
        "grok.logit_scale": 0.5,
        "grok.embedding_scale": np.float32(11.313708498984761),
        "grok.attn_logit_softcapping": 30.0,
        "grok.router_logit_softcapping": 30.0,
        "grok.final_logit_softcapping": 50.0,
    }


def test_every_tensor_is_the_release_s_router_and_norms_in_f32(bf16: Path) -> None:
    by_name = {entry.gguf: entry for entry in GROK2.tensors(3)}
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(bf16).tensors}
    assert found.keys() == by_name.keys()
    for name, tensor in found.items():
        entry = by_name[name]
        precise = entry.rule.role in ("norm", "router")
        assert tensor.tensor_type.name == ("F32" if precise else "BF16")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        experts = range(8) if entry.rule.stacked else (None,)
        wanted = [released()[NAMES.of(entry, expert)] for expert in experts]
        np.testing.assert_array_equal(values, np.stack(wanted) if len(wanted) > 1 else wanted[0])


def test_the_release_has_as_many_tensors_as_others_count_in_its_gguf() -> None:
    names = {entry.gguf for entry in GROK2.tensors(GROK2.release.layers)}
    assert len(names) == 963


def test_yarn_adds_its_keys_and_says_so(bf16: Path, tmp_path: Path) -> None:
    plan = plan_convert(
        open_checkpoint(str(RELEASE)), "gguf", ConvertOptions(type="bf16", yarn=True)
    )
    execute(plan, str(tmp_path / "x.gguf"))
    added = {f"grok.rope.scaling.{name}": value for name, value in YARN.items()}
    assert keys(tmp_path / "x.gguf") == keys(bf16) | added
    assert any("rotates by YaRN" in note for note in plan.target.notes)
    assert any("no temperature of attention" in note for note in plan.target.notes)


def test_yarn_is_for_families_that_have_it(bf16: Path) -> None:
    source = open_checkpoint(str(bf16))
    assert GROK2.gguf is not None
    bare = replace(GROK2, gguf=replace(GROK2.gguf, yarn={}))
    source = replace(source, model=replace(source.model, family=bare))
    with pytest.raises(GrokpackError, match="no keys of YaRN for Grok-2") as caught:
        plan_convert(source, "gguf", ConvertOptions(type="f32", tokenizer="none", yarn=True))
    assert caught.value.code == "GP304"


def test_q8_0_does_not_hold_bfloat16() -> None:
    with pytest.raises(GrokpackError, match=r"bf16, not exact in it") as caught:
        plan_convert(open_checkpoint(str(RELEASE)), "gguf", ConvertOptions(type="q8_0"))
    assert caught.value.code == "GP306"
    assert "grokpack quantize --bits 8 --to gguf" in (caught.value.hint or "")


def test_it_leads_back_to_the_release_byte_for_byte(bf16: Path, tmp_path: Path) -> None:
    assert verify_structure(survey(str(bf16))).findings == ()
    source = open_checkpoint(str(bf16))
    plan = plan_convert(source, "sglang")
    assert plan.target.lossless
    execute(plan, str(tmp_path / "back"))
    wanted = {path.name: path.read_bytes() for path in RELEASE.glob("*.safetensors")}
    assert {p.name: p.read_bytes() for p in (tmp_path / "back").glob("*.safetensors")} == wanted
    added = {"tie_word_embeddings": False, "load_presharded_moe": True}
    config = open_checkpoint(str(RELEASE)).config
    assert open_checkpoint(str(tmp_path / "back")).config == {**config, **added}


def test_a_norm_that_bfloat16_does_not_hold_is_said_to_be_rounded(
    bf16: Path, tmp_path: Path
) -> None:
    altered = Path(shutil.copy(bf16, tmp_path / "x.gguf"))
    norm = next(t for t in gguf.GGUFReader(bf16).tensors if t.name == "blk.1.attn_norm.weight")
    with altered.open("r+b") as file:
        file.seek(int(norm.data_offset))
        file.write(b"\x01")
    target = plan_convert(open_checkpoint(str(altered)), "hf").target
    assert not target.lossless
    assert "weights are rounded once from f32 to bf16: not lossless" in target.notes


@pytest.mark.parametrize("options", [{"bits": 8}, {"type": "q4_0"}, {"type": "q4_1"}])
def test_blocks_are_as_near_as_their_type_allows(tmp_path: Path, options: dict[str, Any]) -> None:
    out = tmp_path / "x.gguf"
    source = open_checkpoint(str(RELEASE))
    execute(plan_quantize(source, QuantizeOptions(to="gguf", method="rtn", **options)), str(out))
    kinds = {t.name.rpartition(".")[0]: t.tensor_type.name for t in gguf.GGUFReader(out).tensors}
    assert (
        kinds["blk.1.ffn_gate"]
        == kinds["blk.1.ffn_up_exps"]
        == (options.get("type") or "q8_0").upper()
    )
    assert (kinds["output"], kinds["token_embd"]) == ("BF16", "BF16")
    assert (kinds["blk.1.ffn_gate_inp"], kinds["blk.1.post_ffw_norm"]) == ("F32", "F32")
    assert errors(evaluated(RELEASE, out)) == []


def test_rows_of_super_blocks_are_quantized_as_near_as_these_allow(tmp_path: Path) -> None:
    """Rows divide by 256, as the release's do."""
    sized = replace(
        GROK2.release, vocab=64, d_model=256, layers=2, experts=2, ffn=256, mlp=512,
        q_width=256, kv_width=64, head_dim=32,
    )  # fmt: skip
    source, out = tmp_path / "wide", tmp_path / "x.gguf"
    execute(plan_synth_model(Model(GROK2, sized), 2), str(source))
    options = QuantizeOptions(to="gguf", type="q4_k", tokenizer="none")
    execute(plan_quantize(open_checkpoint(str(source)), options), str(out))
    layers = [t for t in gguf.GGUFReader(out).tensors if t.name.startswith("blk.")]
    kinds = {t.name.split(".")[2]: t.tensor_type.name for t in layers if len(t.shape) > 1}
    assert kinds.pop("ffn_gate_inp") == "F32"
    assert set(kinds.values()) == {"Q4_K"}
    assert len(kinds) == 10
    assert errors(evaluated(source, out)) == []
