"""Grok-1 as a short table: every tensor's place, shape, role, tensor-parallel axis and names.

Source of order, shapes and partition rules: xAI's `model.py` (TRANSFORMER_PARTITION_RULES,
LM_PARTITION_RULES) and the flattening order of haiku's parameter dict, which sorts full module
paths as strings; so layers are stored in the order 0, 1, 10, 11, ..., 19, 2, 20, ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from grokpack.layout import Box, cut
from grokpack.tensor import ArraySpec, DType, Shape, TensorSpec, scales_name, zeros_name

if TYPE_CHECKING:
    from collections.abc import Iterator

Role = Literal["embedding", "norm", "router", "attention", "expert"]
Cut = Literal["columns", "rows", "features", "none"]
"""How ranks share a weight stored `[in, out]`: by outputs, by inputs, by embedding features."""

LAYER_SLOTS = 12  # tensors per decoder layer
GLOBAL_SLOTS = 2  # embedding and final norm come before the layers


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of tensor.

    Attributes:
        path: Parameter name; below `transformer/decoder_layer_N/` for a layer's tensors.
        dims: Axes by their names in `Geometry`, for example `("experts", "d_model", "ffn")`.
        role: The part of the network it belongs to.
        title: What it is, in words.
        cut: How tensor-parallel ranks share it.
        gguf: llama.cpp's name, below `blk.N.` for a layer's tensors.
    """

    path: str
    dims: tuple[str, ...]
    role: Role
    title: str
    cut: Cut
    gguf: str

    @property
    def quantised(self) -> bool:
        """Whether the release stores it as int8 with bf16 scales."""
        return self.role in ("expert", "attention")


GLOBAL_RULES = (
    Rule(
        "language_model/in_out_embed/embeddings",
        ("vocab", "d_model"),
        "embedding",
        "token embedding, tied output head",
        "features",
        "token_embd.weight",
    ),
    Rule(
        "language_model/rms_norm/scale",
        ("d_model",),
        "norm",
        "final norm",
        "none",
        "output_norm.weight",
    ),
)
LAYER_RULES = (
    Rule(
        "moe/linear/w",
        ("experts", "d_model", "ffn"),
        "expert",
        "experts, gate projection",
        "columns",
        "ffn_gate_exps.weight",
    ),
    Rule(
        "moe/linear_1/w",
        ("experts", "ffn", "d_model"),
        "expert",
        "experts, down projection",
        "rows",
        "ffn_down_exps.weight",
    ),
    Rule(
        "moe/linear_v/w",
        ("experts", "d_model", "ffn"),
        "expert",
        "experts, up projection",
        "columns",
        "ffn_up_exps.weight",
    ),
    Rule(
        "multi_head_attention/key/w",
        ("d_model", "kv_width"),
        "attention",
        "key projection",
        "columns",
        "attn_k.weight",
    ),
    Rule(
        "multi_head_attention/linear/w",
        ("q_width", "d_model"),
        "attention",
        "output projection",
        "rows",
        "attn_output.weight",
    ),
    Rule(
        "multi_head_attention/query/w",
        ("d_model", "q_width"),
        "attention",
        "query projection",
        "columns",
        "attn_q.weight",
    ),
    Rule(
        "multi_head_attention/value/w",
        ("d_model", "kv_width"),
        "attention",
        "value projection",
        "columns",
        "attn_v.weight",
    ),
    Rule(
        "rms_norm/scale", ("d_model",), "norm", "norm before attention", "none", "attn_norm.weight"
    ),
    Rule(
        "rms_norm_1/scale",
        ("d_model",),
        "norm",
        "norm after attention",
        "none",
        "attn_output_norm.weight",
    ),
    Rule(
        "rms_norm_2/scale",
        ("d_model",),
        "norm",
        "norm before the experts",
        "none",
        "ffn_norm.weight",
    ),
    Rule(
        "rms_norm_3/scale",
        ("d_model",),
        "norm",
        "norm after the experts",
        "none",
        "layer_output_norm.weight",
    ),
    Rule("router/w", ("d_model", "experts"), "router", "router", "none", "ffn_gate_inp.weight"),
)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The dimensions of a model, and how its scales are grouped.

    Attributes:
        vocab: Rows of the embedding.
        d_model: Width of the residual stream.
        layers: Decoder layers.
        experts: Experts per layer.
        ffn: Inner width of an expert.
        q_width: Query heads times head size.
        kv_width: Key/value heads times head size.
        head_dim: Size of an attention head; None where nothing tells it.
        scale_groups: Groups of input rows that share a scale in row-parallel weights; None where
            every row has a scale of its own. The release has 8: one for each rank of the eight
            that it was cut for.
    """

    vocab: int
    d_model: int
    layers: int
    experts: int
    ffn: int
    q_width: int
    kv_width: int
    head_dim: int | None = None
    scale_groups: int | None = 8

    @property
    def q_heads(self) -> int | None:
        """Query heads, where the head size is known."""
        return None if self.head_dim is None else self.q_width // self.head_dim

    @property
    def kv_heads(self) -> int | None:
        """Key/value heads, where the head size is known."""
        return None if self.head_dim is None else self.kv_width // self.head_dim

    def shape(self, rule: Rule) -> Shape:
        """Shape of a tensor as stored, `[in, out]`."""
        return tuple(getattr(self, dim) for dim in rule.dims)


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


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of a model of some geometry: its rule, its layer and its place in the files."""

    index: int
    layer: int | None
    rule: Rule

    @property
    def name(self) -> str:
        """xAI's parameter name."""
        if self.layer is None:
            return self.rule.path
        return f"transformer/decoder_layer_{self.layer}/{self.rule.path}"

    @property
    def gguf(self) -> str:
        """llama.cpp's name for it."""
        return self.rule.gguf if self.layer is None else f"blk.{self.layer}.{self.rule.gguf}"


