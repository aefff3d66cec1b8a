# SPDX-License-Identifier: Apache-2.0
"""Grok-1 for transformers 4.57 and 5, written by grokpack to compute what xAI's code computes.

Source of every step: model.py of github.com/xai-org/grok-1. Where other ports differ from it, this
file does as the reference: tanh GELU; attention logits scaled, then capped by `30 * tanh(x / 30)`;
a router in float32 whose best two probabilities are used as they are; norms in float32; the
padding token hidden from attention wherever it stands; positions counted from the first column.

The tensors of the public conversions go by three sets of names. The class that `auto_map` in
config.json points to decides which of them are read and written: `Grok1ModelForCausalLM` (hpcai),
`Grok1ForCausalLM` (SGLang) or `GrokForCausalLM` (keyfan). Nothing else differs between them.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_grok1 import (
    HPCAI,
    KEYFAN,
    SGLANG,
    Grok1Config,
    Grok1SGLangConfig,
    GrokConfig,
    Names,
)

# The field that holds keys and values: `past_key_values` became `cache` within transformers 5.
CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
FULL_MASK_AXES = 4  # of a mask that says for each token what it may see
HIDDEN = -1e30  # the logit of a key that must not be seen; the reference's figure


def linear(inputs, outputs, dtype=None):
    """A matrix `[outputs, inputs]`; no part of Grok-1 has a bias."""
    return nn.Linear(inputs, outputs, bias=False, dtype=dtype)


class Grok1RMSNorm(nn.Module):
    """Root mean square norm, computed in float32 whatever comes in."""

    def __init__(self, config, names):
        super().__init__()
        self.eps = config.rms_norm_eps
        self.scale_name = names.scale
        scale = torch.ones(config.hidden_size, dtype=torch.float32)
        self.register_parameter(names.scale, nn.Parameter(scale))

    def forward(self, x):
        """Norm of `x[..., hidden]`, in its dtype."""
        scale = getattr(self, self.scale_name).float()
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (scale * wide).to(x.dtype)


def rotary(positions, config):
    """Cosine and sine of the rotary angles, `f32[batch, tokens, 1, head]`.

    Computed at every step: a buffer would be lost where models are made without memory and only
    parameters are filled in from the files.
    """
    exponents = torch.arange(0, config.head_dim, 2, device=positions.device).float()
    frequencies = 1.0 / config.rope_theta ** (exponents / config.head_dim)
    angles = positions[:, :, None, None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Turn feature i of each head `[batch, tokens, heads, head]` with feature i + head/2."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


class Grok1Attention(nn.Module):
    """Attention in which several query heads share a key/value head."""

    def __init__(self, config, names, layer):
        super().__init__()
        self.config, self.names, self.layer = config, names, layer
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        sizes = [(config.hidden_size, width) for width in (queries, keys, keys)]
        for name, size in zip(names.projections, [*sizes, (queries, config.hidden_size)]):
            self.add_module(name, linear(*size))

    def forward(self, x, turn, seen, columns, cache):
        """Attend from `x[batch, tokens, hidden]` to keys that `seen[batch, 1, tokens, keys]`.

        Args:
            x: What the norm before gives.
            turn: Cosine and sine of the rotary angles.
            seen: Which key each token may see.
            columns: Where the tokens stand among the keys, `int[tokens]`.
            cache: Keys and values of earlier calls, or None.
        """
        query, key, value, output = (getattr(self, name) for name in self.names.projections)
        heads = (*x.shape[:2], -1, self.config.head_dim)
        q = rotate(query(x).view(heads), *turn).transpose(1, 2)
        k = rotate(key(x).view(heads), *turn).transpose(1, 2)
        v = value(x).view(heads).transpose(1, 2)
        if cache is not None:
            # transformers 4 must be told where in a cache of fixed size these go. It gives back the
            # empty places behind the last token as well.
            kept = cache.update(k, v, self.layer, {"cache_position": columns})
            k, v = (states[:, :, : seen.shape[-1]] for states in kept)

        # [batch, kv heads, query heads of each, tokens, head]: neighbours share keys.
        q = q.unflatten(1, (self.config.num_key_value_heads, -1))
        logits = (q @ k[:, :, None].transpose(-1, -2)).float()
        logits = logits * self.config.attn_output_multiplier
        cap = self.config.attn_logit_softcapping
        logits = cap * torch.tanh(logits / cap)
        logits = logits.masked_fill(~seen[:, :, None], HIDDEN)
        mixed = logits.softmax(-1).to(x.dtype) @ v[:, :, None]
        return output(mixed.flatten(1, 2).transpose(1, 2).flatten(2))


class Grok1Expert(nn.Module):
    """A gated two-layer network."""

    def __init__(self, config, names):
        super().__init__()
        self.names = names
        inner, outer = config.intermediate_size, config.hidden_size
        for name, size in zip(names.expert, ((outer, inner), (outer, inner), (inner, outer))):
            self.add_module(name, linear(*size))

    def forward(self, x):
        """Output `[tokens, hidden]` for `x[tokens, hidden]`."""
        gated, beside, down = (getattr(self, name) for name in self.names.expert)
        return down(F.gelu(gated(x), approximate="tanh") * beside(x))


class Grok1DecoderLayer(nn.Module):
    """Attention and experts, each with a norm before it and one before it is added."""

    def __init__(self, config, names, layer):
        super().__init__()
        self.names, self.chosen = names, config.num_experts_per_tok
        self.add_module(names.attention, Grok1Attention(config, names, layer))
        if names.moe:
            self.add_module(names.moe, nn.Module())
        experts = nn.ModuleList(Grok1Expert(config, names) for _ in range(config.num_experts))
        router = linear(config.hidden_size, config.num_experts, torch.float32)
        self.block.add_module(names.router, router)
        self.block.add_module(names.experts, experts)
        for name in names.norms:
            self.add_module(name, Grok1RMSNorm(config, names))

    @property
    def block(self):
        """The module that holds router and experts."""
        return getattr(self, self.names.moe) if self.names.moe else self

    def mix(self, x):
        """Each token of `x[tokens, hidden]` through its best experts, weighted by the router."""
        block, names = self.block, self.names
        router, experts = getattr(block, names.router), getattr(block, names.experts)
        # float32 when the rest is loaded in 16 bits; only a cast of the whole model changes that.
        gates = router(x.to(router.weight.dtype)).float().softmax(-1)
        gates, chosen = gates.topk(self.chosen, dim=-1)
        mixed = torch.zeros_like(x, dtype=torch.float32)
        for expert in chosen.unique().tolist():
            token, place = torch.where(chosen == expert)
            worked = experts[expert](x[token]) * gates[token, place, None]
            mixed.index_add_(0, token, worked.float())
        return mixed.to(x.dtype)

    def forward(self, x, turn, seen, columns, cache):
        """The residual stream `x[batch, tokens, hidden]` after this layer."""
        before, after, before_moe, after_moe = (getattr(self, name) for name in self.names.norms)
        attend = getattr(self, self.names.attention)
        x = x + after(attend(before(x), turn, seen, columns, cache))
        mixed = self.mix(before_moe(x).flatten(0, 1)).view_as(x)
        return x + after_moe(mixed)


class Grok1PreTrainedModel(PreTrainedModel):
    """The network, its head, and what loading and generating need to know of them."""

    _no_split_modules = ["Grok1DecoderLayer"]
    _skip_keys_device_placement = ["cache", "past_key_values"]
    names: Names

    def __init__(self, config):
        super().__init__(config)
        names = self.names
        model = nn.Module()
        model.add_module(names.embedding, nn.Embedding(config.vocab_size, config.hidden_size))
        layers = (Grok1DecoderLayer(config, names, n) for n in range(config.num_hidden_layers))
        model.add_module(names.layers, nn.ModuleList(layers))
        model.add_module(names.norm, Grok1RMSNorm(config, names))
        self.add_module(names.model, model)
        self.lm_head = linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def _init_weights(self, module):
        """Fill a module that no file fills."""
        if isinstance(module, Grok1RMSNorm):
            nn.init.ones_(getattr(module, module.scale_name))
        elif isinstance(module, (nn.Linear, nn.Embedding)) and hasattr(module, "weight"):
            # a packed Linear has codes and scales in its place
            nn.init.normal_(module.weight, std=self.config.initializer_range)

    @property
    def trunk(self):
        """All but the head."""
        return getattr(self, self.names.model)

    def get_input_embeddings(self):
        """The embedding, whatever its name."""
        return getattr(self.trunk, self.names.embedding)

    def set_input_embeddings(self, value):
        """Take another embedding, for example one with more tokens."""
        setattr(self.trunk, self.names.embedding, value)

    def get_output_embeddings(self):
        """The head."""
        return self.lm_head

    def set_output_embeddings(self, value):
        """Take another head."""
        self.lm_head = value

    def visible(self, ids, attention_mask):
        """Which keys may be seen, `bool[batch, keys]`; None where all may.

        Args:
            ids: The last tokens, `[batch, tokens]`, or None.
            attention_mask: `[batch, keys]`, at least as many as tokens, or None.
        """
        if ids is None or not self.config.mask_pad_token or self.config.pad_token_id is None:
            return None if attention_mask is None else attention_mask.bool()
        shown = ids != self.config.pad_token_id
        if attention_mask is None:
            return shown
        earlier = attention_mask.shape[1] - ids.shape[1]
        return attention_mask.bool() & F.pad(shown, (earlier, 0), value=True)

    def seen(self, ids, attention_mask, columns, keys):
        """Which key each token may see, `bool[batch or 1, 1, tokens, keys]`."""
        if attention_mask is not None and attention_mask.dim() == FULL_MASK_AXES:
            shown = attention_mask
            return shown if shown.dtype == torch.bool else shown == 0
        causal = torch.arange(keys, device=columns.device) <= columns[:, None]
        shown = self.visible(ids, attention_mask)
        if shown is None:
            return causal[None, None]
        # Without a mask nothing is known of what a cache holds from earlier calls.
        shown = F.pad(shown, (keys - shown.shape[1], 0), value=True)
        return causal & shown[:, None, None]

    def prepare_inputs_for_generation(
        self, input_ids, *args, attention_mask=None, inputs_embeds=None, **kwargs
    ):
        """Hide padding in all tokens so far, and leave positions to `forward`.

        Positions from the mask, which generate() makes, would leave out a hidden token in the
        middle of a prompt; the reference counts it. Padding on the left changes nothing, because
        rotary positions are relative.
        """
        shown = self.visible(input_ids, attention_mask)
        inputs = super().prepare_inputs_for_generation(
            input_ids, *args, attention_mask=shown, inputs_embeds=inputs_embeds, **kwargs
        )
        inputs["position_ids"] = None
        return inputs

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        logits_to_keep=0,
        cache=None,
        **kwargs,
    ):
        """Logits of the next token, `f32[batch, tokens, vocab]`.

        Args:
            input_ids: Tokens `[batch, tokens]`; those that `cache` holds are left out.
            attention_mask: `[batch, keys]` over cached and new tokens, 0 where hidden; or ready
                made, `[batch, 1, tokens, keys]`.
            position_ids: Rotary positions `[batch, tokens]`; counted on from the cache if absent.
            past_key_values: What transformers up to 5.x call `cache`.
            inputs_embeds: Rows of the embedding, not yet multiplied, in place of `input_ids`.
            labels: Tokens to predict; adds a loss.
            use_cache: Whether to return keys and values for the next call.
            logits_to_keep: How many last tokens to give logits for, or which; 0 is all.
            cache: Keys and values of earlier calls.
            **kwargs: Passed to the loss.
        """
        cache = past_key_values if cache is None else cache
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache()
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        hidden = inputs_embeds * self.config.embedding_multiplier_scale

        past = 0 if cache is None else int(cache.get_seq_length())
        keys = past + hidden.shape[1]
        columns = torch.arange(past, keys, device=hidden.device)
        seen = self.seen(input_ids, attention_mask, columns, keys)
        turn = rotary(columns[None] if position_ids is None else position_ids, self.config)
        for layer in getattr(self.trunk, self.names.layers):
            hidden = layer(hidden, turn, seen, columns, cache=cache)
        hidden = getattr(self.trunk, self.names.norm)(hidden)

        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden[:, kept]).float() * self.config.output_multiplier_scale
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: cache})


class Grok1ModelForCausalLM(Grok1PreTrainedModel, GenerationMixin):
    """Grok-1 with hpcai-tech's names, which vLLM reads as well."""

    config_class = Grok1Config
    names = HPCAI
    base_model_prefix = HPCAI.model
    _tied_weights_keys = HPCAI.head
    _keep_in_fp32_modules_strict = HPCAI.float32


class Grok1ForCausalLM(Grok1PreTrainedModel, GenerationMixin):
    """Grok-1 with SGLang's names."""

    config_class = Grok1SGLangConfig
    names = SGLANG
    base_model_prefix = SGLANG.model
    _tied_weights_keys = SGLANG.head
    _keep_in_fp32_modules_strict = SGLANG.float32


class GrokForCausalLM(Grok1PreTrainedModel, GenerationMixin):
    """Grok-1 with keyfan's names, which are xAI's own with dots."""

    config_class = GrokConfig
    names = KEYFAN
    base_model_prefix = KEYFAN.model
    _tied_weights_keys = KEYFAN.head
    _keep_in_fp32_modules_strict = KEYFAN.float32
