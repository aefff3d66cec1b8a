"""Names in llama.cpp: keys of GGUF files, and a family's architecture and names of tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from grokpack.models.architecture import Geometry, NetworkPart

TENSORS: Mapping[NetworkPart, str] = {
    "embedding": "token_embd.weight",
    "head": "output.weight",
    "final_norm": "output_norm.weight",
    "mlp_gate": "ffn_gate.weight",
    "mlp_down": "ffn_down.weight",
    "mlp_up": "ffn_up.weight",
    "expert_gate": "ffn_gate_exps.weight",
    "expert_down": "ffn_down_exps.weight",
    "expert_up": "ffn_up_exps.weight",
    "key": "attn_k.weight",
    "attention_output": "attn_output.weight",
    "query": "attn_q.weight",
    "value": "attn_v.weight",
    "pre_attention_norm": "attn_norm.weight",
    "post_attention_norm": "attn_output_norm.weight",
    "pre_expert_norm": "ffn_norm.weight",
    "post_expert_norm": "post_ffw_norm.weight",
    "router": "ffn_gate_inp.weight",
}
"""Name of each part's tensors, of a layer's below `blk.N.`."""

_DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "block_count": ("layers",),
    "embedding_length": ("d_model",),
    "feed_forward_length": ("mlp", "ffn"),
    "expert_feed_forward_length": ("ffn",),
    "expert_count": ("experts",),
    "attention.head_count": ("q_heads",),
    "attention.head_count_kv": ("kv_heads",),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "rope.dimension_count": ("head_dim",),
}
"""Dimension of `Geometry` by key, in the order of the file; of several the first that a model has.

Of several keys for one dimension, the first that a file has is read.
"""

_CONSTANTS: Mapping[str, str] = {
    "context_length": "context",
    "expert_used_count": "selected_experts",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "logit_scale": "output_multiplier",
    "embedding_scale": "embedding_multiplier",
    "attention.output_scale": "attn_output_multiplier",
    "attn_logit_softcapping": "attn_logit_cap",
    "router_logit_softcapping": "router_logit_cap",
    "final_logit_softcapping": "final_logit_cap",
    "attention.temperature_length": "temperature_context",
}
"""Constant of `Constants` by key, likewise."""


def dimension_keys(known: Collection[str]) -> dict[str, str]:
    """Return the dimension by key, of the dimensions that a family has."""
    chosen = {key: [name for name in names if name in known] for key, names in _DIMENSIONS.items()}
    return {key: names[0] for key, names in chosen.items() if names}


def constant_keys(known: Collection[str]) -> dict[str, str]:
    """Return the constant by key, of the constants that a family has."""
    return {key: name for key, name in _CONSTANTS.items() if name in known}


def square_attention(geometry: Geometry) -> str:
    """Say what src/models/grok.cpp of llama.cpp, load_arch_tensors, does not take."""
    if geometry.q_width == geometry.d_model:
        return ""
    return (
        "it takes no Grok whose query heads together are "
        f"{geometry.q_width:,} wide and its residual {geometry.d_model:,}"
    )


def no_limit(_geometry: Geometry) -> str:
    """Say that llama.cpp loads a model whatever its dimensions."""
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class GgufNames:
    """Keys and names of a family's GGUF files.

    Attributes:
        architecture: `general.architecture`, below which the keys lie; families may share it.
        tensors: Names by part, of a layer's tensors below `blk.N.`; those of parts that the family
            lacks do no harm.
        tokens: Token of `Constants` by llama.cpp's name of it, in a family whose own config has it.
        fixed: Numbers that are written whatever the model, by key.
        yarn: Keys of the family's config by llama.cpp's keys of YaRN, which are written on request
            only; empty for a family that has none.
        otherwise: What llama.cpp computes otherwise, in words; empty if nothing.
        head: Name of the output head where it is a copy of the embedding.
        limit: Says why llama.cpp will not load a model of some dimensions; "" if it will.
    """

    architecture: str
    tensors: Mapping[NetworkPart, str] = field(default_factory=lambda: TENSORS)
    tokens: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    yarn: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = ""
    head: str = "output.weight"
    limit: Callable[[Geometry], str] = no_limit

    def name_of(self, part: NetworkPart, layer: int | None) -> str:
        """Return the name of a tensor; empty where llama.cpp has none."""
        name = self.tensors.get(part, "")
        return f"blk.{layer}.{name}" if name and layer is not None else name
