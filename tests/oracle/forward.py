"""The Grok-1 network in numpy, written from xAI's model.py and from nothing of grokpack.

It is the second opinion of the oracles: slow, plain, one prompt at a time. `python -m
tests.oracle.forward tests/data/tiny3` compares it with the logits that xAI's own code computed.

A checkpoint is read here by a loader of its own too: file order, unpickling and dequantizing are
not grokpack's.
"""

from __future__ import annotations

import json
import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Array = np.ndarray
Weights = Callable[[str], Array]
"""xAI's parameter name -> its float32 values, as stored: `[in, out]`."""

MASKED = -1e30  # what model.py puts in place of a hidden key's logit

GLOBALS = ("language_model/in_out_embed/embeddings", "language_model/rms_norm/scale")
SLOTS = (
    "moe/linear/w",
    "moe/linear_1/w",
    "moe/linear_v/w",
    "multi_head_attention/key/w",
    "multi_head_attention/linear/w",
    "multi_head_attention/query/w",
    "multi_head_attention/value/w",
    "rms_norm/scale",
    "rms_norm_1/scale",
    "rms_norm_2/scale",
    "rms_norm_3/scale",
    "router/w",
)


class _Quantized:
    """Stands in for xAI's QuantizedWeight8bit: int8 `weight`, bfloat16 `scales`."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name == "QuantizedWeight8bit":
            return _Quantized
        if module.partition(".")[0] in {"numpy", "ml_dtypes"}:
            return super().find_class(module, name)
        message = f"{module}.{name} has no place in a checkpoint"
        raise pickle.UnpicklingError(message)


def find_config(folder: Path) -> dict[str, Any]:
    """config.json in xAI's keys, from a ckpt-0 folder or its parent."""
    places = [path / "config.json" for path in (folder, folder.parent)]
    return json.loads(next(p for p in places if p.exists()).read_text(encoding="utf-8"))


def files(folder: Path, layers: int) -> dict[str, Path]:
    """Parameter name -> file. Layers are stored in the order of their numbers as strings."""
    names = [*GLOBALS]
    for layer in sorted(str(n) for n in range(layers)):
        names += [f"transformer/decoder_layer_{layer}/{slot}" for slot in SLOTS]
    return {name: folder / f"tensor{i:05d}_000" for i, name in enumerate(names)}


def stored(path: Path) -> tuple[Array, Array | None]:
    """One tensor as it lies in its file: codes and scales, or values and None."""
    with path.open("rb") as stream:
        found = _Unpickler(stream).load()
    return (found.weight, found.scales) if isinstance(found, _Quantized) else (found, None)


def read(path: Path) -> Array:
    """One tensor, as float32. Scale row `g` of `G` covers the g-th part of the input rows."""
    values, scales = stored(path)
    values = np.asarray(values, np.float32)
    if scales is None:
        return values
    scales = np.asarray(scales, np.float32)
    return values * np.repeat(scales, values.shape[-2] // scales.shape[-2], axis=-2)


def load(folder: Path) -> tuple[Weights, dict[str, Any]]:
    """A checkpoint's weights and config; `folder` holds `ckpt-0` or is it."""
    folder = folder / "ckpt-0" if (folder / "ckpt-0").is_dir() else folder
    config = find_config(folder)
    where = files(folder, config["num_layers"])
    return lambda name: read(where[name]), config


def rms_norm(x: Array, scale: Array, eps: float) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(eps)) * scale


def gelu(x: Array) -> Array:
    """jax.nn.gelu as it is by default: the tanh form."""
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * (x + 0.044715 * x**3)))


def erf_gelu(x: Array) -> Array:
    """GELU as it is defined."""
    return x / 2 * (1 + np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2)))


def softmax(x: Array) -> Array:
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def rotate(x: Array, theta: float) -> Array:
    """RoPE of `f[T, head]`: feature i turns with feature i + head/2."""
    half = x.shape[-1] // 2
    return turn(x, np.outer(np.arange(len(x)), theta ** (-np.arange(half) / half)))


def turn(x: Array, angles: Array) -> Array:
    """Both halves of `f[T, head]`, turned by `angles[T, head/2]`."""
    angle = angles.astype(x.dtype)
    first, second = np.split(x, 2, axis=1)
    return np.concatenate(
        [
            first * np.cos(angle) - second * np.sin(angle),
            second * np.cos(angle) + first * np.sin(angle),
        ],
        axis=1,
    )


