"""llama.cpp's importance matrices as `--importance`: both of its forms, divided as it divides."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.quantization import importance
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.kernels.block_kernels import KERNELS
from grokpack.models.grok1 import GROK1
from tests.conversion.test_quantize_gguf import GEOMETRY, tensors, weights
from tests.support.checkpoints import synthesize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENTRIES = [e for e in GROK1.tensors(GEOMETRY.layers) if e.rule.quantized]
NAMES = {e.name: e.gguf for e in ENTRIES}
SILENT = "blk.1.ffn_down_exps.weight"
"""Experts whose second no token chose."""


def numbers() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Sums `f32[matrix, in]` and counts of each weight, by its name in GGUF."""
    rng, made = np.random.default_rng(8), {}
    for entry in ENTRIES:
        shape = GEOMETRY.shape(entry.rule)
        sums = rng.uniform(0, 9, (shape[0] if entry.rule.stacked else 1, shape[-2]))
        counts = rng.integers(1, 99, len(sums)).astype(np.float32)
        counts[1:] *= entry.gguf != SILENT
        made[entry.gguf] = sums.astype(np.float32), counts
    return made


def write_gguf(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    for name, (sums, counts) in numbers().items():
        writer.add_tensor(f"{name}.in_sum2", sums)
        writer.add_tensor(f"{name}.counts", counts[:, None])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_binary(path: Path) -> Path:
    """The form of before: means times the number of calls, of which all had seven."""
    parts = [struct.pack("<i", len(ENTRIES))]
    for name, (sums, counts) in numbers().items():
        values = 7 * sums / np.maximum(counts, 1)[:, None]
        parts += [struct.pack("<i", len(name)), name.encode(), struct.pack("<ii", 7, values.size)]
        parts.append(values.astype("<f4").tobytes())
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("write", [write_gguf, write_binary])
def test_sums_are_divided_by_what_was_counted(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    found = importance.read(str(write(tmp_path / "x.imatrix")), NAMES)
    checkpoint = open_checkpoint(str(synthesize(tmp_path / "in", GEOMETRY)))
    for entry in ENTRIES:
        sums, counts = numbers()[entry.gguf]
        for expert in range(len(sums)) if entry.rule.stacked else [None]:
            own = found.of(checkpoint.tensors[entry.name]).measured(expert)
            count, at = counts[expert or 0], expert or 0
            wanted = sums[at] / count if count else np.ones(sums.shape[1], np.float32)
            if count or write is write_gguf:
                np.testing.assert_allclose(own, wanted, rtol=0 if write is write_gguf else 1e-6)


def test_k_quants_weigh_errors_by_an_imatrix_as_it_is(tmp_path: Path) -> None:
    source, measured = synthesize(tmp_path / "in", GEOMETRY), write_gguf(tmp_path / "x.gguf")
    options: Any = {"to": "gguf", "type": "q5_k", "tokenizer": "none"}
    plan = plan_quantize(
        open_checkpoint(str(source)), QuantizeOptions(importance=str(measured), **options)
    )
    execute(plan, str(tmp_path / "out.gguf"))
    found = tensors(tmp_path / "out.gguf")
    exact = weights(source)
    for name in ("blk.0.attn_q.weight", SILENT):
        sums, counts = numbers()[name]
        rows = exact[name].reshape(len(sums), -1, sums.shape[1])
        for expert, each in enumerate(rows):
            out = np.empty((len(each), sums.shape[1] // 256 * 176), np.uint8)
            spent = (3, sums.shape[1] // 32, len(each))
            weigh = sums[expert] / counts[expert] if counts[expert] else np.ones_like(sums[0])
            kernel = KERNELS["q5_k"].weighted
            assert kernel is not None
            ones = np.ones((1, len(each)), np.float32)
            kernel(each.T.copy(), ones, 0, len(each.T), out, np.empty(spent, np.float32),
                   np.empty((2, *spent[1:]), np.int32), weigh)  # fmt: skip
            data = found[name].data.reshape(len(sums), len(each), -1)[expert]
            np.testing.assert_array_equal(data, out, err_msg=name)


def test_another_gguf_is_no_importance(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "grok")
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    with pytest.raises(GrokpackError) as caught:
        importance.read(str(tmp_path / "x.gguf"), NAMES)
    assert caught.value.code == "GP344"
