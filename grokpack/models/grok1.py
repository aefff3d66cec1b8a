"""Grok-1 as a short table: every tensor's place, shape, role, tensor-parallel axis and names.

Source of order, shapes and partition rules: xAI's `model.py` (TRANSFORMER_PARTITION_RULES,
LM_PARTITION_RULES) and the flattening order of haiku's parameter dict, which sorts full module
paths as strings; so layers are stored in the order 0, 1, 10, 11, ..., 19, 2, 20, ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from grokpack.core.tensors import ArraySpec, DType, TensorSpec
from grokpack.models.architecture import Geometry, ModelTensor, TensorRule

if TYPE_CHECKING:
    from collections.abc import Iterator

"""How ranks share a weight stored `[in, out]`: by outputs, by inputs, by embedding features."""

LAYER_SLOTS = 12  # tensors per decoder layer
GLOBAL_SLOTS = 2  # embedding and final norm come before the layers


GLOBAL_RULES = (
    TensorRule(
        "language_model/in_out_embed/embeddings",
        ("vocab", "d_model"),
        "embedding",
        "token embedding, tied output head",
        "features",
        "token_embd.weight",
    ),
    TensorRule(
        "language_model/rms_norm/scale",
        ("d_model",),
        "norm",
        "final norm",
        "none",
        "output_norm.weight",
    ),
)
LAYER_RULES = (
    TensorRule(
        "moe/linear/w",
        ("experts", "d_model", "ffn"),
        "expert",
        "experts, gate projection",
        "columns",
        "ffn_gate_exps.weight",
    ),
    TensorRule(
        "moe/linear_1/w",
        ("experts", "ffn", "d_model"),
        "expert",
        "experts, down projection",
        "rows",
        "ffn_down_exps.weight",
    ),
    TensorRule(
        "moe/linear_v/w",
        ("experts", "d_model", "ffn"),
        "expert",
        "experts, up projection",
        "columns",
        "ffn_up_exps.weight",
    ),
    TensorRule(
        "multi_head_attention/key/w",
        ("d_model", "kv_width"),
        "attention",
        "key projection",
        "columns",
        "attn_k.weight",
    ),
    TensorRule(
        "multi_head_attention/linear/w",
        ("q_width", "d_model"),
        "attention",
        "output projection",
        "rows",
        "attn_output.weight",
    ),
    TensorRule(
        "multi_head_attention/query/w",
        ("d_model", "q_width"),
        "attention",
        "query projection",
        "columns",
        "attn_q.weight",
    ),
    TensorRule(
        "multi_head_attention/value/w",
        ("d_model", "kv_width"),
        "attention",
        "value projection",
        "columns",
        "attn_v.weight",
    ),
    TensorRule(
        "rms_norm/scale", ("d_model",), "norm", "norm before attention", "none", "attn_norm.weight"
    ),
    TensorRule(
        "rms_norm_1/scale",
        ("d_model",),
        "norm",
        "norm after attention",
        "none",
        "attn_output_norm.weight",
    ),
    TensorRule(
        "rms_norm_2/scale",
        ("d_model",),
        "norm",
        "norm before the experts",
        "none",
        "ffn_norm.weight",
    ),
    TensorRule(
        "rms_norm_3/scale",
        ("d_model",),
        "norm",
        "norm after the experts",
        "none",
        "layer_output_norm.weight",
    ),
    TensorRule(
        "router/w", ("d_model", "experts"), "router", "router", "none", "ffn_gate_inp.weight"
    ),
)


GROK1 = Geometry(
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


def is_release(geometry: Geometry) -> bool:
    """Whether the dimensions are exactly those of the released model."""
    same = replace(geometry, head_dim=GROK1.head_dim, scale_groups=GROK1.scale_groups)
    return same == GROK1


SELECTED_EXPERTS = 2  # experts that work on each token; run.py: num_selected_experts


def layer_order(layers: int) -> list[int]:
    """Layers in the order of the files: sorted as strings."""
    return sorted(range(layers), key=str)


@cache
def entries(layers: int) -> tuple[ModelTensor, ...]:
    """Every tensor in file order; entry `i` is the one in `tensor{i:05d}_000`."""
    found = [ModelTensor(i, None, rule) for i, rule in enumerate(GLOBAL_RULES)]
    for layer in layer_order(layers):
        found += [ModelTensor(len(found) + s, layer, rule) for s, rule in enumerate(LAYER_RULES)]
    return tuple(found)


@cache
def entries_by_name(layers: int) -> dict[str, ModelTensor]:
    """The same tensors by name."""
    return {entry.name: entry for entry in entries(layers)}


def layers_of(tensors: int) -> int:
    """Layers of a model with this many tensors, rounded up where some are missing."""
    return max(0, -(-(tensors - GLOBAL_SLOTS) // LAYER_SLOTS))


def layer_of(name: str) -> int | None:
    """The decoder layer that a parameter name belongs to."""
    match = re.match(r"transformer/decoder_layer_(\d+)/", name)
    return int(match[1]) if match else None


def spec(geometry: Geometry, entry: ModelTensor) -> TensorSpec:
    """Shape and dtype of a tensor as the release stores it, with the geometry's scale groups."""
    shape = geometry.shape(entry.rule)
    if not entry.rule.quantized:
        return TensorSpec(entry.name, ArraySpec(shape, DType.F32))
    rows = (geometry.scale_groups or shape[-2]) if entry.rule.cut == "rows" else 1
    scales = ArraySpec((*shape[:-2], rows, shape[-1]), DType.BF16)
    return TensorSpec(entry.name, ArraySpec(shape, DType.I8), scales)


def specs(geometry: Geometry) -> Iterator[TensorSpec]:
    """Every tensor of the model, in file order."""
    return (spec(geometry, entry) for entry in entries(geometry.layers))


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameter counts, scales left out."""

    total: int
    active: int
    by_role: dict[str, int]


def count_parameters(geometry: Geometry) -> Parameters:
    """Count parameters in all, by role, and those that work on one token (2 experts of 8)."""
    by_role: dict[str, int] = {}
    for tensor, entry in zip(specs(geometry), entries(geometry.layers), strict=True):
        by_role[entry.rule.role] = by_role.get(entry.rule.role, 0) + tensor.values.elements
    total = sum(by_role.values())
    experts = by_role.get("expert", 0)
    used = experts * min(SELECTED_EXPERTS, geometry.experts) // geometry.experts
    return Parameters(total, total - experts + used, by_role)


"""Who the ranks are: HF, SGLang and vLLM cut the embedding by rows; xAI's JAX by features."""
