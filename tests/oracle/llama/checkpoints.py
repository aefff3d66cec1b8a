"""The checkpoints that llama.cpp is asked about.

`grokpack synth` gives the files; what stands in them is written here, over bytes of the same
length, so that no pickling of grokpack's is needed to change a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.oracle.forward import Array, files, find_config, stored

if TYPE_CHECKING:
    from tests.oracle.grokpack_process import Grokpack

# Layers 10 and 11 are stored before 2; four query heads share a key/value head; widths divide by
# 256, as llama.cpp's greater blocks need.
GROUPED = {
    "layers": 12,
    "d-model": 256,
    "ffn": 768,
    "experts": 4,
    "vocab": 512,
    "heads": 8,
    "kv-heads": 2,
    "head-dim": 32,
}


@dataclass(frozen=True)
class Source:
    """A checkpoint that llama.cpp can load, and what its logits must be."""

    name: str
    folder: Path
    prompts: list[Array]
    logits: list[Array]


def synthesize(grokpack: Grokpack, out: Path, dimensions: dict[str, int], *more: object) -> Path:
    options = [text for name, size in dimensions.items() for text in (f"--{name}", size)]
    grokpack("synth", out, *options, *more)
    return out


def where(folder: Path) -> dict[str, Path]:
    """Parameter name -> file."""
    return files(folder / "ckpt-0", find_config(folder / "ckpt-0")["num_layers"])


def overwrite(
    path: Path, edit: Callable[[Array, Array | None], tuple[Array, Array | None]]
) -> None:
    """Put other values in a tensor's file, in the place of those that are there."""
    before = stored(path)
    data = path.read_bytes()
    for old, new in zip(before, edit(*before), strict=True):
        if old is None:
            continue
        assert new is not None
        assert (new.shape, new.dtype) == (old.shape, old.dtype), path
        was = np.ascontiguousarray(old).tobytes()
        assert data.count(was) == 1, f"{path}: not one place for its values"
        data = data.replace(was, np.ascontiguousarray(new).tobytes())
    path.write_bytes(data)


def padded(array: Array, shape: tuple[int, ...], filling: float) -> Array:
    """The array in the corner of a greater one."""
    greater = np.full(shape, filling, array.dtype)
    greater[tuple(slice(size) for size in array.shape)] = array
    return greater


def widen(golden: Path, grokpack: Grokpack, out: Path) -> Path:
    """The golden checkpoint with a residual as wide as its heads together, and the same logits.

    llama.cpp loads no other Grok. What is added is zeros, which change nothing but the mean square
    in the norms: it is `narrow / wide` of what it was, and eps and the norms' scales make up for
    that.
    """
    config = find_config(golden / "ckpt-0")
    narrow, wide = config["emb_size"], config["num_q_heads"] * config["key_size"]
    sizes = {
        "layers": config["num_layers"],
        "d-model": wide,
        "ffn": config["ffn_size"],
        "experts": config["num_experts"],
        "vocab": config["vocab_size"],
        "heads": config["num_q_heads"],
        "kv-heads": config["num_kv_heads"],
        "head-dim": config["key_size"],
        "scale-groups": config["scale_groups"],
    }
    synthesize(grokpack, out, sizes)
    shown = {
        key: value for key, value in config.items() if key not in ("tensors", "prompt_lengths")
    }
    shown |= {"emb_size": wide, "rms_norm_eps": config["rms_norm_eps"] * narrow / wide}
    (out / "config.json").write_text(json.dumps(shown), encoding="utf-8")
    places = where(golden)
    for name, path in where(out).items():
        values, scales = stored(places[name])
        if "rms_norm" in name:
            values = values * np.float32((narrow / wide) ** 0.5)
        overwrite(path, lambda old, rows, v=values, s=scales: _into(old, rows, v, s))
    return out


def _into(old: Array, rows: Array | None, values: Array, scales: Array | None) -> Any:
    if rows is None or scales is None:
        return padded(values, old.shape, 0), None
    return padded(values, old.shape, 0), padded(scales, rows.shape, 1)