def layer_order(layers: int) -> list[int]:
    """Layers in the order of the files: sorted as strings."""
    return sorted(range(layers), key=str)


@cache
def entries(layers: int) -> tuple[Entry, ...]:
    """Every tensor in file order; entry `i` is the one in `tensor{i:05d}_000`."""
    found = [Entry(i, None, rule) for i, rule in enumerate(GLOBAL_RULES)]
    for layer in layer_order(layers):
        found += [Entry(len(found) + s, layer, rule) for s, rule in enumerate(LAYER_RULES)]
    return tuple(found)


@cache
def entries_by_name(layers: int) -> dict[str, Entry]:
    """The same tensors by name."""
    return {entry.name: entry for entry in entries(layers)}


def layers_of(tensors: int) -> int:
    """Layers of a model with this many tensors, rounded up where some are missing."""
    return max(0, -(-(tensors - GLOBAL_SLOTS) // LAYER_SLOTS))


def layer_of(name: str) -> int | None:
    """The decoder layer that a parameter name belongs to."""
    match = re.match(r"transformer/decoder_layer_(\d+)/", name)
    return int(match[1]) if match else None


def spec(geometry: Geometry, entry: Entry) -> TensorSpec:
    """Shape and dtype of a tensor as the release stores it, with the geometry's scale groups."""
    shape = geometry.shape(entry.rule)
    if not entry.rule.quantised:
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


Convention = Literal["engines", "jax"]
"""Who the ranks are: HF, SGLang and vLLM cut the embedding by rows; xAI's JAX by features."""


def shares(
    geometry: Geometry,
    entry: Entry,
    arrays: dict[str, ArraySpec],
    ranks: int,
    convention: Convention,
) -> dict[str, tuple[Box, ...] | None]:
    """The region of each of a tensor's arrays that each of `ranks` holds.

    Returns:
        By array name one box per rank, or None for an array that every rank holds whole. A rank
        may share its box with others: engines hold whole key/value heads, and those and the scale
        groups are fewer than 16. xAI's code cuts keys and values by columns, heads or not: jax
        takes the sum of what the hosts hold for the whole.
    """
    whole_heads = convention == "engines"
    held: dict[str, tuple[Box, ...] | None] = {}
    for name, array in arrays.items():
        axis = cut_axis(entry.rule, convention)
        if axis is None:
            held[name] = None
            continue
        count = ranks
        grouped = name in (scales_name(entry.name), zeros_name(entry.name))
        if grouped and entry.rule.cut == "rows":
            count = min(ranks, array.shape[-2])
        elif whole_heads and entry.rule.dims[axis] == "kv_width" and geometry.kv_heads:
            count = min(ranks, geometry.kv_heads)
        held[name] = tuple(cut(array.shape, axis, r * count // ranks, count) for r in range(ranks))
    return held


def cut_axis(rule: Rule, convention: Convention) -> int | None:
    """The axis that ranks cut, counted from the end; None for what every rank holds whole."""
    if rule.cut == "features":
        return -2 if convention == "engines" else -1
    return {"columns": -1, "rows": -2, "none": None}[rule.cut]


def remainders(geometry: Geometry, ranks: int, convention: Convention = "engines") -> list[str]:
    """Why the model cannot be cut into `ranks` equal parts; empty where it can.

    Engines cut the embedding by rows and take the scale groups as they are; xAI's code cuts the
    embedding by features, and can be given a scale row per weight row.

    Raises:
        ValueError: The head size is not known.
    """
    if geometry.q_heads is None or geometry.kv_heads is None:
        message = "the head size is not known"
        raise ValueError(message)
    kv, groups = geometry.kv_heads, geometry.scale_groups or geometry.ffn
    checks = [
        (geometry.q_heads % ranks, f"{geometry.q_heads} query heads"),
        (kv % ranks and ranks % kv, f"{kv} key-value heads"),
        (geometry.ffn % ranks, f"expert width {geometry.ffn}"),
    ]
    if convention == "engines":
        checks += [
            (geometry.vocab % ranks, f"vocabulary {geometry.vocab}"),
            (groups % ranks and ranks % groups, f"{groups} scale groups"),
        ]
    else:
        checks.append((geometry.d_model % ranks, f"{geometry.d_model} features of the embedding"))
    return [f"{what} / {ranks}" for rest, what in checks if rest]


WIDEST = 64  # ranks that `legal_widths` looks at: the release can be cut into 16 at most


def legal_widths(geometry: Geometry, convention: Convention = "engines") -> list[int]:
    """The numbers of ranks that the model can be cut into."""
    return [n for n in range(1, WIDEST + 1) if not remainders(geometry, n, convention)]
