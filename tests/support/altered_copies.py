"""Copies of a checkpoint that differ from it in one known way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.core.tensors import DType, scales_name

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[np.ndarray], None]

DTYPES: dict[DType, Any] = {
    DType.I8: np.int8,
    DType.BF16: ml_dtypes.bfloat16,
    DType.F16: np.float16,
    DType.F32: np.float32,
}


def copy(source: Path, out: Path) -> Path:
    """Copy a checkpoint; its manifest stays behind, since its checksums would be another's."""
    shutil.copytree(source, out, ignore=shutil.ignore_patterns("grokpack.json"))
    return out


def alter(folder: Path, array: str, change: Change) -> None:
    """Change an array that lies in one piece, in place."""
    checkpoint = open_checkpoint(str(folder))
    (piece,) = checkpoint.layout.pieces()[array]
    spec = checkpoint.layout.arrays[array]
    values = np.memmap(
        checkpoint.path(piece.extent.path),
        DTYPES[spec.dtype],
        "r+",
        piece.extent.offset,
        spec.shape,
    )
    change(values)
    values.flush()


def of_layer(layer: int, name: str) -> str:
    """The name of a layer's tensor."""
    return f"transformer/decoder_layer_{layer}/{name}"


def set_constant(folder: Path, **constants: Any) -> None:
    """Change keys of config.json."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | constants), encoding="utf-8")


def swap(values: np.ndarray, one: Any, other: Any) -> None:
    """Put two parts of an array in each other's place."""
    values[one], values[other] = values[other].copy(), values[one].copy()


def with_scales(folder: Path, name: str, change: Change) -> None:
    """Change a weight and its scales in the same way, along axes that both have."""
    alter(folder, name, change)
    alter(folder, scales_name(name), change)


def permute_experts(folder: Path, layer: int, order: list[int]) -> None:
    """Give experts other numbers, in the router as well."""

    def turn(values: np.ndarray) -> None:
        values[...] = values[order]

    def turn_columns(values: np.ndarray) -> None:
        values[...] = values[:, order]

    for name in ("moe/linear/w", "moe/linear_v/w", "moe/linear_1/w"):
        with_scales(folder, of_layer(layer, name), turn)
    alter(folder, of_layer(layer, "router/w"), turn_columns)


def permute_heads(folder: Path, layer: int, order: list[int]) -> None:
    """Give key heads another order, with the query heads that use each, of int8 as released."""
    checkpoint = open_checkpoint(str(folder))
    geometry = checkpoint.geometry
    assert geometry.head_dim is not None
    width, kept = geometry.head_dim, geometry.kv_width // geometry.head_dim
    shared = geometry.q_width // geometry.kv_width

    def columns(count: int) -> np.ndarray:
        return np.arange(kept * count * width).reshape(kept, -1)[order].reshape(-1)

    for name, count in (("query", shared), ("key", 1), ("value", 1)):
        index = columns(count)

        def turn(values: np.ndarray, index: np.ndarray = index) -> None:
            values[...] = values[:, index]

        with_scales(folder, of_layer(layer, f"multi_head_attention/{name}/w"), turn)
    _permute_output(folder, layer, columns(shared), order)


def _permute_output(folder: Path, layer: int, index: np.ndarray, order: list[int]) -> None:
    """Rows of the output projection; its scale groups hold whole key heads each."""
    name = of_layer(layer, "multi_head_attention/linear/w")

    def turn(values: np.ndarray) -> None:
        values[...] = values[index]

    def turn_groups(values: np.ndarray) -> None:
        per_head = len(values) // len(order)
        assert per_head * len(order) == len(values)
        groups = np.arange(len(values)).reshape(len(order), per_head)[order].reshape(-1)
        values[...] = values[groups]

    alter(folder, name, turn)
    alter(folder, scales_name(name), turn_groups)
