"""Grok-2 as a table: every tensor's place, shape, part, tensor-parallel axis and names.

xAI published no code for it. Sources: the names, shapes and files that Tenstorrent's loader of the
release reads; the constants of the release's config.json; SGLang's models/grok.py for the network.
The release has a file for each kind of tensor, numbered in the order of this table.
"""

from __future__ import annotations

import math

from grokpack.core.tensors import DType
from grokpack.models.architecture import Constants, Geometry, NetworkPart
from grokpack.models.family import Architecture, Family, Publication, ReleaseLayout
from grokpack.models.gguf_names import GgufNames, square_attention
from grokpack.models.tensor_names import Convention, ModelClasses
from grokpack.models.tokenizer_table import ChatFormat, TokenizerTable

_NAMES: dict[NetworkPart, str] = {
    "embedding": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "final_norm": "model.norm.weight",
    "mlp_gate": "mlp.gate_proj.weight",
    "mlp_down": "mlp.down_proj.weight",
    "mlp_up": "mlp.up_proj.weight",
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
}
_RELEASE = Geometry(
    vocab=131072,
    d_model=8192,
    layers=64,
    experts=8,
    ffn=16384,
    mlp=32768,
    q_width=8192,
    kv_width=1024,
    head_dim=128,
    scale_groups=None,
)


_CONFIG = {
    "architectures": ["Grok1ForCausalLM"],
    "embedding_multiplier_scale": 90.50966799187809,
    "output_multiplier_scale": 0.5,
    "vocab_size": 131072,
    "hidden_size": 8192,
    "intermediate_size": 32768,
    "moe_intermediate_size": 16384,
    "max_position_embeddings": 131072,
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "residual_moe": True,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "num_hidden_layers": 64,
    "head_dim": 128,
    "rms_norm_eps": 1e-05,
    "final_logit_softcapping": 50,
    "attn_logit_softcapping": 30.0,
    "router_logit_softcapping": 30.0,
    "rope_theta": 208533496,
    "attn_temperature_len": 1024,
    "sliding_window_size": -1,
    "global_attn_every_n": 1,
    "model_type": "git",
    "torch_dtype": "bfloat16",
    "rope_type": "original",
    "original_max_position_embeddings": 8192,
    "scaling_factor": 16.0,
    "extrapolation_factor": 1.0,
    "attn_factor": 1.0,
    "beta_fast": 8,
    "beta_slow": 1,
}
"""config.json of the release."""


def constants(geometry: Geometry) -> Constants:
    """Return the constants of the release; the head size must be known.

    Those of special tokens are not in config.json; there is none for the beginning of a text.
    """
    return Constants(
        embedding_multiplier=math.sqrt(geometry.d_model),
        attn_output_multiplier=1 / math.sqrt(geometry.head_dim or 1),
        output_multiplier=0.5,
        attn_logit_cap=30.0,
        router_logit_cap=30.0,
        final_logit_cap=50.0,
        rms_norm_eps=1e-5,
        rope_theta=208533496.0,
        temperature_context=1024,
        context=131072,
        selected_experts=2,
        pad=0,
        bos=-1,
        eos=2,
    )


_SGLANG = Convention(
    "sglang",
    "model.layers.{layer}.{rest}",
    _NAMES,
    ModelClasses("Grok1ForCausalLM", "git", tied=False),
    # modules of vLLM 0.24's models/grok1.py, by which it looks weights up in quantization configs
    fused={
        "expert_gate": "gate_proj",
        "expert_down": "down_proj",
        "expert_up": "up_proj",
        "query": "qkv_proj",
        "mlp_gate": "gate_up_proj",
    },
    renamed={"self_attn": "attn", "block_sparse_moe": "moe_block"},
)
_GGUF = GgufNames(
    "grok",
    # as llama.cpp's converter writes them; the release's `rope_type` is `original`, which is none
    yarn={
        "factor": "scaling_factor",
        "original_context_length": "original_max_position_embeddings",
        "yarn_ext_factor": "extrapolation_factor",
        "yarn_attn_factor": "attn_factor",
        "yarn_beta_fast": "beta_fast",
        "yarn_beta_slow": "beta_slow",
    },
    otherwise="no temperature of attention, no cap of the router's logits, gates of the chosen "
    "experts that add up to one, the tanh form of GELU",
    limit=square_attention,
)

_CHAT = ChatFormat(
    labels={"user": "Human: ", "system": "System: ", "assistant": "Assistant: "},
    end="<|separator|>\n\n",
    stripped=("user", "system"),
    answer="Assistant:",
)
"""As SGLang's tiktoken_tokenizer.py has it; the release says in words only that there is one."""

_TOKENIZER = TokenizerTable(
    "byte-pairs",
    released=True,
    config={
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|eos|>",
        "pad_token": "<|pad|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    },
    special={"eot": "<|separator|>", "eos": "<|eos|>", "padding": "<|pad|>"},
    stops=("<|separator|>", "<|eos|>"),
    chat=_CHAT,
)


GROK2 = Family(
    name="grok-2",
    # a tensor of the model is the stack of a layer's experts, so that its name has no expert
    paths={part: name.replace(".{expert}", "") for part, name in _NAMES.items()},
    layer_prefix="model.layers.{layer}.",
    release=_RELEASE,
    release_layout=ReleaseLayout(
        "hf", weights=DType.BF16, others=DType.BF16, stem="pytorch_model", ranks=8
    ),
    publication=Publication(
        organization="xAI",
        repository="xai-org/grok-2",
        license="other",
        license_words="Grok 2 Community License Agreement",
        license_name="grok-2-community",
        download="--local-dir grok-2",
    ),
    network=Architecture(gelu="erf", mix_factor=1 / math.sqrt(2), masks_padding=False),
    constants=constants,
    conventions={_SGLANG.name: _SGLANG},
    gguf=_GGUF,
    tokenizer=_TOKENIZER,
    config=_CONFIG,
    marks={"model_type": "git"},
    # SGLang and vLLM take the first two of `rope_type` for plain rotation
    switches={
        "rope_type": ("original", "default"),
        "rope_scaling": ("none",),
        "residual_moe": (True,),
        "sliding_window_size": (-1, 0),
    },
    # its tokenizer is named to SGLang; one backend alone has the temperature of attention
    sglang_options="--tokenizer-path FOLDER/tokenizer.tok.json --attention-backend triton",
)
