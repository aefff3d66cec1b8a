"""llama.cpp's mixes: the type that llama-quantize gives each tensor under a name like `q4_k_m`.

Source: src/llama-quant.cpp of llama.cpp, `llama_tensor_get_type_impl` and `tensor_type_fallback`,
for the architecture grok. Half of the layers get more bits under names that end in `_m`; models of
eight experts have keys and values in Q8_0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.ggml_types import GGMLType, Mix

if TYPE_CHECKING:
    from grokpack.models.architecture import Geometry, ModelTensor
    from grokpack.models.family import Model

_EIGHT = 8  # experts, as llama.cpp compares
_SHARING = 4  # query heads to each key head, from which on values count as precious
_FALLBACKS = {
    GGMLType.Q2_K: GGMLType.Q4_0,
    GGMLType.Q3_K: GGMLType.Q4_0,
    GGMLType.Q4_K: GGMLType.Q5_0,
    GGMLType.Q5_K: GGMLType.Q5_1,
    GGMLType.Q6_K: GGMLType.Q8_0,
}
"""Types for rows that are no multiple of 256."""


def mixed_type(mix: Mix, entry: ModelTensor, model: Model) -> GGMLType:
    """Return the type of a matrix or of the embedding in a mix.

    Args:
        mix: The mix.
        entry: The tensor.
        model: Its model.
    """
    inputs = model.geometry.shape(entry.rule)[-1 if entry.rule.by_token else -2]
    kind = _wanted(mix, entry, model, inputs)
    if mix.type is GGMLType.MXFP4 and not entry.rule.stacked:
        kind = GGMLType.Q8_0
    if inputs % kind.weights:
        kind = _FALLBACKS.get(kind, kind)
    return GGMLType.F16 if inputs % kind.weights else kind


def _wanted(mix: Mix, entry: ModelTensor, model: Model, inputs: int) -> GGMLType:
    geometry, layer = model.geometry, entry.layer or 0
    part = entry.rule.part
    if part == "head" or (part == "embedding" and model.family.tied):
        return GGMLType.Q8_0 if inputs % mix.type.weights else GGMLType.Q6_K
    if part in ("key", "value") and geometry.experts == _EIGHT:
        return GGMLType.Q8_0
    if part == "value":
        return _of_values(mix, geometry, layer)
    if part in ("mlp_down", "expert_down"):
        return _of_down_projections(mix, geometry, layer)
    if part == "attention_output":
        return _of_attention_outputs(mix, geometry)
    return mix.type


def _more_bits(layer: int, layers: int) -> bool:
    """Return whether a layer is in the first or last eighth, or every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2  # noqa: PLR2004


def _of_values(mix: Mix, geometry: Geometry, layer: int) -> GGMLType:
    many = _more_bits(layer, geometry.layers)
    shared = geometry.q_width >= _SHARING * geometry.kv_width
    return {
        "q2_k": GGMLType.Q4_K if shared else GGMLType.Q3_K,
        "q3_k_m": GGMLType.Q5_K if layer < 2 else GGMLType.Q4_K,  # noqa: PLR2004
        "q3_k_l": GGMLType.Q5_K,
        "q4_k_s": GGMLType.Q5_K if layer < 4 else mix.type,  # noqa: PLR2004
        "q4_k_m": GGMLType.Q6_K if many else mix.type,
        "q5_k_m": GGMLType.Q6_K if many else mix.type,
    }.get(mix.word, mix.type)


def _of_down_projections(mix: Mix, geometry: Geometry, layer: int) -> GGMLType:
    layers = geometry.layers
    many = _more_bits(layer, layers)
    return {
        "q2_k": GGMLType.Q3_K,
        "q3_k_m": GGMLType.Q5_K if layer < layers // 16 else GGMLType.Q4_K,
        "q3_k_l": GGMLType.Q5_K,
        "q4_k_s": GGMLType.Q5_K if layer < layers // 8 else mix.type,
        "q4_k_m": GGMLType.Q6_K if many else mix.type,
        "q5_k_m": GGMLType.Q6_K if many else mix.type,
    }.get(mix.word, mix.type)


def _of_attention_outputs(mix: Mix, geometry: Geometry) -> GGMLType:
    if geometry.experts == _EIGHT:
        many = mix.word in ("q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m")
        return GGMLType.Q5_K if many else mix.type
    return {
        "q2_k": GGMLType.Q3_K,
        "q3_k_m": GGMLType.Q4_K,
        "q3_k_l": GGMLType.Q5_K,
    }.get(mix.word, mix.type)
