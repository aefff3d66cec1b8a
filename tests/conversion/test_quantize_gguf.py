"""Quantized GGUF, read by the gguf package: ggml's own blocks, or better ones, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.core.errors import GrokpackError
from grokpack.core.ggml_types import MIXES
from grokpack.execution.run import execute
from grokpack.kernels import dispatch
from grokpack.kernels.block_kernels import KERNELS
from grokpack.models.architecture import Geometry
from grokpack.models.grok1 import GROK1
from grokpack.planning.memory_budget import budget
from tests.support.checkpoints import synthesize
from tests.support.weight_formula import exact_weights

GEOMETRY = Geometry(
    vocab=64, d_model=256, layers=2, experts=2, ffn=256, q_width=256, kv_width=64, head_dim=32
)
TYPES: Any = gguf.GGMLQuantizationType


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("gguf") / "in", GEOMETRY)


def quantize(source: Path, out: Path, **options: Any) -> Path:
    given = {"to": "gguf", "tokenizer": "none", **options}
    execute(plan_quantize(open_checkpoint(str(source)), QuantizeOptions(**given)), str(out))
    return out


def weights(source: Path) -> dict[str, np.ndarray]:
    """Every weight by llama.cpp's name, `f32[..., out, in]`."""
    exact = exact_weights(source)
    entries = GROK1.tensors(GEOMETRY.layers)
    return {
        e.gguf: np.ascontiguousarray(exact[e.name].swapaxes(-1, -2))
        for e in entries
        if e.rule.quantized
    }


def tensors(path: Path) -> dict[str, Any]:
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(("kind", "bits"), [("q4_0", 4), ("q4_1", 4), ("q8_0", 8)])
def test_without_search_blocks_are_those_of_ggml(
    source: Path, tmp_path: Path, kind: str, bits: int
) -> None:
    path = quantize(source, tmp_path / "x.gguf", bits=bits, type=kind, method="rtn")
    found = tensors(path)
    for name, exact in weights(source).items():
        wanted = gguf.quants.quantize(exact, TYPES[kind.upper()])
        assert found[name].tensor_type is TYPES[kind.upper()]
        np.testing.assert_array_equal(found[name].data, wanted, err_msg=name)
    for name in ("blk.1.ffn_gate_inp.weight", "blk.0.attn_norm.weight", "output_norm.weight"):
        assert found[name].tensor_type is TYPES.F32
    assert found["token_embd.weight"].tensor_type is TYPES.BF16


@pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
@pytest.mark.parametrize("method", ["rtn", "lsq"])
@pytest.mark.parametrize("form", [{"to": "gguf", "type": "q4_0", "tokenizer": "none"}, {}])
def test_kernels_are_compiled_for_less_input_than_it_takes_where_bytes_are_moved(
    source: Path, monkeypatch: pytest.MonkeyPatch, form: dict[str, Any], method: str
) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "auto")
    checkpoint = open_checkpoint(str(source))
    quantized = plan_quantize(checkpoint, QuantizeOptions(**form, method=method))
    moved = plan_convert(checkpoint, "gguf", ConvertOptions(type="bf16", tokenizer="none"))
    monkeypatch.setattr(dispatch, "COMPILED_PAYS_BYTES", 2 * quantized.reads_bytes)
    implementations = [
        budget(plan, 512 << 20, 1).buffer_sizes.implementation for plan in (quantized, moved)
    ]
    assert implementations == ["numba", "numpy"]


@pytest.mark.parametrize("kind", ["q4_0", "q4_1"])
def test_with_search_the_squared_error_is_below_that_of_ggml(
    source: Path, tmp_path: Path, kind: str
) -> None:
    path = quantize(source, tmp_path / "x.gguf", type=kind)
    found = tensors(path)
    ours = theirs = 0.0
    for name, exact in weights(source).items():
        plain = gguf.quants.quantize(exact, TYPES[kind.upper()])
        for data, own in ((found[name].data, True), (plain, False)):
            error = gguf.quants.dequantize(data, TYPES[kind.upper()]) - exact
            square = float((error.astype(np.float64) ** 2).sum())
            ours, theirs = ours + own * square, theirs + (not own) * square
    assert ours < 0.97 * theirs
    account = json.loads(Path(f"{path}.grokpack.json").read_text())["account"]["roles"]
    exact_squares = sum(float((w.astype(np.float64) ** 2).sum()) for w in weights(source).values())
    told = sum(
        own["relative_error"] ** 2
        * sum(
            float((w.astype(np.float64) ** 2).sum())
            for name, w in weights(source).items()
            if ("exps" in name) is (role == "expert")
        )
        for role, own in account.items()
    )
    assert told / exact_squares == pytest.approx(ours / exact_squares, rel=1e-4)


