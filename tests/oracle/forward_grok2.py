"""The Grok-2 network in numpy, written from what engines compute and from nothing of grokpack.

It is the second opinion of the oracles, as forward.py is for Grok-1. Engines do not agree on this
network: a `Variant` says what one of them does otherwise. `python -m tests.oracle.forward_grok2
tests/data/grok2-tiny` compares it with the golden logits, which SGLang's code agrees with.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.oracle.forward import (
    MASKED,
    Array,
    Weights,
    below,
    erf_gelu,
    gelu,
    rms_norm,
    softmax,
    turn,
)

LIMIT = 2e-3  # of a logit, as the golden's README has it; what it should notice changes more
_STORED = {"BF16": np.uint16, "F32": np.float32}


@dataclass(frozen=True)
class Variant:
    """What a program computes; the defaults are SGLang's, which are the golden's.

    Attributes:
        temperature: Whether logits of attention grow with the position.
        yarn: Whether positions are rotated by YaRN, as llama.cpp does it, whatever `rope_type` is.
        router_cap: Whether the router's logits are capped.
        renormalized: Whether the gates of the chosen experts add up to one.
        tanh: Whether GELU is computed by tanh.
        cap_first: Whether the last cap comes before the multiplier.
    """

    temperature: bool = True
    yarn: bool = False
    router_cap: bool = True
    renormalized: bool = False
    tanh: bool = False
    cap_first: bool = False


SGLANG = Variant()
VLLM = Variant(temperature=False, cap_first=True)
LLAMA = Variant(temperature=False, router_cap=False, renormalized=True, tanh=True)


def arrays(path: Path) -> Iterator[tuple[str, Array]]:
    """Names and float32 values in a safetensors file."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    for name, row in json.loads(data[8:begin]).items():
        if name == "__metadata__":
            continue
        first, last = row["data_offsets"]
        stored = np.frombuffer(data[begin + first : begin + last], _STORED[row["dtype"]])
        if row["dtype"] == "BF16":
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        yield name, stored.reshape(row["shape"])


