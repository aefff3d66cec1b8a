"""What each of SGLang's parameters must be, from the releases of both models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from tests.oracle import forward, forward_grok2
from tests.oracle.sglang.comparison import Array, Place, cut

if TYPE_CHECKING:
    from tests.oracle.ct.folders import Folder

NORMS = {
    "pre_attn_norm": "rms_norm/scale",
    "post_attn_norm": "rms_norm_1/scale",
    "pre_moe_norm": "rms_norm_2/scale",
    "post_moe_norm": "rms_norm_3/scale",
}

_SOFTMAX = forward.softmax


class Grok1:
    """xAI's weights of Grok-1.

    Args:
        folder: A ckpt-0 checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inner = folder / "ckpt-0"
        self.weights, self.config = forward.load(folder)
        self.multiplier = self.config["output_multiplier_scale"]
        self._files = forward.files(inner, self.config["num_layers"])

    def logits(self, weights: forward.Weights, ids: Array) -> Array:
        """Logits in double precision, with SGLang's router and GELU."""
        with mock.patch.multiple(forward, softmax=self._softmax, gelu=forward.erf_gelu):
            return forward.forward(weights, self.config, ids, np.float64)

    def _softmax(self, x: Array) -> Array:
        """Softmax with what SGLang's router does to its logits, and only to those."""
        routed = x.shape[-1] == self.config["num_experts"]
        return _SOFTMAX(30 * np.tanh(x / 30) if routed else x)

    @staticmethod
    def decoded(folder: Folder) -> forward.Weights:
        """A quantized folder's weights by xAI's names."""
        return folder.weights()

    def expected(self, name: str, place: Place) -> Array:
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            return cut(self.weights(forward.GLOBALS[0]), 0, place)
        if name == "model.norm.weight":
            return self.weights(forward.GLOBALS[1])
        layer, own = _module(name)
        prefix = f"transformer/decoder_layer_{layer}/"
        if own in NORMS:
            return self.weights(prefix + NORMS[own])
        if own == "block_sparse_moe.gate":
            return self.weights(prefix + "router/w").T
        made = []
        for weight, axis in _parts(layer, own):
            turned = self.weights(weight).swapaxes(-1, -2)
            made.append(cut(turned, axis - 2, place))
        return np.concatenate(made, axis=-2)

    def codes(self, name: str, place: Place) -> tuple[Array, Array] | None:
        """None where a share has several groups of scales, or groups do not end where it does."""
        codes, steps = [], []
        for weight, axis in _parts(*_module(name)):
            values, scales = forward.stored(self._files[weight])
            assert scales is not None
            groups = scales.astype(np.float32).swapaxes(-1, -2)  # [..., out, group]
            steps.append(cut(groups, axis - 2, place) if axis == 0 or place[0] > 1 else groups)
            codes.append(cut(values.swapaxes(-1, -2), axis - 2, place))
        if any(share.shape[-1] > 1 for share in steps) or "o_proj" in name:
            return None
        return np.concatenate(codes, axis=-2), np.concatenate(steps, axis=-2)


def _module(name: str) -> tuple[int, str]:
    """Layer and module of a parameter."""
    _, _, number, *rest = name.split(".")
    return int(number), ".".join(rest).removesuffix(".weight").removesuffix("_weight")


def _parts(layer: int, module: str) -> list[tuple[str, int]]:
    """xAI's weights that a module of SGLang's holds, and the axis of `[out, in]` that ranks cut."""
    names = {
        "self_attn.qkv_proj": [("query", 0), ("key", 0), ("value", 0)],
        "self_attn.o_proj": [("linear", 1)],
        "block_sparse_moe.experts.w13": [("linear", 0), ("linear_v", 0)],
        "block_sparse_moe.experts.w2": [("linear_1", 1)],
    }[module]
    kind = "moe" if "moe" in module else "multi_head_attention"
    return [(f"transformer/decoder_layer_{layer}/{kind}/{n}/w", axis) for n, axis in names]


class Grok2:
    """Weights of a release of Grok-2.

    Args:
        folder: With the files of eight ranks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights, self.config = forward_grok2.load(folder)
        self.multiplier = self.config["output_multiplier_scale"]

    def logits(self, weights: forward.Weights, ids: Array) -> Array:
        """Logits in double precision."""
        return forward_grok2.forward(weights, self.config, ids, np.float64)

    @staticmethod
    def decoded(folder: Folder) -> forward.Weights:
        """A quantized folder's weights by the release's names."""
        return lambda name: folder.matrix(name.removesuffix(".weight"))

    def expected(self, name: str, place: Place) -> Array:
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            return cut(self.weights(name), 0, place)
        if name.endswith(("norm.weight", "block_sparse_moe.gate.weight")):
            return self.weights(name)
        prefix, module = name.rpartition(".layers.")[2].split(".", 1)
        below = f"model.layers.{prefix}."
        if ".experts." in module:
            axis, slots = (0, "13") if "w13" in module else (1, "2")
            experts = range(self.config["num_local_experts"])
            base = f"{below}block_sparse_moe.experts"
            return np.stack([self._joined(f"{base}.{e}.w", slots, axis, place) for e in experts])
        if "qkv" in module:
            return self._attention(below, place)
        if "gate_up" in module:
            halves = (self.weights(f"{below}mlp.{half}_proj.weight") for half in ("gate", "up"))
            return np.concatenate([cut(half, 0, place) for half in halves])
        return cut(self.weights(name), 1, place)

    def _joined(self, base: str, slots: str, axis: int, place: Place) -> Array:
        return np.concatenate([cut(self.weights(f"{base}{s}.weight"), axis, place) for s in slots])

    def _attention(self, below: str, place: Place) -> Array:
        """Queries, keys and values of a rank; more ranks than key heads share these."""
        ranks, rank = place
        query, key, value = (self.weights(f"{below}self_attn.{n}_proj.weight") for n in "qkv")
        heads = min(ranks, self.config["num_key_value_heads"])
        own = (heads, rank * heads // ranks)
        return np.concatenate([cut(query, 0, place), cut(key, 0, own), cut(value, 0, own)])

    def codes(self, _name: str, _place: Place) -> None:
        """The release has no codes."""
