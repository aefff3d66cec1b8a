"""config.json and generation_config.json of Hugging Face folders.

Programs differ in the keys that they read and in their defaults for missing ones. vLLM caps the
router's logits and renormalizes the gates unless the config forbids it. SGLang expects one rank's
share of each expert unless the config says that the files are whole. llama.cpp's converter fails
without `num_local_experts` and the two multipliers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.models import hyperparameters, registry
from grokpack.models.config_json import FILE, as_released, rendered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.models.architecture import Constants, Geometry, ModelTensor
    from grokpack.models.family import Family, Model
    from grokpack.models.tensor_names import Convention, ModelClasses

_GELUS = {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}  # transformers' names


def convention(family: Family, name: str | None) -> Convention:
    """Return a family's tensor names in a convention, by default its first.

    Raises:
        GrokpackError: GP346 for a convention that no family has, GP306 for one that this lacks.
    """
    name = name or next(iter(family.conventions), "")
    if name and name not in registry.convention_names():
        raise UnusableValue.choice("--names", name, registry.convention_names())
    if name not in family.conventions:
        whose = f"in the convention of {name}" if name else "in safetensors"
        what = f"{family.title} has no names {whose}"
        known = ", ".join(family.conventions) or "none"
        raise GrokpackError("GP306", what, None, (("it has", known),))
    return family.conventions[name]


def head_copies(model: Model, own: Convention) -> list[tuple[str, ModelTensor]]:
    """Return the output head that is stored as a copy of the embedding, with its source."""
    copied = model.family.tied and not own.classes.tied
    return [(own.head, model.tensor("embedding"))] if copied else []


def render(
    own: Convention,
    model: Model,
    source: Mapping[str, Any],
    dtype: str,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Render config.json and generation_config.json; the latter for a release without config.json.

    Args:
        own: The convention of the names.
        model: The model; its head size must be known.
        source: The source's config, whose constants are carried over.
        dtype: Torch's name of the weights' dtype.
        extra: More keys, which override others.
    """
    family, tied = model.family, own.classes.tied and model.family.tied
    named = {"torch_dtype": dtype, "tie_word_embeddings": tied}
    if family.config:
        released = as_released(model, source) | named | dict(extra or {})
        return {FILE: rendered(released, sort=False)}
    known = hyperparameters.read(source, model)
    ids = {"pad_token_id": known.pad, "bos_token_id": known.bos, "eos_token_id": known.eos}
    config = {**_described(own.classes, model, known), **named, **ids, **family.marks}
    config |= extra or {}
    config |= _unsaid(config, family.dimensions, model.geometry)
    config |= _unsaid(config, family.hyperparameters, known)
    generation = {"_from_model_config": True, **ids}
    return {
        FILE: rendered(config),
        "generation_config.json": rendered(generation),
    }


def _described(classes: ModelClasses, model: Model, known: Constants) -> dict[str, Any]:
    """Describe a model in transformers' keys."""
    geometry, family = model.geometry, model.family
    groups = geometry.scale_groups
    return {
        "architectures": [classes.model],
        **_auto_map(family, classes),
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
        **({} if groups is None else {"scale_groups": groups}),
        **_constants(known),
        "hidden_act": _GELUS[family.network.gelu],
        "mask_pad_token": True,
        "use_cache": True,
    }


def _unsaid(
    config: Mapping[str, Any], keys: Mapping[str, tuple[str, ...]], said: Geometry | Constants
) -> dict[str, Any]:
    """Return the family's own keys of numbers that a config lacks, or has for something else."""
    numbers = {name: getattr(said, name) for name in keys}
    return {
        own[0]: numbers[name]
        for name, own in keys.items()
        if numbers[name] is not None and numbers[name] not in [config.get(key) for key in own]
    }


def _constants(known: Constants) -> dict[str, Any]:
    """Return the constants by the keys that engines read."""
    return {
        "num_experts_per_tok": known.selected_experts,
        "max_position_embeddings": known.context,
        "rope_theta": known.rope_theta,
        "rms_norm_eps": known.rms_norm_eps,
        "attn_output_multiplier": known.attn_output_multiplier,
        "attn_logit_softcapping": known.attn_logit_cap,
        "max_attn_value": known.attn_logit_cap,
        "router_logit_softcapping": known.router_logit_cap or 0,
        "moe_router_renormalize": False,
        "embedding_multiplier_scale": known.embedding_multiplier,
        "output_multiplier_scale": known.output_multiplier,
    }


def _auto_map(family: Family, classes: ModelClasses) -> dict[str, Any]:
    """Return the entry for modelling code, if the family has some."""
    if not family.code:
        return {}
    configuration, modelling = (name.removesuffix(".py") for name in family.code)
    return {
        "auto_map": {
            "AutoConfig": f"{configuration}.{classes.config}",
            "AutoModelForCausalLM": f"{modelling}.{classes.model}",
        }
    }
