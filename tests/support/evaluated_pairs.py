"""Two networks that differ in one known way, and what `evaluate --against` finds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.evaluation.evaluation_options import EvaluateOptions
from grokpack.evaluation.input_tokens import Inputs
from grokpack.evaluation.network_verdict import Thresholds, findings
from grokpack.evaluation.pair_evaluation import PairEvaluation, evaluate_pair
from grokpack.models.architecture import Geometry
from tests.support.altered_copies import (
    alter,
    of_layer,
    permute_experts,
    permute_heads,
    swap,
    with_scales,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.core.finding import Finding

    Edit = Callable[[Path], object]

MODEL = Geometry(
    vocab=64, d_model=64, layers=2, experts=4, ffn=256, q_width=256, kv_width=128, head_dim=16
)
"""8 key heads, each in a scale group of its own of the output projection; 16 query heads."""
EMBEDDING = "language_model/in_out_embed/embeddings"
FINAL_NORM = "language_model/rms_norm/scale"
QUERY, KEY, VALUE, OUTPUT = (
    f"multi_head_attention/{name}/w" for name in ("query", "key", "value", "linear")
)
GATE, DOWN, UP = "moe/linear/w", "moe/linear_1/w", "moe/linear_v/w"
UNREACHED = 60
"""The first token that no input names."""


def inputs(count: int = 60) -> Inputs:
    """One sequence of any tokens below `UNREACHED`, padding left out."""
    ids = np.random.default_rng(1).integers(1, UNREACHED, count)
    return Inputs((ids,), np.append(ids[1:], -1))


def evaluated(one: Path, other: Path, count: int = 60, **options: Any) -> PairEvaluation:
    first, second = (open_checkpoint(str(path)) for path in (one, other))
    return evaluate_pair(first, second, inputs(count), EvaluateOptions(workers=1, **options))


def errors(found: PairEvaluation) -> list[Finding]:
    return [row for row in findings(found, Thresholds()) if row.severity == "error"]


def scale_by(factor: float, where: Any = ...) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[where] = (values[where].astype(np.float32) * np.float32(factor)).astype(values.dtype)

    return change


def one_code(*place: int) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[place] += 1 if values[place] < 100 else -1

    return change


def next_scale(*place: int) -> Callable[[np.ndarray], None]:
    """The next number that bfloat16 has."""

    def change(values: np.ndarray) -> None:
        values.view(np.uint16)[place] += 1

    return change


def reverse(values: np.ndarray) -> None:
    values[...] = values[::-1].copy()


def exchange(folder: Path, one: str, other: str, where: Any = ...) -> None:
    """Two weights, or parts of them, in each other's place, with their scales."""
    for ending in ("", "/scales"):
        kept: list[np.ndarray] = []

        def put(values: np.ndarray, kept: list[np.ndarray] = kept) -> None:
            before = values[where].copy()
            if kept:
                values[where] = kept[-1]
            kept.append(before)

        for name in (one, other, one):
            alter(folder, name + ending, put)


def exchange_layers(folder: Path) -> None:
    for name in (QUERY, KEY, VALUE, OUTPUT, GATE, DOWN, UP):
        exchange(folder, of_layer(0, name), of_layer(1, name))


def exchange_experts(folder: Path) -> None:
    """Without their columns of the router."""
    for name in (GATE, DOWN, UP):
        with_scales(folder, of_layer(1, name), lambda values: swap(values, 0, 2))


def exchange_heads(folder: Path, *names: str) -> None:
    """Two key heads of some projections alone."""
    for name in names:
        with_scales(
            folder,
            of_layer(1, name),
            lambda values: swap(values, np.s_[:, :16], np.s_[:, 16:32]),
        )


def edit(name: str, change: Callable[[np.ndarray], None]) -> Edit:
    return partial(alter, array=name, change=change)


def layer_edit(number: int, name: str, change: Callable[[np.ndarray], None]) -> Edit:
    return edit(of_layer(number, name), change)