@pytest.mark.parametrize("kind", ["q2_k", "q3_k_m", "q5_k", "q5_0", "iq4_xs"])
def test_each_tensor_has_the_blocks_of_its_type(source: Path, tmp_path: Path, kind: str) -> None:
    path = quantize(source, tmp_path / "x.gguf", type=kind)
    found, exact = tensors(path), weights(source)
    if kind in MIXES:
        exact["token_embd.weight"] = exact_weights(source)[GROK1.tensors(0)[0].name]
    embedding = TYPES.Q6_K if kind in MIXES else TYPES.BF16
    assert found["token_embd.weight"].tensor_type is embedding
    for name, values in exact.items():
        own = found[name].tensor_type.name.lower()
        rows = np.ascontiguousarray(values.reshape(-1, values.shape[-1]))
        kernel = KERNELS[own].quantize
        blocks = np.empty((len(rows), found[name].data.shape[-1]), np.uint8)
        sums = np.empty((3, rows.shape[1] // 32, len(rows)), np.float32)
        counts = np.empty(sums.shape[1:], np.int32)
        kernel(
            rows.T.copy(),
            np.ones((1, len(rows)), np.float32),
            0,
            rows.shape[1],
            blocks,
            sums,
            np.stack([counts] * 2),
        )
        np.testing.assert_array_equal(found[name].data.reshape(blocks.shape), blocks, err_msg=name)


@pytest.mark.parametrize("kind", ["q4_0", "q4_1", "q4_k"])
def test_blocks_are_read_back_as_the_products_that_they_mean(
    source: Path, tmp_path: Path, kind: str
) -> None:
    path = quantize(source, tmp_path / "x.gguf", type=kind)
    plan = plan_convert(open_checkpoint(str(path)), "ckpt-0", ConvertOptions())
    execute(plan, str(tmp_path / "back"))
    found, meant = exact_weights(tmp_path / "back"), tensors(path)
    for entry in GROK1.tensors(GEOMETRY.layers):
        if entry.rule.quantized:
            data = meant[entry.gguf].data
            wanted = gguf.quants.dequantize(data, TYPES[kind.upper()]).swapaxes(-1, -2)
            relative = np.abs(found[entry.name] - wanted).max() / np.abs(wanted).max()
            assert relative < 2**-8, entry.name  # one rounding to bfloat16


def test_a_policy_gives_eight_bits_the_usual_type(source: Path, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[[tensors]]\nrole = "attention"\nbits = 8\n')
    found = tensors(
        quantize(
            source, tmp_path / "x.gguf", type="q4_k", policy=str(tmp_path / "p.toml"), keep=("key",)
        )
    )
    kinds = {name: found[f"blk.0.{name}.weight"].tensor_type for name in ("attn_q", "attn_k")}
    assert kinds == {"attn_q": TYPES.Q8_0, "attn_k": TYPES.BF16}
    assert found["blk.1.ffn_down_exps.weight"].tensor_type is TYPES.Q4_K


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (
            {"type": "q4_2"},
            "GP304",
            "q4_0, q4_1, q4_k, iq4_nl, iq4_xs, mxfp4, q4_k_s, q4_k_m for 4",
        ),
        ({"bits": 8, "type": "q4_0"}, "GP304", "q8_0 for 8 bits"),
        ({"group": "32"}, "GP304", "--group does not belong"),
        ({"names": "hpcai"}, "GP304", "--names does not belong"),
        ({"tokenizer": None}, "GP306", "tokenizer"),
    ],
)
def test_what_a_gguf_cannot_be_is_refused(
    source: Path, tmp_path: Path, options: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(GrokpackError, match=words) as caught:
        quantize(source, tmp_path / "x.gguf", **options)
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_inputs_that_super_blocks_do_not_divide_name_the_type_that_fits(tmp_path: Path) -> None:
    narrow = Geometry(
        vocab=64, d_model=96, layers=1, experts=2, ffn=128, q_width=128, kv_width=64, head_dim=32
    )
    source = synthesize(tmp_path / "in", narrow)
    with pytest.raises(GrokpackError, match="blocks of 256 do not divide") as caught:
        quantize(source, tmp_path / "x.gguf", type="q4_k")
    assert caught.value.hint is not None
    assert "--type q4_0" in caught.value.hint
