# SPDX-License-Identifier: Apache-2.0
"""Configuration of Grok-1 for transformers 4.57 and 5, and names of its tensors; by grokpack.

The defaults are the released model's, from run.py and model.py of github.com/xai-org/grok-1.
"""

from dataclasses import dataclass

from transformers import PretrainedConfig


@dataclass(frozen=True)
class Names:
    """What one convention calls each part."""

    model: str
    embedding: str
    layers: str
    norm: str
    attention: str
    projections: tuple[str, str, str, str]  # query, key, value, output
    moe: str  # the module that holds router and experts; empty where the layer does
    router: str
    experts: str
    expert: tuple[str, str, str]  # through GELU, beside it, back down
    norms: tuple[str, str, str, str]  # before and after attention, before and after the experts
    scale: str  # a norm's parameter

    @property
    def head(self):
        """The tied parameter, and what it is tied to."""
        return {"lm_head.weight": f"{self.model}.{self.embedding}.weight"}

    @property
    def float32(self):
        """Modules that stay float32 when the rest is loaded in 16 bits."""
        return sorted({self.router, self.norm, *self.norms})


HPCAI = Names(
    model="model",
    embedding="embed_tokens",
    layers="layers",
    norm="norm",
    attention="attn",
    projections=("q_proj", "k_proj", "v_proj", "o_proj"),
    moe="moe_block",
    router="gate",
    experts="experts",
    expert=("linear", "linear_v", "linear_1"),
    norms=("pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm"),
    scale="scale",
)
SGLANG = Names(
    model="model",
    embedding="embed_tokens",
    layers="layers",
    norm="norm",
    attention="self_attn",
    projections=("q_proj", "k_proj", "v_proj", "o_proj"),
    moe="block_sparse_moe",
    router="gate",
    experts="experts",
    expert=("w1", "w3", "w2"),
    norms=("pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm"),
    scale="weight",
)
KEYFAN = Names(
    model="transformer",
    embedding="in_out_embed",
    layers="decoder_layer",
    norm="rms_norm",
    attention="multi_head_attention",
    projections=("query", "key", "value", "linear"),
    moe="",
    router="router",
    experts="moe",
    expert=("linear", "linear_v", "linear_1"),
    norms=("rms_norm", "rms_norm_1", "rms_norm_2", "rms_norm_3"),
    scale="weight",
)


class Grok1Config(PretrainedConfig):
    """Sizes and constants of a Grok-1 network.

    The number of experts and the cap of the attention logits go by two names each, because the
    programs that read such a config.json do not agree: `num_experts` is also `num_local_experts`,
    `attn_logit_softcapping` is also `max_attn_value`. Either may be given; both are written.

    Args:
        vocab_size: Rows of the embedding.
        hidden_size: Width of the residual stream.
        intermediate_size: Inner width of an expert.
        num_hidden_layers: Decoder layers.
        num_attention_heads: Query heads.
        num_key_value_heads: Key/value heads; query head j uses number
            `j // (num_attention_heads / num_key_value_heads)`.
        head_dim: Size of a head; `hidden_size / num_attention_heads` where it is not given.
        num_experts: Experts of a layer; also `num_local_experts`.
        num_experts_per_tok: Experts that work on each token.
        max_position_embeddings: Tokens that the model was made for; nothing is sized by it.
        rope_theta: Base of the rotary embedding.
        rms_norm_eps: Added to the mean square in every norm.
        attn_output_multiplier: What attention logits are multiplied by before the cap.
        attn_logit_softcapping: Cap of attention logits, `cap * tanh(x / cap)`; also
            `max_attn_value`.
        embedding_multiplier_scale: What embeddings are multiplied by.
        output_multiplier_scale: What the head's logits are multiplied by.
        mask_pad_token: Whether `pad_token_id` is hidden from attention wherever it stands, as in
            the reference, even where `attention_mask` shows it.
        use_cache: Whether keys and values are kept for the next step.
        initializer_range: Spread of weights that no file gives.
        pad_token_id: Padding.
        bos_token_id: Beginning of a text; the reference adds none to its prompts.
        eos_token_id: End of a text.
        tie_word_embeddings: Whether the head is the embedding; the release's is.
        **kwargs: What every configuration takes.
    """

    model_type = "grok-1"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]

    def __init__(
        self,
        vocab_size=131072,
        hidden_size=6144,
        intermediate_size=32768,
        num_hidden_layers=64,
        num_attention_heads=48,
        num_key_value_heads=8,
        head_dim=None,
        num_experts=None,
        num_experts_per_tok=2,
        max_position_embeddings=8192,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        attn_output_multiplier=0.08838834764831845,
        attn_logit_softcapping=None,
        embedding_multiplier_scale=78.38367176906169,
        output_multiplier_scale=0.5773502691896257,
        mask_pad_token=True,
        use_cache=True,
        initializer_range=0.02,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        self.num_experts = num_experts or kwargs.pop("num_local_experts", None) or 8
        self.num_local_experts = self.num_experts
        self.num_experts_per_tok = num_experts_per_tok
        self.max_position_embeddings = max_position_embeddings
        self.rope_theta = rope_theta
        self.rms_norm_eps = rms_norm_eps
        self.attn_output_multiplier = attn_output_multiplier
        self.attn_logit_softcapping = (
            attn_logit_softcapping or kwargs.pop("max_attn_value", None) or 30.0
        )
        self.max_attn_value = self.attn_logit_softcapping
        self.embedding_multiplier_scale = embedding_multiplier_scale
        self.output_multiplier_scale = output_multiplier_scale
        self.mask_pad_token = mask_pad_token
        self.use_cache = use_cache
        self.initializer_range = initializer_range
        for alias in ("num_local_experts", "max_attn_value"):
            kwargs.pop(alias, None)
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **kwargs,
        )


# transformers 5 remembers one model class for each class of configurations, so each set of tensor
# names has a class of its own: else the second folder loaded by a program would get the first's.


class Grok1SGLangConfig(Grok1Config):
    """Configuration of a model whose tensors have SGLang's names."""

    def __init__(self, **kwargs):  # without one, transformers 5 makes a dataclass of it
        super().__init__(**kwargs)


class GrokConfig(Grok1Config):
    """Configuration of a model whose tensors have keyfan's names."""

    model_type = "grok"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
