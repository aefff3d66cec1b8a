"""GGUF as llama.cpp's own reader sees it, against the formula of dequantization."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import ml_dtypes
import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.models import architecture
from grokpack.models.grok1 import GROK1
from tests.support.checkpoints import GOLDEN, SMALL, synthesize
from tests.support.weight_formula import exact_weights

if TYPE_CHECKING:
    from collections.abc import Mapping


def convert(source: Path, out: Path, **options: Any) -> Path:
    given = {"tokenizer": "none", **options}
    execute(plan_convert(open_checkpoint(str(source)), "gguf", ConvertOptions(**given)), str(out))
    return out


def tensors(path: Path) -> dict[str, Any]:
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def read(tensor: Any) -> np.ndarray:
    """Values as the gguf package dequantizes them, `f32`."""
    values: np.ndarray = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return values


def expected(name: str, exact: Mapping[str, np.ndarray], layers: int) -> np.ndarray:
    entry = next(e for e in GROK1.tensors(layers) if e.gguf == name)
    values = exact[entry.name]
    return values if entry.rule.role in ("embedding", "norm") else values.swapaxes(-1, -2)


@pytest.mark.parametrize("source", ["golden", "more queries"])
def test_q8_0_holds_the_very_products_of_codes_and_scales(tmp_path: Path, source: str) -> None:
    folder = GOLDEN if source == "golden" else synthesize(tmp_path / "in", BLOCKS)
    exact = exact_weights(folder)
    found = tensors(convert(folder, tmp_path / "x.gguf", type="q8_0", embedding="f32"))
    assert len(found) == len(exact)
    layers = open_checkpoint(str(folder)).geometry.layers
    for name, tensor in found.items():
        np.testing.assert_array_equal(read(tensor), expected(name, exact, layers), err_msg=name)


BLOCKS = architecture.Geometry(
    vocab=64, d_model=96, layers=11, experts=4, ffn=256, q_width=256, kv_width=64, head_dim=16
)


@pytest.mark.parametrize(
    ("kind", "rounded"), [("f32", np.float32), ("f16", np.float16), ("bf16", ml_dtypes.bfloat16)]
)
def test_floats_are_rounded_once_and_router_and_norms_not_at_all(
    tmp_path: Path, kind: str, rounded: Any
) -> None:
    exact = exact_weights(GOLDEN)
    for name, tensor in tensors(convert(GOLDEN, tmp_path / "x.gguf", type=kind)).items():
        wanted = expected(name, exact, 3)
        kept = "norm" in name or "ffn_gate_inp" in name
        if not kept:
            dtype = ml_dtypes.bfloat16 if name.startswith("token") and kind == "f16" else rounded
            wanted = wanted.astype(dtype).astype(np.float32)
        np.testing.assert_array_equal(read(tensor), wanted, err_msg=name)


def test_keys_say_what_llama_cpp_needs(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(convert(GOLDEN, tmp_path / "x.gguf", type="q8_0"))
    keys = {name: field.contents() for name, field in reader.fields.items()}
    assert keys["general.architecture"] == "grok"
    assert keys["general.file_type"] == 7
    assert keys["grok.attention.head_count"] == 8
    assert keys["grok.attention.head_count_kv"] == 8
    assert keys["grok.attention.key_length"] == keys["grok.rope.dimension_count"] == 32
    assert keys["grok.expert_count"] == 8
    assert keys["grok.expert_used_count"] == 2
    assert keys["grok.context_length"] == 256
    assert keys["grok.attention.output_scale"] == pytest.approx(32**-0.5)
    assert keys["grok.embedding_scale"] == pytest.approx(96**0.5)
    assert keys["grok.logit_scale"] == pytest.approx(3**-0.5)
    assert keys["grok.attn_logit_softcapping"] == 30
    assert keys["grok.rope.freq_base"] == 10000


def test_a_split_holds_the_same_tensors(tmp_path: Path) -> None:
    single = tensors(convert(GOLDEN, tmp_path / "x.gguf", type="q8_0"))
    folder = convert(GOLDEN, tmp_path / "split", type="q8_0", shard_bytes=1 << 20)
    files = sorted(folder.glob("*.gguf"))
    assert [f.name for f in files][-1] == f"grok-1-q8_0-{len(files):05d}-of-{len(files):05d}.gguf"
    assert len(files) > 3
    parts = [tensors(file) for file in files]
    assert sum(map(len, parts)) == len(single)
    for part in parts:
        for name, tensor in part.items():
            assert (tensor.data == single[name].data).all()
    fields = [gguf.GGUFReader(file).fields for file in files]
    assert [f["split.no"].contents() for f in fields] == list(range(len(files)))
    assert {f["split.count"].contents() for f in fields} == {len(files)}
    assert {f["split.tensors.count"].contents() for f in fields} == {len(single)}


def test_a_type_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(GrokpackError, match="needs a type") as caught:
        convert(GOLDEN, tmp_path / "x.gguf")
    assert caught.value.code == "GP306"


def test_a_missing_tokenizer_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(GrokpackError, match="tokenizer") as caught:
        convert(
            synthesize(tmp_path / "in", BLOCKS), tmp_path / "x.gguf", type="q8_0", tokenizer=None
        )
    assert caught.value.code == "GP306"
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_widths_that_blocks_do_not_divide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GrokpackError, match="scale for every") as caught:
        convert(synthesize(tmp_path / "in", SMALL), tmp_path / "x.gguf", type="q8_0")
    assert caught.value.code == "GP306"


def test_a_plan_says_where_llama_cpp_will_not_load_the_file(tmp_path: Path) -> None:
    square = dataclasses.replace(BLOCKS, d_model=256)
    for folder, said in ((GOLDEN, True), (synthesize(tmp_path / "in", square), False)):
        given = ConvertOptions(tokenizer="none", type="q8_0")
        plan = plan_convert(open_checkpoint(str(folder)), "gguf", given)
        assert any("will not load" in note for note in plan.target.notes) == said