def attend(x: Array, weights: Weights, config: SimpleNamespace, hidden: Array) -> Array:
    """Attention of `f[T, d]`, head by head; `hidden[query, key]` marks keys not to be seen."""
    size = config.key_size
    query, key, value = (
        x @ weights(f"multi_head_attention/{name}/w") for name in ("query", "key", "value")
    )
    shared = config.num_q_heads // config.num_kv_heads
    heads = []
    for head in range(config.num_q_heads):
        own = slice(head * size, (head + 1) * size)
        its = slice(head // shared * size, (head // shared + 1) * size)
        turned = (rotate(query[:, own], config.theta), rotate(key[:, its], config.theta))
        logits = turned[0] @ turned[1].T * x.dtype.type(config.attn_output_multiplier)
        logits = config.cap * np.tanh(logits / config.cap)
        heads.append(softmax(np.where(hidden, MASKED, logits).astype(x.dtype)) @ value[:, its])
    return np.concatenate(heads, axis=1) @ weights("multi_head_attention/linear/w")


def mix(x: Array, weights: Weights, chosen: int, *, renormalized: bool = False) -> Array:
    """The experts: each token through its best `chosen`, gates left as the softmax gave them.

    `renormalized` is what other programs do and model.py does not: gates that add up to one.
    """
    gates = softmax(x @ weights("router/w"))
    best = np.argsort(-gates, axis=-1, kind="stable")[:, :chosen]
    if renormalized:
        gates = gates / np.take_along_axis(gates, best, axis=-1).sum(axis=-1, keepdims=True)
    into, out, up = (weights(f"moe/{name}/w") for name in ("linear", "linear_1", "linear_v"))
    mixed = np.zeros_like(x)
    for expert in range(gates.shape[-1]):
        tokens = np.flatnonzero((best == expert).any(axis=-1))
        worked = (gelu(x[tokens] @ into[expert]) * (x[tokens] @ up[expert])) @ out[expert]
        mixed[tokens] += gates[tokens, expert, None] * worked
    return mixed


def below(weights: Weights, prefix: str, dtype: type) -> Weights:
    """The weights of one layer, by the rest of their names."""
    return lambda name: weights(prefix + name).astype(dtype)


def forward(
    weights: Weights,
    config: dict[str, Any],
    tokens: Array,
    dtype: type = np.float32,
    *,
    renormalized: bool = False,
) -> Array:
    """Logits `f[T, vocab]` of a prompt `i[T]`."""
    c = SimpleNamespace(cap=config["attn_logit_cap"], theta=config["rope_theta"], **config)
    embedding = weights(GLOBALS[0]).astype(dtype)
    h = embedding[tokens] * dtype(c.embedding_multiplier_scale)
    order = np.arange(len(tokens))
    hidden = (order[None, :] > order[:, None]) | (tokens == c.pad_token)[None, :]

    for layer in range(c.num_layers):
        own = below(weights, f"transformer/decoder_layer_{layer}/", dtype)
        norms = [own(f"rms_norm{suffix}/scale") for suffix in ("", "_1", "_2", "_3")]
        h = h + rms_norm(
            attend(rms_norm(h, norms[0], c.rms_norm_eps), own, c, hidden), norms[1], c.rms_norm_eps
        )
        h = h + rms_norm(
            mix(
                rms_norm(h, norms[2], c.rms_norm_eps),
                own,
                c.num_selected_experts,
                renormalized=renormalized,
            ),
            norms[3],
            c.rms_norm_eps,
        )
    h = rms_norm(h, weights(GLOBALS[1]).astype(dtype), c.rms_norm_eps)
    return h @ embedding.T * dtype(c.output_multiplier_scale)


def compare_with_golden(folder: Path) -> float:
    """Largest difference from the reference's float32 logits in any logit of any prompt."""
    weights, config = load(folder)
    prompts = np.load(folder / "tokens.npy")
    golden = np.load(folder / "logits_exact32.npy")
    worst = 0.0
    for prompt, logits, length in zip(prompts, golden, config["prompt_lengths"], strict=True):
        ours = forward(weights, config, prompt[:length])
        worst = max(worst, float(np.abs(ours - logits[:length]).max()))
    return worst


if __name__ == "__main__":
    difference = compare_with_golden(Path(sys.argv[1]))
    print(f"numpy against the reference: largest difference of a logit {difference:.1e}")
    sys.exit(difference > 1e-4)  # two float32 programs that sum in different orders
