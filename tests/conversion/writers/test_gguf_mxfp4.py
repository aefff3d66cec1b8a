"""MXFP4 in GGUF by llama.cpp's recipe: experts as the gguf package makes them, the rest kept."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.core.layout import whole_box
from grokpack.models.grok1 import GROK1
from grokpack.transforms.dequantize import read_as_f32
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert
from tests.support.quantized_checkpoints import WIDE, quantize
from tests.support.weight_formula import exact_weights


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("wide") / "in", WIDE)


@pytest.fixture(scope="module")
def plain(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mxfp4") / "x.gguf"
    return quantize(wide, out, to="gguf", type="mxfp4", method="rtn", tokenizer="none")


def test_experts_are_the_gguf_packages_and_all_else_is_kept(wide: Path, plain: Path) -> None:
    reader, exact = gguf.GGUFReader(plain), exact_weights(wide)
    assert reader.fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_MXFP4_MOE
    found = {tensor.name: tensor for tensor in reader.tensors}
    for entry in GROK1.tensors(WIDE.layers):
        if not entry.rule.quantized:
            continue
        own, weight = found[entry.gguf], exact[entry.name].swapaxes(-1, -2).astype(np.float32)
        if entry.rule.stacked:
            kind = gguf.GGMLQuantizationType.MXFP4
            wanted = gguf.quants.quantize(np.ascontiguousarray(weight), kind)
            assert (own.data == wanted).all()
        else:
            assert own.tensor_type == gguf.GGMLQuantizationType.Q8_0
            made = gguf.quants.dequantize(own.data, own.tensor_type)
            np.testing.assert_array_equal(made, weight)
    assert found["token_embd.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0


def test_what_is_written_is_read_as_the_gguf_package_reads_it(plain: Path) -> None:
    checkpoint = open_checkpoint(str(plain))
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(plain).tensors}
    for entry in checkpoint.model.tensors():
        if entry.rule.stacked:
            tensor = checkpoint.tensors[entry.name]
            box = whole_box(tensor.values.shape)
            made = read_as_f32(tensor, box, ArrayReader(checkpoint)).swapaxes(-1, -2)
            own = found[entry.gguf]
            np.testing.assert_array_equal(made, gguf.quants.dequantize(own.data, own.tensor_type))
            assert checkpoint.label(tensor) == "mxfp4"


def test_floating_point_sources_are_quantized_to_q8_0(wide: Path, tmp_path: Path) -> None:
    convert(wide, tmp_path / "hf", "hf")
    out = quantize(tmp_path / "hf", tmp_path / "x.gguf", to="gguf", type="mxfp4", tokenizer="none")
    account = json.loads((tmp_path / "x.gguf.grokpack.json").read_text())["account"]["roles"]
    assert account["attention"]["sqnr_db"] > 40 > account["expert"]["sqnr_db"]
    assert open_checkpoint(str(out)).model.geometry.experts == WIDE.experts