CONSTANTS = {
    "rope_theta": 10_100.0,
    "attn_output_multiplier": 0.3,
    "embedding_multiplier_scale": 9.0,
    "output_multiplier_scale": 0.6,
    "attn_logit_cap": 50.0,
    "rms_norm_eps": 1e-6,
    "num_selected_experts": 1,
    "sequence_len": 4096,
    "pad_token": 3,
    "bos_token": 7,
    "eos_token": 7,
}
WRONG: dict[str, tuple[Edit, str]] = {
    "embedding rows swapped": (edit(EMBEDDING, lambda v: swap(v, 5, 9)), EMBEDDING),
    "rows that no token names": (edit(EMBEDDING, lambda v: swap(v, 61, 62)), EMBEDDING),
    "one value of the embedding": (edit(EMBEDDING, scale_by(1.0001, (7, 3))), EMBEDDING),
    "NaN that no token names": (edit(EMBEDDING, scale_by(np.nan, (UNREACHED, 3))), EMBEDDING),
    "final norm reversed": (edit(FINAL_NORM, reverse), FINAL_NORM),
    "one value of the final norm": (edit(FINAL_NORM, scale_by(1.0001, 3)), FINAL_NORM),
    "a norm 5 % off": (layer_edit(1, "rms_norm_2/scale", scale_by(1.05)), "rms_norm_2/scale"),
    "a norm's sign": (layer_edit(0, "rms_norm_3/scale", scale_by(-1)), "rms_norm_3/scale"),
    "NaN in a norm": (layer_edit(1, "rms_norm/scale", scale_by(np.nan, 3)), "rms_norm/scale"),
    "infinity in a norm": (layer_edit(1, "rms_norm_1/scale", scale_by(np.inf, 3)), "rms_norm_1"),
    "layers swapped": (exchange_layers, QUERY),
    "gate and up of one expert": (
        lambda d: exchange(d, of_layer(1, GATE), of_layer(1, UP), 2),
        GATE,
    ),
    "gate and up of a layer": (lambda d: exchange(d, of_layer(0, GATE), of_layer(0, UP)), UP),
    "a code of gate": (layer_edit(1, GATE, one_code(2, 5, 7)), GATE),
    "a code of down": (layer_edit(0, DOWN, one_code(3, 255, 63)), DOWN),
    "a code of up": (layer_edit(0, UP, one_code(0, 0, 0)), UP),
    "a code of the queries": (layer_edit(1, QUERY, one_code(5, 7)), QUERY),
    "a code of the keys": (layer_edit(0, KEY, one_code(63, 127)), KEY),
    "a code of the values": (layer_edit(1, VALUE, one_code(5, 7)), VALUE),
    "a code of the output": (layer_edit(1, OUTPUT, one_code(255, 0)), OUTPUT),
    "a scale": (layer_edit(1, f"{UP}/scales", scale_by(1.05, (2, 0, 7))), UP),
    "a scale's last bit": (layer_edit(1, f"{OUTPUT}/scales", next_scale(3, 9)), OUTPUT),
    "all scales of a weight": (layer_edit(0, f"{KEY}/scales", scale_by(1.01)), KEY),
    "columns of the router swapped": (
        layer_edit(0, "router/w", lambda v: swap(v, np.s_[:, 1], np.s_[:, 2])),
        "router/w",
    ),
    "one value of the router": (layer_edit(0, "router/w", scale_by(1.0001, (3, 2))), "router/w"),
    "experts swapped without the router": (exchange_experts, GATE),
    "key heads swapped": (lambda d: exchange_heads(d, KEY), KEY),
    "key and value heads swapped": (lambda d: exchange_heads(d, KEY, VALUE), VALUE),
    "rows of a gate swapped": (layer_edit(1, GATE, lambda v: swap(v, (2, 5), (2, 9))), GATE),
    "a column that is zero": (layer_edit(1, VALUE, scale_by(0, np.s_[:, 3])), VALUE),
    "a weight upside down": (layer_edit(1, VALUE, reverse), VALUE),
}


def all_experts_turned(folder: Path) -> None:
    for layer in range(MODEL.layers):
        permute_experts(folder, layer, [2, 0, 3, 1])


def all_heads_turned(folder: Path) -> None:
    for layer in range(MODEL.layers):
        permute_heads(folder, layer, [7, 2, 1, 0, 4, 6, 5, 3])


def everything_turned(folder: Path) -> None:
    all_heads_turned(folder)
    all_experts_turned(folder)


REORDERED: dict[str, Edit] = {
    "two experts": partial(permute_experts, layer=1, order=[1, 0, 2, 3]),
    "all experts": all_experts_turned,
    "two heads": partial(permute_heads, layer=0, order=[0, 1, 3, 2, 4, 5, 6, 7]),
    "all heads": all_heads_turned,
    "heads and experts": everything_turned,
}


CONVERTED: dict[str, tuple[str, dict[str, Any]]] = {
    "hf": ("hf", {"tokenizer": "none"}),
    "hf32": ("hf", {"dtype": "f32", "tokenizer": "none"}),
    "hf16": ("hf", {"dtype": "f16", "tokenizer": "none"}),
    "zarr": ("zarr", {}),
    "q8_0.gguf": ("gguf", {"type": "q8_0"}),
    "bf16.gguf": ("gguf", {"type": "bf16"}),
}
QUANTIZED: dict[str, dict[str, Any]] = {
    "int4": {"bits": 4, "group": "32", "method": "rtn"},
    "int4-zeros": {"bits": 4, "group": "64", "method": "mse", "symmetric": False},
    "int8": {"bits": 8, "to": "w8a8-int8", "method": "mse"},
    "gptq": {"bits": 4, "to": "gptq", "group": "32", "method": "rtn"},
    "q4_0.gguf": {"bits": 4, "to": "gguf", "type": "q4_0", "tokenizer": "none", "method": "mse"},
    "iq4_nl.gguf": {"to": "gguf", "type": "iq4_nl", "tokenizer": "none"},
    "nvfp4": {"to": "nvfp4"},
    "fp8": {"to": "fp8"},
    "ckpt-0": {"bits": 8, "to": "ckpt-0", "tp": 1},
}
