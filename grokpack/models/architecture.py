"""Tensor rules, geometry and constants that describe a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from grokpack.core.documents.inspection_json import GeometryJson
    from grokpack.core.tensors import Shape

Role = Literal["embedding", "head", "norm", "router", "attention", "mlp", "expert"]

NetworkPart = Literal[
    "embedding",
    "head",
    "final_norm",
    "pre_attention_norm",
    "post_attention_norm",
    "pre_expert_norm",
    "post_expert_norm",
    "router",
    "query",
    "key",
    "value",
    "attention_output",
    "mlp_gate",
    "mlp_up",
    "mlp_down",
    "expert_gate",
    "expert_up",
    "expert_down",
]
"""Parts of the network, whatever a family calls their tensors."""

GLOBAL_PARTS: tuple[NetworkPart, ...] = ("embedding", "final_norm", "head")
"""Parts that a network has once; it has the others in each layer."""

Cut = Literal["columns", "rows", "features", "none"]
"""How ranks share a weight stored `[in, out]`: by outputs, by inputs, by embedding features."""


class PartFacts(NamedTuple):
    """Facts about a part that hold for all families.

    Attributes:
        role: The group of parts that it belongs to.
        dims: Axes by their names in `Geometry`.
        cut: How tensor-parallel ranks share it.
        title: Description for people.
    """

    role: Role
    dims: tuple[str, ...]
    cut: Cut
    title: str


PARTS: dict[NetworkPart, PartFacts] = {
    "embedding": PartFacts("embedding", ("vocab", "d_model"), "features", "token embedding"),
    "head": PartFacts("head", ("vocab", "d_model"), "features", "output head"),
    "final_norm": PartFacts("norm", ("d_model",), "none", "final norm"),
    "pre_attention_norm": PartFacts("norm", ("d_model",), "none", "norm before attention"),
    "post_attention_norm": PartFacts("norm", ("d_model",), "none", "norm after attention"),
    "pre_expert_norm": PartFacts("norm", ("d_model",), "none", "norm before the experts"),
    "post_expert_norm": PartFacts("norm", ("d_model",), "none", "norm after the experts"),
    "router": PartFacts("router", ("d_model", "experts"), "none", "router"),
    "query": PartFacts("attention", ("d_model", "q_width"), "columns", "query projection"),
    "key": PartFacts("attention", ("d_model", "kv_width"), "columns", "key projection"),
    "value": PartFacts("attention", ("d_model", "kv_width"), "columns", "value projection"),
    "attention_output": PartFacts("attention", ("q_width", "d_model"), "rows", "output projection"),
    "mlp_gate": PartFacts("mlp", ("d_model", "mlp"), "columns", "MLP, gate projection"),
    "mlp_up": PartFacts("mlp", ("d_model", "mlp"), "columns", "MLP, up projection"),
    "mlp_down": PartFacts("mlp", ("mlp", "d_model"), "rows", "MLP, down projection"),
    "expert_gate": PartFacts(
        "expert", ("experts", "d_model", "ffn"), "columns", "experts, gate projection"
    ),
    "expert_up": PartFacts(
        "expert", ("experts", "d_model", "ffn"), "columns", "experts, up projection"
    ),
    "expert_down": PartFacts(
        "expert", ("experts", "ffn", "d_model"), "rows", "experts, down projection"
    ),
}

FUSED: dict[str, tuple[NetworkPart, ...]] = {
    "qkv_proj": ("query", "key", "value"),
    "w13": ("expert_gate", "expert_up"),
    "gate_up_proj": ("mlp_gate", "mlp_up"),
}
"""Matrices of a layer that engines put together, as they multiply the same inputs, by module."""
ALIKE: tuple[tuple[NetworkPart, ...], ...] = tuple(
    (*parts, "expert_down") if "expert_up" in parts else parts for parts in FUSED.values()
)
"""Weights of a layer that need one scheme: those that engines fuse, and all of an expert."""


@dataclass(frozen=True, slots=True)
class TensorRule:
    """One kind of tensor of a family.

    Attributes:
        path: The family's own name for it, below the layer's prefix for a layer's tensors.
        part: The part of the network that it is.
        title: Description for people.
    """

    path: str
    part: NetworkPart
    title: str

    @property
    def role(self) -> Role:
        """The group of parts that it belongs to."""
        return PARTS[self.part].role

    @property
    def dims(self) -> tuple[str, ...]:
        """Axes by their names in `Geometry`, for example `("experts", "d_model", "ffn")`."""
        return PARTS[self.part].dims

    @property
    def cut(self) -> Cut:
        """How tensor-parallel ranks share it."""
        return PARTS[self.part].cut

    @property
    def stacked(self) -> bool:
        """True if it holds a matrix for each expert."""
        return self.dims[0] == "experts"

    @property
    def quantized(self) -> bool:
        """True for a weight that quantized formats hold as codes with scales."""
        return self.role in ("expert", "mlp", "attention")

    @property
    def matrix(self) -> bool:
        """True if it multiplies activations `[in, out]`; engines store it as `[out, in]`."""
        return self.quantized or self.role == "router"

    @property
    def by_token(self) -> bool:
        """True if it has a row for each token of the vocabulary: embedding and head."""
        return self.role in ("embedding", "head")


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
        head_dim: Size of an attention head; None if not known.
        scale_groups: Groups of input rows that share a scale in row-parallel weights; None if every
            row has its own scale. The release has 8, one for each of the eight ranks that it was
            cut for.
        mlp: Inner width of the dense MLP beside the experts; None without one.
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
    mlp: int | None = None

    @property
    def q_heads(self) -> int | None:
        """Number of query heads, if the head size is known."""
        return None if self.head_dim is None else self.q_width // self.head_dim

    @property
    def kv_heads(self) -> int | None:
        """Number of key/value heads, if the head size is known."""
        return None if self.head_dim is None else self.kv_width // self.head_dim

    def shape(self, rule: TensorRule) -> Shape:
        """Return the shape of a tensor as stored, `[in, out]`."""
        return tuple(getattr(self, dim) for dim in rule.dims)

    def document(self) -> GeometryJson:
        """Return the dimensions as JSON values, without those of parts that the model lacks."""
        found = {name: getattr(self, name) for name in self.__slots__}
        if self.mlp is None:
            del found["mlp"]
        return found


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """A tensor of a model of some geometry.

    Attributes:
        index: Its index in the order of the files.
        layer: Its decoder layer; None if it belongs to none.
        rule: Its kind of tensor.
        name: The family's own parameter name.
        gguf: llama.cpp's name for it; empty where it has none.
    """

    index: int
    layer: int | None
    rule: TensorRule
    name: str
    gguf: str


@dataclass(frozen=True, slots=True)
class Constants:
    """Numbers that a network computes with, beside its weights.

    Attributes:
        embedding_multiplier: Factor of the embedding; the root of the model's width.
        output_multiplier: Factor of the logits.
        attn_output_multiplier: Factor of the attention logits, before their cap: the softmax scale.
        attn_logit_cap: `c` in `c * tanh(x / c)` of the attention logits; 0 for none.
        rms_norm_eps: Added to the mean square in every norm.
        rope_theta: Base of the rotary embedding.
        context: Tokens of a sequence.
        selected_experts: Experts that work on each token.
        pad: Id of the padding token, which attention masks in some families.
        bos: Id of the token at the beginning of a sequence; the reference adds none.
        eos: Id of the token at the end of a sequence.
        router_logit_cap: `c` in `c * tanh(x / c)` of the router's logits; 0 for none.
        final_logit_cap: Likewise of the network's logits, after their factor.
        temperature_context: Last position whose attention logits have no factor; 0 where none has.
    """

    embedding_multiplier: float
    attn_output_multiplier: float
    output_multiplier: float
    attn_logit_cap: float
    rms_norm_eps: float
    rope_theta: float
    context: int
    selected_experts: int
    pad: int
    bos: int
    eos: int
    router_logit_cap: float = 0.0
    final_logit_cap: float = 0.0
    temperature_context: int = 0