def load(folder: Path) -> tuple[Weights, dict[str, Any]]:
    """Weights `[out, in]` by the release's names, slices of ranks joined, and config.json."""
    slices: dict[str, list[Array]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, values in arrays(path):
            slices.setdefault(name, []).append(values)
    whole = {
        name: np.concatenate(parts, axis=1 if name.endswith("w2.weight") else 0)
        for name, parts in slices.items()
    }
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return whole.__getitem__, config


def capped(x: Array, limit: float) -> Array:
    return limit * np.tanh(x / limit)


def yarn(c: SimpleNamespace) -> tuple[Array, float]:
    """Frequencies of a head's pairs and the factor of both halves, as ggml's `rope_yarn` has them.

    Slow pairs are slowed down by the scaling factor, fast ones are not, those between in part.
    """
    half = c.head_dim // 2
    plain = c.rope_theta ** (-np.arange(half) / half)
    ends = [
        c.head_dim
        * math.log(c.original_max_position_embeddings / (2 * math.pi * turns))
        / (2 * math.log(c.rope_theta))
        for turns in (c.beta_fast, c.beta_slow)
    ]
    low, high = max(0, math.floor(ends[0])), min(c.head_dim - 1, math.ceil(ends[1]))
    kept = 1 - np.clip((np.arange(half) - low) / max(0.001, high - low), 0, 1)
    kept = kept * c.extrapolation_factor
    scale = c.attn_factor * (1 + 0.1 * math.log(c.scaling_factor))
    return plain * (kept + (1 - kept) / c.scaling_factor), scale


def attend(x: Array, weights: Weights, c: SimpleNamespace, variant: Variant) -> Array:
    """Attention of `f[T, d]`, head by head."""
    size, order = c.head_dim, np.arange(len(x))
    frequencies, scale = c.rope_theta ** (-np.arange(size // 2) * 2 / size), 1.0
    if variant.yarn:
        frequencies, scale = yarn(c)
    angles = np.outer(order, frequencies)
    warmth = np.ones(len(x))
    if variant.temperature:
        late = order > c.attn_temperature_len
        warmth[late] = np.log(order[late]) / math.log(c.attn_temperature_len)
    query, key, value = (x @ weights(f"self_attn.{name}_proj.weight").T for name in "qkv")
    shared = c.num_attention_heads // c.num_key_value_heads
    heads = []
    for head in range(c.num_attention_heads):
        own = slice(head * size, (head + 1) * size)
        its = slice(head // shared * size, (head // shared + 1) * size)
        turned = turn(query[:, own], angles), turn(key[:, its], angles)
        logits = turned[0] @ turned[1].T * x.dtype.type(scale**2 * size**-0.5)
        logits = capped(logits, c.attn_logit_softcapping) * warmth[:, None]
        logits = np.where(order[None, :] > order[:, None], MASKED, logits)
        heads.append(softmax(logits.astype(x.dtype)) @ value[:, its])
    return np.concatenate(heads, axis=1) @ weights("self_attn.o_proj.weight").T


def mix(x: Array, weights: Weights, c: SimpleNamespace, variant: Variant) -> Array:
    """The dense MLP and the experts."""
    bend = gelu if variant.tanh else erf_gelu
    logits = x @ weights("block_sparse_moe.gate.weight").T
    gates = softmax(capped(logits, c.router_logit_softcapping) if variant.router_cap else logits)
    best = np.argsort(-gates, axis=-1, kind="stable")[:, : c.num_experts_per_tok]
    if variant.renormalized:
        gates = gates / np.take_along_axis(gates, best, axis=-1).sum(axis=-1, keepdims=True)
    gate, up, down = (weights(f"mlp.{name}_proj.weight").T for name in ("gate", "up", "down"))
    mixed = (bend(x @ gate) * (x @ up)) @ down
    for expert in range(c.num_local_experts):
        tokens = np.flatnonzero((best == expert).any(axis=-1))
        own = f"block_sparse_moe.experts.{expert}."
        gate, down, up = (weights(f"{own}w{number}.weight").T for number in (1, 2, 3))
        worked = (bend(x[tokens] @ gate) * (x[tokens] @ up)) @ down
        mixed[tokens] += gates[tokens, expert, None] * worked
    return mixed / x.dtype.type(math.sqrt(2))


def forward(
    weights: Weights,
    config: dict[str, Any],
    tokens: Array,
    dtype: type = np.float32,
    variant: Variant = SGLANG,
) -> Array:
    """Logits `f[T, vocab]` of a prompt `i[T]`."""
    c = SimpleNamespace(**config)
    h = weights("model.embed_tokens.weight").astype(dtype)[tokens]
    h = h * dtype(c.embedding_multiplier_scale)

    def norm(x: Array, name: str) -> Array:
        return rms_norm(x, weights(f"{name}.weight").astype(dtype), c.rms_norm_eps)

    for layer in range(c.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        own = below(weights, prefix, dtype)
        attended = attend(norm(h, f"{prefix}pre_attn_norm"), own, c, variant)
        h = h + norm(attended, f"{prefix}post_attn_norm")
        mixed = mix(norm(h, f"{prefix}pre_moe_norm"), own, c, variant)
        h = h + norm(mixed, f"{prefix}post_moe_norm")
    logits = norm(h, "model.norm") @ weights("lm_head.weight").astype(dtype).T
    factor, cap = dtype(c.output_multiplier_scale), c.final_logit_softcapping
    return capped(logits, cap) * factor if variant.cap_first else capped(logits * factor, cap)


def compare_with_golden(folder: Path) -> float:
    """Largest difference from the golden float32 logits in any logit of any prompt."""
    weights, config = load(folder / "release")
    prompts, golden = np.load(folder / "tokens.npy"), np.load(folder / "logits_f32.npy")
    pairs = zip(prompts, golden, strict=True)
    return max(float(np.abs(forward(weights, config, p) - wanted).max()) for p, wanted in pairs)


if __name__ == "__main__":
    difference = compare_with_golden(Path(sys.argv[1]))
    print(f"numpy against the golden: largest difference of a logit {difference:.1e}")
    sys.exit(difference > LIMIT)
