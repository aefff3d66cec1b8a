"""Hugging Face folders: what is in them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from grokpack.checkpoint import tokenizer_files
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.models.family import Model
from grokpack.models.grok1 import GROK1
from tests.support.checkpoints import GOLDEN
from tests.support.conversions import WIDE, convert, stored
from tests.support.huggingface_folders import INDEX, shards
from tests.support.sentencepieces import sentencepieces

# What is written


@pytest.mark.parametrize("convention", list(GROK1.conventions))
def test_config_says_what_each_engine_needs(tmp_path: Path, origin: Path, convention: str) -> None:
    convert(origin, tmp_path / "hf", "hf", names=convention)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    model = {"hpcai": "Grok1ModelForCausalLM", "sglang": "Grok1ForCausalLM"}
    assert config["architectures"] == [model.get(convention, "GrokForCausalLM")]
    wanted = {
        "vocab_size": 64, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 16,
        "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
        "router_logit_softcapping": 0, "moe_router_renormalize": False,
        "attn_logit_softcapping": 30.0, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "embedding_multiplier_scale": 96**0.5, "output_multiplier_scale": 3**-0.5,
        "attn_output_multiplier": 16**-0.5, "torch_dtype": "bfloat16",
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "tie_word_embeddings": convention != "sglang",
    }  # fmt: skip
    assert {key: config[key] for key in wanted} == pytest.approx(wanted)
    assert config.get("load_presharded_moe", True) == (convention != "sglang")
    code = {value.split(".")[0] for value in config["auto_map"].values()}
    assert all((tmp_path / "hf" / f"{name}.py").exists() for name in code)
    generation = json.loads((tmp_path / "hf" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == 2
    assert (tmp_path / "hf" / "README.md").read_text().startswith("---\nlicense: apache-2.0")


def test_the_index_is_what_the_files_hold_and_no_shard_is_larger_than_asked(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    held: dict[str, str] = {}
    total = 0
    for path in shards(folder):
        assert re.fullmatch(rf"model-\d{{5}}-of-{len(shards(folder)):05d}\.safetensors", path.name)
        with safe_open(path, framework="np") as handle:
            sizes = [handle.get_tensor(name).nbytes for name in handle.keys()]  # noqa: SIM118
            held |= dict.fromkeys(handle.keys(), path.name)
        assert sum(sizes) <= 1 << 19 or len(sizes) == 1
        total += sum(sizes)
    assert index == {"metadata": {"total_size": total}, "weight_map": held}


def test_the_last_tensor_is_no_expert(folder: Path) -> None:
    """llama.cpp's converter writes the experts of a layer when something else follows them."""
    with safe_open(shards(folder)[-1], framework="np") as handle:
        assert ".experts." not in max(handle.keys())


def test_only_sglangs_folder_has_a_head_of_its_own_and_it_is_the_embedding(
    tmp_path: Path, origin: Path
) -> None:
    for convention in GROK1.conventions:
        convert(origin, tmp_path / convention, "hf", names=convention)
        assert ("lm_head.weight" in stored(tmp_path / convention)) == (convention == "sglang")
    arrays = stored(tmp_path / "sglang")
    np.testing.assert_array_equal(arrays["lm_head.weight"], arrays["model.embed_tokens.weight"])


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_presharded_files_hold_what_sglangs_loader_takes(
    tmp_path: Path, origin: Path, tp: int
) -> None:
    out = tmp_path / "sg"
    convert(origin, out, "sglang", tp=tp)
    config = json.loads((out / "config.json").read_text())
    assert config["load_presharded_moe"] == (tp > 1)
    assert not (out / INDEX).exists()
    whole = stored(convert_to(origin, tmp_path / "whole", "sglang"))
    loaded: set[str] = set()
    for rank in range(tp):
        own = [*out.glob(f"*-TP-{rank:03d}.safetensors")]
        common = [*out.glob("*-TP-common.safetensors")]
        assert own
        assert common
        arrays = {n: a for p in (*own, *common) for n, a in load_file(p).items()}
        assert set(arrays) == set(whole)
        loaded |= {p.name for p in (*own, *common)}
        for name, array in arrays.items():
            axis = {"w1": 0, "w3": 0, "w2": 1}.get(name.split(".")[-2])
            part = whole[name] if axis is None else np.split(whole[name], tp, axis)[rank]
            np.testing.assert_array_equal(array.astype(np.float32), part, err_msg=name)
    assert loaded == {p.name for p in shards(out)}
    assert "lm_head.weight" in whole


