"""Conversions for tests, and a formula of what each must hold that shares nothing with the ops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import ml_dtypes
import numpy as np
from safetensors import safe_open

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.execution.run import execute
from grokpack.models import architecture
from grokpack.models.grok1 import GROK1

if TYPE_CHECKING:
    from grokpack.planning.plan import Plan

WIDE = architecture.Geometry(
    vocab=64, d_model=96, layers=2, experts=4, ffn=256, q_width=256, kv_width=64, head_dim=16
)
"""Groups of 32 rows, so that every target can hold it: 16 query and 4 key/value heads."""
ROUNDED: dict[str, Any] = {"bf16": ml_dtypes.bfloat16, "f16": np.float16, "f32": np.float32}


def convert(source: Path, out: Path, to: str, **options: Any) -> Plan:
    """Plan and execute; a GGUF gets no vocabulary unless it is asked for."""
    given = {"tokenizer": "none", **options} if to == "gguf" else options
    plan = plan_convert(open_checkpoint(str(source)), to, ConvertOptions(**given))
    execute(plan, str(out))
    return plan


def attach(source: Path, out: Path | None = None) -> Path:
    """Make a view; tells where it is."""
    plan = plan_convert(
        open_checkpoint(str(source)), "view", ConvertOptions(out=str(out) if out else None)
    )
    assert plan.target.fixed_path is not None
    execute(plan, plan.target.fixed_path)
    return Path(plan.target.fixed_path)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float32 after one rounding to a dtype."""
    return np.asarray(values.astype(ROUNDED[dtype]).astype(np.float32))


def expected(
    exact: Mapping[str, np.ndarray], layers: int, dtype: str, embedding: str
) -> dict[str, np.ndarray]:
    """Tensors by xAI's name, as a target of a dtype must hold them."""
    by_name = {e.name: e for e in GROK1.tensors(layers)}
    dtypes = {"norm": "f32", "router": "f32", "embedding": embedding}
    return {
        name: rounded(values, dtypes.get(by_name[name].rule.role, dtype))
        for name, values in exact.items()
    }


def stored(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a folder's safetensors files as float32, by the reference library."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="np") as handle:
            for name in handle.keys():  # noqa: SIM118  # it is no mapping
                key = f"{path.name}:{name}" if "-TP-0" in path.name else name
                found[key] = np.asarray(handle.get_tensor(name)).astype(np.float32)
    return found


def hf_values(folder: Path, convention: str, layers: int, experts: int) -> dict[str, np.ndarray]:
    """A Hugging Face folder's tensors by xAI's name, turned back and stacked."""
    arrays, table, values = stored(folder), GROK1.conventions[convention], {}
    for entry in GROK1.tensors(layers):
        if entry.rule.role == "expert":
            one = [arrays[table.of(entry, e)].T for e in range(experts)]
            values[entry.name] = np.stack(one)
        else:
            array = arrays[table.of(entry)]
            turned = entry.rule.role in ("attention", "router")
            values[entry.name] = array.T if turned else array
    return values


def gguf_values(path: Path, layers: int) -> dict[str, np.ndarray]:
    """A GGUF's tensors by xAI's name, by llama.cpp's own reader."""
    by_gguf = {e.gguf: e for e in GROK1.tensors(layers)}
    values = {}
    for file in sorted(path.glob("*.gguf")) if path.is_dir() else [path]:
        for tensor in gguf.GGUFReader(file).tensors:
            entry = by_gguf[tensor.name]
            array = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            turned = entry.rule.role not in ("norm", "embedding")
            values[entry.name] = array.swapaxes(-1, -2) if turned else array
    return values
