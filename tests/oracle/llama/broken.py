"""Ways to convert wrongly, which a comparison of logits must notice.

Some are in the checkpoint, some in the keys of the file. Each is small: one layer, one tensor, one
number; one that changes them all is there because converters have made that mistake.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.oracle.forward import GLOBALS, SLOTS, Array, stored
from tests.oracle.llama.checkpoints import GROUPED, overwrite, where

ATTENTION = "multi_head_attention"


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def layer(number: int, slot: str) -> str:
    return f"transformer/decoder_layer_{number}/{slot}"


def swap_layers(folder: Path) -> None:
    """Layers 3 and 7."""
    at = where(folder)
    for slot in SLOTS:
        swap(at[layer(3, slot)], at[layer(7, slot)])


def number_layers(folder: Path) -> None:
    """The files as if layers had been stored in the order of their numbers."""
    paths = list(where(folder).values())
    names = [*GLOBALS]
    names += [layer(n, slot) for n in range(len(paths) // len(SLOTS)) for slot in SLOTS]
    contents = {name: path.read_bytes() for name, path in where(folder).items()}
    for name, path in zip(names, paths, strict=True):
        path.write_bytes(contents[name])


def swap_gate_and_up(folder: Path) -> None:
    """In one layer."""
    at = where(folder)
    swap(at[layer(5, "moe/linear/w")], at[layer(5, "moe/linear_v/w")])


def reverse_groups(folder: Path) -> None:
    """The scale groups of one tensor."""
    path = where(folder)[layer(4, f"{ATTENTION}/linear/w")]
    overwrite(path, lambda codes, scales: (codes, scales[::-1]))


def turn_experts(folder: Path) -> None:
    """The experts of one tensor, by one."""
    path = where(folder)[layer(6, "moe/linear_1/w")]
    overwrite(path, lambda codes, scales: (np.roll(codes, 1, 0), np.roll(scales, 1, 0)))


def _columns(array: Array, order: Array) -> Array:
    return array[..., order]


def _reorder(folder: Path, order: Callable[[int], Array], *slots: str) -> None:
    """Give the output features of these tensors another order, in every layer."""
    for number in range(GROUPED["layers"]):
        for slot in slots:
            path = where(folder)[layer(number, f"{ATTENTION}/{slot}/w")]
            features = order(stored(path)[0].shape[-1])
            overwrite(
                path, lambda codes, scales, f=features: (_columns(codes, f), _columns(scales, f))
            )


def reverse_kv_heads(folder: Path) -> None:
    """Each query head reads another head's keys and values."""

    def order(width: int) -> Array:
        return np.arange(width).reshape(-1, GROUPED["head-dim"])[::-1].ravel()

    _reorder(folder, order, "key", "value")


def permute_rope(folder: Path) -> None:
    """Queries and keys as converters of Llama permute them, for RoPE on neighbours."""

    def order(width: int) -> Array:
        size = GROUPED["head-dim"]
        return np.arange(width).reshape(-1, 2, size // 2).swapaxes(1, 2).ravel()

    _reorder(folder, order, "query", "key")


IN_CHECKPOINT: dict[str, Callable[[Path], None]] = {
    "two layers swapped": swap_layers,
    "layers in the order of their numbers": number_layers,
    "gate and up of one layer swapped": swap_gate_and_up,
    "scale groups of one tensor reversed": reverse_groups,
    "experts of one tensor turned by one": turn_experts,
    "key/value heads reversed": reverse_kv_heads,
    "queries and keys permuted for RoPE": permute_rope,
}


_STORED = {int: (4, "<I"), float: (6, "<f")}  # the type's number in GGUF, and its form


def set_key(name: str, number: float) -> Callable[[Path], None]:
    """A change of one key's number."""
    kind, form = _STORED[type(number)]

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        key = struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind)
        assert data.count(key) == 1, f"{name}: not one such key"
        struct.pack_into(form, data, data.index(key) + len(key), number)
        path.write_bytes(data)

    return change


def drop_key(name: str) -> Callable[[Path], None]:
    """A change of one key's name, to one that nobody reads."""

    def change(path: Path) -> None:
        data = path.read_bytes()
        key = struct.pack("<Q", len(name)) + name.encode()
        assert data.count(key) == 1, f"{name}: not one such key"
        path.write_bytes(data.replace(key, key[:-1] + b"_"))

    return change


def define_digits(path: Path) -> None:
    """Digits as user-defined pieces, which they are in the tokenizer: a space comes after each."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tokenizer.ggml.token_type") + len(b"tokenizer.ggml.token_type") + 16
    for digit in range(14, 24):
        struct.pack_into("<I", data, start + 4 * digit, 4)  # LLAMA_TOKEN_TYPE_USER_DEFINED
    path.write_bytes(data)


IN_KEYS: dict[str, Callable[[Path], None]] = {
    "embedding_scale of Grok-1's width": drop_key("grok.embedding_scale"),
    "embedding_scale of 1": set_key("grok.embedding_scale", 1.0),
    "attention.output_scale of Grok-1's heads": drop_key("grok.attention.output_scale"),
    "logit_scale of 1": set_key("grok.logit_scale", 1.0),
    "softcap of 50": set_key("grok.attn_logit_softcapping", 50.0),
    "rope.freq_base of 100,000": set_key("grok.rope.freq_base", 1e5),
    "one expert used": set_key("grok.expert_used_count", 1),
}
REFUSED: dict[str, Callable[[Path], None]] = {  # by llama.cpp, where shapes tell
    "head_count_kv of 4": set_key("grok.attention.head_count_kv", 4),
    "no head_count_kv": drop_key("grok.attention.head_count_kv"),
}


def copied(source: Path, out: Path) -> Path:
    """A checkpoint's files and config, without the manifest of the original."""
    shutil.copytree(source / "ckpt-0", out / "ckpt-0")
    shutil.copy(source / "config.json", out)
    return out
