"""A second formula for packed weights: bit by bit, from what the safetensors library reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import deserialize

from grokpack.models.grok1 import GROK1

_DTYPES: dict[str, Any] = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "U8": np.uint8,
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
}


def load(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file, those of dtypes that numpy lacks as well."""
    rows = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    return {
        name: np.frombuffer(row["data"], _DTYPES[row["dtype"]]).reshape(row["shape"])
        for name, row in rows
    }


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Every array of a folder's files; slices of ranks one after another under `NAME@RANK`."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        rank = path.stem.partition("-TP-")[2]
        for name, array in load(path).items():
            found[f"{name}@{rank}" if rank not in ("", "common") else name] = array
    return found


def fields(words: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned codes along the last axis: code i in bits `i * bits` of the little-endian stream."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    stream = np.unpackbits(octets, axis=-1, bitorder="little")
    weights = 1 << np.arange(bits)
    codes: np.ndarray = (stream.reshape(*octets.shape[:-1], -1, bits) * weights).sum(-1)
    return codes


def compressed_tensors(found: dict[str, np.ndarray], base: str, bits: int) -> np.ndarray:
    """A weight `f64[out, in]` of pack-quantized arrays."""
    outputs, inputs = found[f"{base}.weight_shape"]
    codes = fields(found[f"{base}.weight_packed"], bits)[:, :inputs]
    scales = found[f"{base}.weight_scale"].astype(np.float64)
    zeros: Any = 1 << (bits - 1)
    if f"{base}.weight_zero_point" in found:
        packed = found[f"{base}.weight_zero_point"]
        zeros = fields(packed.T, bits)[:, :outputs].T
        zeros = np.repeat(zeros, inputs // zeros.shape[1], axis=1)
    product: np.ndarray = (codes - zeros) * np.repeat(scales, inputs // scales.shape[1], axis=1)
    return product


def gptq(found: dict[str, np.ndarray], base: str, bits: int) -> np.ndarray:
    """A weight `f64[out, in]` of GPTQ's arrays."""
    codes = fields(found[f"{base}.qweight"].T, bits).T
    zeros = fields(found[f"{base}.qzeros"], bits) + 1
    group = found[f"{base}.g_idx"]
    scales = found[f"{base}.scales"].astype(np.float64)
    product: np.ndarray = (scales[group] * (codes - zeros[group])).T
    return product


def w8a8(found: dict[str, np.ndarray], base: str) -> np.ndarray:
    """A weight `f64[out, in]` of int8 codes; slices of ranks are put together."""
    parts = [name.partition("@")[2] for name in found if name.startswith(f"{base}.weight@")]
    endings = [f"@{rank}" for rank in sorted(parts)] or [""]
    products = [
        found[f"{base}.weight{end}"] * found[f"{base}.weight_scale{end}"].astype(np.float64)
        for end in endings
    ]
    return np.concatenate(products, axis=1 if base.endswith("w2") else 0)


def fp8(found: dict[str, np.ndarray], base: str) -> np.ndarray:
    """A weight `f64[out, in]` of codes in FP8; slices of ranks are put together."""
    parts = [name.partition("@")[2] for name in found if name.startswith(f"{base}.weight@")]
    products = []
    for end in [f"@{rank}" for rank in sorted(parts)] or [""]:
        codes = found[f"{base}.weight{end}"].astype(np.float64)
        blocks = found.get(f"{base}.weight_scale_inv{end}")
        if blocks is not None:
            scales = np.repeat(np.repeat(blocks, 128, 0), 128, 1)[: len(codes), : codes.shape[1]]
        else:
            scales = found[f"{base}.weight_scale{end}"]
        products.append(codes * scales.astype(np.float64))
    return np.concatenate(products, axis=1 if base.endswith("w2") else 0)


def decoded(found: dict[str, np.ndarray], base: str, bits: int) -> np.ndarray:
    """A weight `f64[out, in]`, whatever its form."""
    own = next((a for n, a in found.items() if n.partition("@")[0] == f"{base}.weight"), None)
    if own is not None and own.dtype == ml_dtypes.float8_e4m3fn:
        return fp8(found, base)
    words = found.get(f"{base}.weight_packed")
    if words is not None:
        return (
            fp4(found, base) if words.dtype == np.uint8 else compressed_tensors(found, base, bits)
        )
    return gptq(found, base, bits) if f"{base}.qweight" in found else w8a8(found, base)


_LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def fp4(found: dict[str, np.ndarray], base: str) -> np.ndarray:
    """A weight `f32[out, in]` as compressed-tensors' `decompress` computes it in float32."""
    codes, scale = found[f"{base}.weight_packed"], found[f"{base}.weight_scale"]
    bits = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)
    values = _LEVELS[bits & 7] * np.where(bits & 8, np.float32(-1), np.float32(1))
    if f"{base}.weight_global_scale" in found:
        scale = scale.astype(np.float32) / found[f"{base}.weight_global_scale"]
    else:
        scale = np.exp2(scale.astype(np.float32) - 127)
    product: np.ndarray = values * np.repeat(scale, values.shape[1] // scale.shape[1], axis=1)
    return product


def module(convention: str, entry: Any, expert: int | None) -> str:
    """Name of a weight's module in a folder."""
    return GROK1.conventions[convention].of(entry, expert).removesuffix(".weight")


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a file of arrays, those of dtypes that numpy lacks as well."""
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    table: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        offsets = [at, at + array.nbytes]
        table[name] = {
            "dtype": names[array.dtype],
            "shape": array.shape,
            "data_offsets": offsets,
        }
        at += array.nbytes
    text = json.dumps(table).encode()
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
