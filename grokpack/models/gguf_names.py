"""Names of a family in llama.cpp: its architecture, keys and names of tensors in GGUF files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.models.architecture import Geometry, Part

DIMENSIONS: Mapping[str, str] = {
    "block_count": "layers",
    "embedding_length": "d_model",
    "feed_forward_length": "ffn",
    "expert_feed_forward_length": "ffn",
    "expert_count": "experts",
    "attention.head_count": "q_heads",
    "attention.head_count_kv": "kv_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "rope.dimension_count": "head_dim",
}
"""Dimension of `Geometry` by the key that all architectures without a dense MLP have."""

CONSTANTS: Mapping[str, str] = {
    "context_length": "context",
    "expert_used_count": "selected_experts",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "logit_scale": "output_multiplier",
    "embedding_scale": "embedding_multiplier",
    "attention.output_scale": "attn_output_multiplier",
    "attn_logit_softcapping": "attn_logit_cap",
}
"""Constant of `Constants` by key, likewise."""


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
        tensors: Names by part, of a layer's tensors below `blk.N.`.
        dimensions: Dimension by key, in the order of the file. Of several keys for one dimension,
            the first that a file has is read.
        constants: Constant by key, likewise.
        tokens: Token of `Constants` by llama.cpp's name of it, in a family whose own config has it.
        fixed: Numbers that are written whatever the model, by key.
        yarn: Keys of the family's config by llama.cpp's keys of YaRN, which are written on request
            only; empty for a family that has none.
        otherwise: What llama.cpp computes otherwise, in words; empty if nothing.
        head: Name of the output head where it is a copy of the embedding.
        limit: Says why llama.cpp will not load a model of some dimensions; "" if it will.
    """

    architecture: str
    tensors: Mapping[Part, str]
    dimensions: Mapping[str, str] = field(default_factory=lambda: DIMENSIONS)
    constants: Mapping[str, str] = field(default_factory=lambda: CONSTANTS)
    tokens: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    yarn: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = ""
    head: str = "output.weight"
    limit: Callable[[Geometry], str] = no_limit

    def name_of(self, part: Part, layer: int | None) -> str:
        """Return the name of a tensor; empty where llama.cpp has none."""
        name = self.tensors.get(part, "")
        return f"blk.{layer}.{name}" if name and layer is not None else name
