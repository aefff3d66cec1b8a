"""A Hugging Face folder from a ckpt-0 folder, by a converter that shares nothing with grokpack's.

It holds all weights in memory and is meant for tiny checkpoints. Only the two Python files in the
folder are grokpack's: they are what the oracle tests.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from tests.oracle.forward import load

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL_CODE = Path(__file__).parents[3] / "grokpack" / "conversion" / "model_code"
CODE = ("configuration_grok1.py", "modeling_grok1.py")

LAYER = "transformer/decoder_layer_{}/"
EMBEDDING = "language_model/in_out_embed/embeddings"
FINAL_NORM = "language_model/rms_norm/scale"


@dataclass(frozen=True)
class Naming:
    """A convention: the classes that read it, and its names; N is a layer, E an expert."""

    model_class: str
    config_class: str
    embedding: str
    norm: str
    layer: str
    parts: dict[str, str]  # xAI's name below a layer -> its name there


NAMINGS = {
    "hpcai": Naming(
        "Grok1ModelForCausalLM",
        "Grok1Config",
        "model.embed_tokens.weight",
        "model.norm.scale",
        "model.layers.N.",
        {
            "multi_head_attention/query/w": "attn.q_proj.weight",
            "multi_head_attention/key/w": "attn.k_proj.weight",
            "multi_head_attention/value/w": "attn.v_proj.weight",
            "multi_head_attention/linear/w": "attn.o_proj.weight",
            "moe/linear/w": "moe_block.experts.E.linear.weight",
            "moe/linear_v/w": "moe_block.experts.E.linear_v.weight",
            "moe/linear_1/w": "moe_block.experts.E.linear_1.weight",
            "router/w": "moe_block.gate.weight",
            "rms_norm/scale": "pre_attn_norm.scale",
            "rms_norm_1/scale": "post_attn_norm.scale",
            "rms_norm_2/scale": "pre_moe_norm.scale",
            "rms_norm_3/scale": "post_moe_norm.scale",
        },
    ),
    "sglang": Naming(
        "Grok1ForCausalLM",
        "Grok1SGLangConfig",
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.N.",
        {
            "multi_head_attention/query/w": "self_attn.q_proj.weight",
            "multi_head_attention/key/w": "self_attn.k_proj.weight",
            "multi_head_attention/value/w": "self_attn.v_proj.weight",
            "multi_head_attention/linear/w": "self_attn.o_proj.weight",
            "moe/linear/w": "block_sparse_moe.experts.E.w1.weight",
            "moe/linear_v/w": "block_sparse_moe.experts.E.w3.weight",
            "moe/linear_1/w": "block_sparse_moe.experts.E.w2.weight",
            "router/w": "block_sparse_moe.gate.weight",
            "rms_norm/scale": "pre_attn_norm.weight",
            "rms_norm_1/scale": "post_attn_norm.weight",
            "rms_norm_2/scale": "pre_moe_norm.weight",
            "rms_norm_3/scale": "post_moe_norm.weight",
        },
    ),
    "keyfan": Naming(
        "GrokForCausalLM",
        "GrokConfig",
        "transformer.in_out_embed.weight",
        "transformer.rms_norm.weight",
        "transformer.decoder_layer.N.",
        {
            "multi_head_attention/query/w": "multi_head_attention.query.weight",
            "multi_head_attention/key/w": "multi_head_attention.key.weight",
            "multi_head_attention/value/w": "multi_head_attention.value.weight",
            "multi_head_attention/linear/w": "multi_head_attention.linear.weight",
            "moe/linear/w": "moe.E.linear.weight",
            "moe/linear_v/w": "moe.E.linear_v.weight",
            "moe/linear_1/w": "moe.E.linear_1.weight",
            "router/w": "router.weight",
            "rms_norm/scale": "rms_norm.weight",
            "rms_norm_1/scale": "rms_norm_1.weight",
            "rms_norm_2/scale": "rms_norm_2.weight",
            "rms_norm_3/scale": "rms_norm_3.weight",
        },
    ),
}


def config_json(naming: str, dims: dict[str, Any], dtype: str, *, tied: bool) -> dict[str, Any]:
    """What each program that reads these names needs so as to compute the reference's logits."""
    names = NAMINGS[naming]
    config = {
        "architectures": [names.model_class],
        "auto_map": {
            "AutoConfig": f"configuration_grok1.{names.config_class}",
            "AutoModelForCausalLM": f"modeling_grok1.{names.model_class}",
        },
        "model_type": "grok" if naming == "keyfan" else "grok-1",
        "vocab_size": dims["vocab_size"],
        "hidden_size": dims["emb_size"],
        "intermediate_size": dims["ffn_size"],
        "num_hidden_layers": dims["num_layers"],
        "num_attention_heads": dims["num_q_heads"],
        "num_key_value_heads": dims["num_kv_heads"],
        "head_dim": dims["key_size"],
        "num_experts": dims["num_experts"],
        "num_local_experts": dims["num_experts"],
        "num_experts_per_tok": dims["num_selected_experts"],
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": dims["sequence_len"],
        "rope_theta": dims["rope_theta"],
        "rms_norm_eps": dims["rms_norm_eps"],
        "attn_output_multiplier": dims["attn_output_multiplier"],
        "attn_logit_softcapping": dims["attn_logit_cap"],
        "max_attn_value": dims["attn_logit_cap"],
        "embedding_multiplier_scale": dims["embedding_multiplier_scale"],
        "output_multiplier_scale": dims["output_multiplier_scale"],
        "mask_pad_token": True,
        "pad_token_id": dims["pad_token"],
        "bos_token_id": 1,
        "eos_token_id": dims["eos_token"],
        "tie_word_embeddings": tied,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    # What vLLM and SGLang do unless told otherwise is another network's.
    config |= {"router_logit_softcapping": 0, "moe_router_renormalize": False}
    if naming == "sglang":  # whole matrices, not one rank's share of them
        config |= {"load_presharded_moe": False}
    return config


def tensors(folder: Path, naming: str, *, tied: bool) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Name, values `f32[out, in]`, and whether they stay float32, of every tensor."""
    weights, dims = load(folder)
    names = NAMINGS[naming]
    embedding = torch.from_numpy(weights(EMBEDDING))
    yield names.embedding, embedding, False
    yield names.norm, torch.from_numpy(weights(FINAL_NORM)), True
    for layer in range(dims["num_layers"]):
        for raw, name in names.parts.items():
            own = (names.layer + name).replace(".N.", f".{layer}.")
            values = torch.from_numpy(weights(LAYER.format(layer) + raw))
            if ".E." in own:
                for expert, matrix in enumerate(values):
                    yield own.replace(".E.", f".{expert}."), matrix.T, False
            else:
                yield own, values.T if values.dim() > 1 else values, raw in _KEPT
    if not tied:
        yield "lm_head.weight", embedding.clone(), False


_KEPT = {"router/w", *(f"rms_norm{n}/scale" for n in ("", "_1", "_2", "_3"))}


def make_folder(source: Path, out: Path, naming: str, dtype: str, *, tied: bool) -> Path:
    """Write `out` from the checkpoint `source`; `dtype` is float32 or bfloat16."""
    out.mkdir(parents=True)
    state = {
        name: values.to(torch.float32 if kept else getattr(torch, dtype)).contiguous()
        for name, values, kept in tensors(source, naming, tied=tied)
    }
    names = list(state)
    shards = (names[: len(names) // 2], names[len(names) // 2 :])
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    for number, own in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: state[name] for name in own}, out / file, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(own, file)
    _write(out / "model.safetensors.index.json", index)
    dims = load(source)[1]
    _write(out / "config.json", config_json(naming, dims, dtype, tied=tied))
    ids = {"bos_token_id": 1, "eos_token_id": dims["eos_token"], "pad_token_id": dims["pad_token"]}
    _write(out / "generation_config.json", {"_from_model_config": True, **ids})
    for file in CODE:
        shutil.copy(MODEL_CODE / file, out / file)
    return out


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
