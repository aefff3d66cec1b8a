"""Tensor rules, geometry and constants that describe a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from grokpack.core.tensors import Shape

Role = Literal["embedding", "head", "norm", "router", "attention", "mlp", "expert"]

Part = Literal[
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

_ROLES: dict[Part, Role] = {
    "embedding": "embedding",
    "head": "head",
    "final_norm": "norm",
    "pre_attention_norm": "norm",
    "post_attention_norm": "norm",
    "pre_expert_norm": "norm",
    "post_expert_norm": "norm",
    "router": "router",
    "query": "attention",
    "key": "attention",
    "value": "attention",
    "attention_output": "attention",
    "mlp_gate": "mlp",
    "mlp_up": "mlp",
    "mlp_down": "mlp",
    "expert_gate": "expert",
    "expert_up": "expert",
    "expert_down": "expert",
}

Cut = Literal["columns", "rows", "features", "none"]
"""How ranks share a weight stored `[in, out]`: by outputs, by inputs, by embedding features."""


@dataclass(frozen=True, slots=True)
class TensorRule:
    """One kind of tensor.

    Attributes:
        path: The family's own name for it, below the layer's prefix for a layer's tensors.
        dims: Axes by their names in `Geometry`, for example `("experts", "d_model", "ffn")`.
        part: The part of the network that it is.
        title: Description for people.
        cut: How tensor-parallel ranks share it.
        gguf: llama.cpp's name, below `blk.N.` for a layer's tensors; empty where it has none.
    """

    path: str
    dims: tuple[str, ...]
    part: Part
    title: str
    cut: Cut
    gguf: str = ""

    @property
    def role(self) -> Role:
        """The group of parts that it belongs to."""
        return _ROLES[self.part]

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

    def document(self) -> dict[str, Any]:
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
    """

    index: int
    layer: int | None
    rule: TensorRule
    name: str

    @property
    def gguf(self) -> str:
        """llama.cpp's name for it; empty where it has none."""
        if self.layer is None or not self.rule.gguf:
            return self.rule.gguf
        return f"blk.{self.layer}.{self.rule.gguf}"


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
        pad: Id of the token that attention masks.
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
