"""Keys of constants and dimensions in config.json of models on Hugging Face."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CONSTANT_KEYS: Mapping[str, tuple[str, ...]] = {
    "embedding_multiplier": ("embedding_multiplier_scale",),
    "attn_output_multiplier": ("attn_output_multiplier",),
    "output_multiplier": ("output_multiplier_scale",),
    "attn_logit_cap": ("attn_logit_softcapping",),
    "router_logit_cap": ("router_logit_softcapping",),
    "final_logit_cap": ("final_logit_softcapping",),
    "rms_norm_eps": ("rms_norm_eps",),
    "rope_theta": ("rope_theta", "rope_parameters.rope_theta"),  # the second in transformers 5
    "temperature_context": ("attn_temperature_len",),
    "context": ("max_position_embeddings",),
    "selected_experts": ("num_experts_per_tok",),
    "pad": ("pad_token_id",),
    "bos": ("bos_token_id",),
    "eos": ("eos_token_id",),
}
"""Keys of each of `Constants`."""

DIMENSION_KEYS: Mapping[str, tuple[str, ...]] = {
    "vocab": ("vocab_size",),
    "d_model": ("hidden_size",),
    "layers": ("num_hidden_layers",),
    "experts": ("num_local_experts",),
    "ffn": ("moe_intermediate_size",),
    "mlp": ("intermediate_size",),
    "head_dim": ("head_dim",),
    "q_heads": ("num_attention_heads",),
    "kv_heads": ("num_key_value_heads",),
}
"""Keys of each dimension that configs give."""
