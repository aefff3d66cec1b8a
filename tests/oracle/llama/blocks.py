"""A GGUF's weights as gguf-py decodes them, and their errors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from tests.oracle.forward import GLOBALS, Array, Weights, load

BLOCK = 32  # weights that are judged together; of Q4_K, a part of a block
SAME = 1 + 1e-6  # float32 and double precision judge two blocks of the same error
NAMES = {
    GLOBALS[0]: "token_embd",
    GLOBALS[1]: "output_norm",
    "moe/linear/w": "ffn_gate_exps",
    "moe/linear_v/w": "ffn_up_exps",
    "moe/linear_1/w": "ffn_down_exps",
    "multi_head_attention/key/w": "attn_k",
    "multi_head_attention/linear/w": "attn_output",
    "multi_head_attention/query/w": "attn_q",
    "multi_head_attention/value/w": "attn_v",
    "rms_norm/scale": "attn_norm",
    "rms_norm_1/scale": "attn_output_norm",
    "rms_norm_2/scale": "ffn_norm",
    "rms_norm_3/scale": "layer_output_norm",
    "router/w": "ffn_gate_inp",
}


def tensors(path: Path) -> dict[str, Any]:
    """gguf-py's tensors by llama.cpp's names, without `.weight`."""
    return {t.name.removesuffix(".weight"): t for t in GGUFReader(path).tensors}


def llama_name(name: str) -> str:
    """llama.cpp's name, without `.weight`, for xAI's."""
    if name in GLOBALS:
        return NAMES[name]
    _, layer, slot = name.split("/", 2)
    return f"blk.{layer.removeprefix('decoder_layer_')}.{NAMES[slot]}"


def decoded(path: Path) -> Weights:
    """A file's weights by xAI's names, in its order of axes."""
    found = tensors(path)

    @functools.cache
    def weights(name: str) -> Array:
        tensor = found[llama_name(name)]
        values: Array = dequantize(tensor.data, tensor.tensor_type)
        return values if values.ndim == 1 or name == GLOBALS[0] else values.swapaxes(-1, -2)

    return weights


def released(folder: Path) -> Iterator[tuple[str, Array]]:
    """What is quantized of a checkpoint, by llama.cpp's names: `f32[..., out, in]`."""
    weights, config = load(folder)
    slots = [slot for slot in NAMES if slot.startswith(("moe/", "multi_head_attention/"))]
    for layer in range(config["num_layers"]):
        for slot in slots:
            name = f"transformer/decoder_layer_{layer}/{slot}"
            yield llama_name(name), weights(name).swapaxes(-1, -2)


def errors(
    path: Path, exact: dict[str, Array], importance: dict[str, Array] | None = None
) -> dict[str, Array]:
    """Squared error of every 32 weights of a row, in double precision, by tensor.

    Args:
        path: A GGUF.
        exact: What it was made of, `f32[..., out, in]`.
        importance: What errors count, of a matrix's inputs, `f32[expert or 1, in]`; 1 if unknown.
    """
    found, made = tensors(path), {}
    for name, values in exact.items():
        lost = dequantize(found[name].data, found[name].tensor_type).astype(np.float64) - values
        counts = (importance or {}).get(name, np.ones((1, values.shape[-1])))
        lost = np.square(lost) * (counts[:, None] if lost.ndim > counts.ndim else counts)
        made[name] = lost.reshape(-1, BLOCK).sum(-1)
    return made


def unlike(one: Path, other: Path) -> tuple[int, list[str]]:
    """How many tensors two files have, and which differ in type or in a byte."""
    ours, theirs = tensors(one), tensors(other)
    names = [
        name
        for name in ours.keys() | theirs.keys()
        if name not in ours
        or name not in theirs
        or ours[name].tensor_type != theirs[name].tensor_type
        or not np.array_equal(ours[name].data, theirs[name].data)
    ]
    return len(ours), sorted(names)
