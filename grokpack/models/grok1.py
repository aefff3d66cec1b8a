"""Grok-1 as a table: every tensor's place, shape, part, tensor-parallel axis and names.

Sources of order, shapes and partition rules: xAI's `model.py` (TRANSFORMER_PARTITION_RULES,
LM_PARTITION_RULES) and the flattening order of haiku's parameter dict, which sorts full module
paths as strings; so layers are stored in the order 0, 1, 10, 11, ..., 19, 2, 20, ...

Sources of the names in safetensors: keyfan/grok-1-hf follows Aqwu's convert_hf.py;
hpcai-tech/grok-1 has its own modelling file, whose names vLLM reads as well; SGLang's
models/grok.py.
"""

from __future__ import annotations

import math

from grokpack.core.tensors import DType
from grokpack.models.architecture import Constants, Geometry, NetworkPart
from grokpack.models.family import (
    Architecture,
    Family,
    Publication,
    ReleaseLayout,
)
from grokpack.models.gguf_names import TENSORS, GgufNames, square_attention
from grokpack.models.tensor_names import Convention, ModelClasses
from grokpack.models.tokenizer_table import TokenizerTable

_PATHS: dict[NetworkPart, str] = {
    "embedding": "language_model/in_out_embed/embeddings",
    "final_norm": "language_model/rms_norm/scale",
    "expert_gate": "moe/linear/w",
    "expert_down": "moe/linear_1/w",
    "expert_up": "moe/linear_v/w",
    "key": "multi_head_attention/key/w",
    "attention_output": "multi_head_attention/linear/w",
    "query": "multi_head_attention/query/w",
    "value": "multi_head_attention/value/w",
    "pre_attention_norm": "rms_norm/scale",
    "post_attention_norm": "rms_norm_1/scale",
    "pre_expert_norm": "rms_norm_2/scale",
    "post_expert_norm": "rms_norm_3/scale",
    "router": "router/w",
}
_RELEASE = Geometry(
    vocab=131072,
    d_model=6144,
    layers=64,
    experts=8,
    ffn=32768,
    q_width=6144,
    kv_width=1024,
    head_dim=128,
    scale_groups=8,
)
"""The release; xAI's run.py gives the head size (key_size) of 128."""


def layer_order(layers: int) -> list[int]:
    """Return the layers in the order of the files: sorted as strings."""
    return sorted(range(layers), key=str)


def constants(geometry: Geometry) -> Constants:
    """Return the constants of xAI's run.py and model.py; the head size must be known."""
    return Constants(
        embedding_multiplier=math.sqrt(geometry.d_model),
        attn_output_multiplier=1 / math.sqrt(geometry.head_dim or 1),
        output_multiplier=0.5773502691896257,
        attn_logit_cap=30.0,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        context=8192,
        selected_experts=2,
        pad=0,
        bos=1,
        eos=2,
    )


