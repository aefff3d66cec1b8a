"""Rules and geometry that describe a model's tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from grokpack.core.tensors import Shape

Role = Literal["embedding", "norm", "router", "attention", "expert"]


Cut = Literal["columns", "rows", "features", "none"]


@dataclass(frozen=True, slots=True)
class TensorRule:
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
    def quantized(self) -> bool:
        """Whether the release stores it as int8 with bf16 scales."""
        return self.role in ("expert", "attention")


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

    def shape(self, rule: TensorRule) -> Shape:
        """Shape of a tensor as stored, `[in, out]`."""
        return tuple(getattr(self, dim) for dim in rule.dims)


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """A tensor of a model of some geometry: its rule, its layer and its place in the files."""

    index: int
    layer: int | None
    rule: TensorRule

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
