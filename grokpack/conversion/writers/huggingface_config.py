"""config.json and its companions for engines that read Hugging Face folders.

What each program reads, and what it takes where a key is missing, differs: vLLM caps the router's
logits and renormalises the gates unless it is told not to; SGLang expects one rank's share of each
expert unless it is told that the files are whole; llama.cpp's converter fails without
`num_local_experts` and the two multipliers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.models import hyperparameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.models.architecture import Geometry

CODE = ("configuration_grok1.py", "modeling_grok1.py")
"""Files of `grokpack/conversion/templates` that run such a folder in transformers."""


@dataclass(frozen=True, slots=True)
class Classes:
    """What a convention's folder calls its model: in `architectures`, `auto_map`, `model_type`."""

    model: str
    config: str
    model_type: str
    tied: bool


CLASSES = {
    "hpcai": Classes("Grok1ModelForCausalLM", "Grok1Config", "grok-1", tied=True),
    "sglang": Classes("Grok1ForCausalLM", "Grok1SGLangConfig", "grok-1", tied=False),
    "keyfan": Classes("GrokForCausalLM", "GrokConfig", "grok", tied=True),
}
"""SGLang's loader fails unless the files hold the output head; the others take the embedding."""


def render(
    names: str,
    geometry: Geometry,
    source: Mapping[str, Any],
    dtype: str,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """config.json and generation_config.json.

    Args:
        names: The convention.
        geometry: The model; its head size must be known.
        source: The source's config, whose constants are carried over.
        dtype: Torch's name of the weights' dtype.
        extra: More keys, which win.
    """
    known, classes = hyperparameters.read(source, geometry), CLASSES[names]
    ids = {"pad_token_id": known.pad, "bos_token_id": known.bos, "eos_token_id": known.eos}
    config = {
        "architectures": [classes.model],
        "auto_map": {
            "AutoConfig": f"configuration_grok1.{classes.config}",
            "AutoModelForCausalLM": f"modeling_grok1.{classes.model}",
        },
        "model_type": classes.model_type,
        "vocab_size": geometry.vocab,
        "hidden_size": geometry.d_model,
        "intermediate_size": geometry.ffn,
        "num_hidden_layers": geometry.layers,
        "num_attention_heads": geometry.q_heads,
        "num_key_value_heads": geometry.kv_heads,
        "head_dim": geometry.head_dim,
        "num_experts": geometry.experts,
        "num_local_experts": geometry.experts,
        "num_experts_per_tok": known.selected_experts,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": known.context,
        "rope_theta": known.rope_theta,
        "rms_norm_eps": known.rms_norm_eps,
        "attn_output_multiplier": known.attn_output_multiplier,
        "attn_logit_softcapping": known.attn_logit_cap,
        "max_attn_value": known.attn_logit_cap,
        "router_logit_softcapping": 0,
        "moe_router_renormalize": False,
        "embedding_multiplier_scale": known.embedding_multiplier,
        "output_multiplier_scale": known.output_multiplier,
        "mask_pad_token": True,
        "tie_word_embeddings": classes.tied,
        "torch_dtype": dtype,
        "use_cache": True,
        **ids,
        **(extra or {}),
    }
    if geometry.scale_groups is not None:
        config["scale_groups"] = geometry.scale_groups
    generation = {"_from_model_config": True, **ids}
    return {
        "config.json": _json(config),
        "generation_config.json": _json(generation),
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