def convert_to(source: Path, out: Path, convention: str) -> Path:
    convert(source, out, "hf", names=convention)
    return out


# The tokenizer


def test_tokenizer_files_beside_the_source_are_carried_along(tmp_path: Path) -> None:
    source = shutil.copytree(GOLDEN, tmp_path / "in")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (source / name).write_text(json.dumps({"of": name}))
    convert(source, tmp_path / "hf", "hf")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "hf" / name).read_bytes() == (source / name).read_bytes()
    target = plan_convert(open_checkpoint(str(source)), "hf").target
    assert not [note for note in target.notes if "tokenizer" in note]
    none = plan_convert(open_checkpoint(str(source)), "hf", ConvertOptions(tokenizer="none")).target
    assert "tokenizer.json" not in none.finals
    assert "no tokenizer here" in none.finals["README.md"].decode()
    (source / "tokenizer.json").unlink()
    (source / "tokenizer.model").write_bytes(sentencepieces(60))
    alone = plan_convert(open_checkpoint(str(source)), "hf").target.finals["README.md"].decode()
    assert "transformers 4.57 needs a `tokenizer.json`" in " ".join(alone.split())
    assert "transformers 4.57 needs" not in target.finals["README.md"].decode()


def test_a_tokenizer_may_be_named_by_file_or_folder(tmp_path: Path, origin: Path) -> None:
    place = tmp_path / "tokenizer"
    place.mkdir()
    pieces, others = sentencepieces(60), sentencepieces(50)
    (place / "tokenizer.model").write_bytes(pieces)
    (tmp_path / "other.model").write_bytes(others)
    checkpoint = open_checkpoint(str(origin))
    for given, held in (
        (place, pieces),
        (place / "tokenizer.model", pieces),
        (tmp_path / "other.model", others),
    ):
        finals = plan_convert(checkpoint, "hf", ConvertOptions(tokenizer=str(given))).target.finals
        assert finals["tokenizer.model"] == held
    for missing in (tmp_path / "nowhere", origin):
        with pytest.raises(GrokpackError) as caught:
            plan_convert(checkpoint, "hf", ConvertOptions(tokenizer=str(missing)))
        assert caught.value.code == "GP306"


def test_xais_tokenizer_alone_is_described_to_transformers(tmp_path: Path, origin: Path) -> None:
    """Llama's class, the usual one for such a file, would cut most texts otherwise."""
    given = tmp_path / "tokenizer.model"
    pieces = sentencepieces(60)
    given.write_bytes(pieces)
    checkpoint, options = open_checkpoint(str(origin)), ConvertOptions(tokenizer=str(given))
    assert (
        tokenizer_files.TOKENIZER_CONFIG
        not in plan_convert(checkpoint, "hf", options).target.finals
    )
    assert GROK1.tokenizer.sha256 is not None
    own = replace(GROK1.tokenizer, sha256=hashlib.sha256(pieces).hexdigest())
    family = replace(GROK1, tokenizer=own)
    checkpoint = replace(checkpoint, model=Model(family, checkpoint.geometry))
    with pytest.raises(GrokpackError, match="another model") as caught:
        plan_convert(checkpoint, "hf", options)
    assert caught.value.code == "GP306"
    checkpoint = replace(checkpoint, model=Model(replace(family, release=WIDE), WIDE))
    written = plan_convert(checkpoint, "hf", options).target.finals[
        tokenizer_files.TOKENIZER_CONFIG
    ]
    assert json.loads(written)["tokenizer_class"] == "PreTrainedTokenizerFast"
    (tmp_path / tokenizer_files.TOKENIZER_CONFIG).write_text("{}")
    kept = plan_convert(checkpoint, "hf", options).target.finals[tokenizer_files.TOKENIZER_CONFIG]
    assert kept == b"{}"