_HYPERPARAMETERS = {  # xAI's key, then Hugging Face's
    "embedding_multiplier": ("embedding_multiplier_scale",),
    "attn_output_multiplier": ("attn_output_multiplier",),
    "output_multiplier": ("output_multiplier_scale",),
    "attn_logit_cap": ("attn_logit_cap", "attn_logit_softcapping", "max_attn_value"),
    "rms_norm_eps": ("rms_norm_eps",),
    "rope_theta": ("rope_theta", "rope_parameters.rope_theta"),  # the second in transformers 5
    "context": ("sequence_len", "max_position_embeddings"),
    "selected_experts": ("num_selected_experts", "num_experts_per_tok"),
    "pad": ("pad_token", "pad_token_id"),
    "bos": ("bos_token", "bos_token_id"),
    "eos": ("eos_token", "eos_token_id"),
}
_DIMENSIONS = {  # names in xAI's run.py, then in Hugging Face configs
    "vocab": ("vocab_size",),
    "d_model": ("emb_size", "hidden_size"),
    "layers": ("num_layers", "num_hidden_layers"),
    "experts": ("num_experts", "num_local_experts"),
    "ffn": ("ffn_size", "moe_intermediate_size", "intermediate_size"),
    "head_dim": ("key_size", "head_dim"),
    "q_heads": ("num_q_heads", "num_attention_heads"),
    "kv_heads": ("num_kv_heads", "num_key_value_heads"),
    "scale_groups": ("scale_groups",),
}
_KEYFAN = Convention(
    "keyfan",
    "transformer.decoder_layer.{layer}.{rest}",
    {
        "embedding": "transformer.in_out_embed.weight",
        "final_norm": "transformer.rms_norm.weight",
        "expert_gate": "moe.{expert}.linear.weight",
        "expert_down": "moe.{expert}.linear_1.weight",
        "expert_up": "moe.{expert}.linear_v.weight",
        "key": "multi_head_attention.key.weight",
        "attention_output": "multi_head_attention.linear.weight",
        "query": "multi_head_attention.query.weight",
        "value": "multi_head_attention.value.weight",
        "pre_attention_norm": "rms_norm.weight",
        "post_attention_norm": "rms_norm_1.weight",
        "pre_expert_norm": "rms_norm_2.weight",
        "post_expert_norm": "rms_norm_3.weight",
        "router": "router.weight",
    },
    ModelClasses("GrokForCausalLM", "grok", "GrokConfig"),
)
_HPCAI = Convention(
    "hpcai",
    "model.layers.{layer}.{rest}",
    {
        "embedding": "model.embed_tokens.weight",
        "final_norm": "model.norm.scale",
        "expert_gate": "moe_block.experts.{expert}.linear.weight",
        "expert_down": "moe_block.experts.{expert}.linear_1.weight",
        "expert_up": "moe_block.experts.{expert}.linear_v.weight",
        "key": "attn.k_proj.weight",
        "attention_output": "attn.o_proj.weight",
        "query": "attn.q_proj.weight",
        "value": "attn.v_proj.weight",
        "pre_attention_norm": "pre_attn_norm.scale",
        "post_attention_norm": "post_attn_norm.scale",
        "pre_expert_norm": "pre_moe_norm.scale",
        "post_expert_norm": "post_moe_norm.scale",
        "router": "moe_block.gate.weight",
    },
    ModelClasses("Grok1ModelForCausalLM", "grok-1", "Grok1Config"),
    fused={
        "expert_gate": "gate_proj",
        "expert_down": "down_proj",
        "expert_up": "up_proj",
        "query": "qkv_proj",
    },
)
_SGLANG = Convention(
    "sglang",
    "model.layers.{layer}.{rest}",
    {
        "embedding": "model.embed_tokens.weight",
        "final_norm": "model.norm.weight",
        "expert_gate": "block_sparse_moe.experts.{expert}.w1.weight",
        "expert_down": "block_sparse_moe.experts.{expert}.w2.weight",
        "expert_up": "block_sparse_moe.experts.{expert}.w3.weight",
        "key": "self_attn.k_proj.weight",
        "attention_output": "self_attn.o_proj.weight",
        "query": "self_attn.q_proj.weight",
        "value": "self_attn.v_proj.weight",
        "pre_attention_norm": "pre_attn_norm.weight",
        "post_attention_norm": "post_attn_norm.weight",
        "pre_expert_norm": "pre_moe_norm.weight",
        "post_expert_norm": "post_moe_norm.weight",
        "router": "block_sparse_moe.gate.weight",
    },
    # its loader fails without the output head
    ModelClasses("Grok1ForCausalLM", "grok-1", "Grok1SGLangConfig", tied=False),
)


_GGUF = GgufNames(
    "grok",
    {**TENSORS, "post_expert_norm": "layer_output_norm.weight"},
    tokens={"padding": "pad", "bos": "bos", "eos": "eos"},
    # what llama.cpp's converter writes and takes by default; its network has none
    fixed={"router_logit_softcapping": 30.0},
    limit=square_attention,
)

_TOKENIZER = TokenizerTable(
    "sentencepiece",
    sha256="5c69d7cbad192fa2c9d14e2a77fbfdc11597c68907b043ddb0260e3d28eddd7f",
    config={
        "add_bos_token": False,  # the reference adds none to its prompts
        "add_eos_token": False,
        "bos_token": "[BOS]",
        "clean_up_tokenization_spaces": False,
        "eos_token": "[EOS]",
        "model_max_length": 8192,
        "pad_token": "[PAD]",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "[UNK]",
    },
)


GROK1 = Family(
    name="grok-1",
    paths=_PATHS,
    layer_prefix="transformer/decoder_layer_{layer}/",
    release=_RELEASE,
    release_layout=ReleaseLayout("ckpt-0", weights=DType.I8, others=DType.F32),
    publication=Publication(
        organization="xAI",
        repository="xai-org/grok-1",
        license="apache-2.0",
        license_words="Apache License 2.0",
        host="https://github.com",
        download="--include 'ckpt-0/*' --local-dir checkpoints",
    ),
    network=Architecture(gelu="tanh"),
    constants=constants,
    hyperparameters=_HYPERPARAMETERS,
    dimensions=_DIMENSIONS,
    conventions={c.name: c for c in (_HPCAI, _SGLANG, _KEYFAN)},
    code=("configuration_grok1.py", "modeling_grok1.py"),
    gguf=_GGUF,
    tokenizer=_TOKENIZER,
    layer_order=layer_order,
)
