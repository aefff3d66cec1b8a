"""Quantized folders, decoded by a second formula: values, bounds, errors, interruptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.models.architecture import Geometry
from grokpack.models.grok1 import GROK1
from tests.faults.crashing import Crash
from tests.support import packed_formula
from tests.support.checkpoints import GOLDEN, synthesize, tensor_files, tree
from tests.support.quantized_checkpoints import make_tiles_small, quantize, weights
from tests.support.weight_formula import exact_weights

BLOCKY = Geometry(
    vocab=64, d_model=128, layers=1, experts=2, ffn=1024, q_width=1024, kv_width=128, head_dim=32
)
"""Its own groups have 128 inputs, so that 8 bits are the released codes."""


@pytest.fixture(scope="module")
def blocky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("blocky") / "in", BLOCKY)


@pytest.mark.parametrize("group", ["32", "64", "128", "256", "channel"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_compressed_tensors_are_near_the_weights_and_the_account_says_how_near(
    wide: Path, tmp_path: Path, group: str, bits: int, symmetric: bool
) -> None:
    out = quantize(
        wide, tmp_path / "out", bits=bits, to="compressed-tensors", group=group, symmetric=symmetric
    )
    found = packed_formula.arrays(out)
    check_account(out, wide, 1, lambda base: packed_formula.compressed_tensors(found, base, bits))
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    scheme = config["config_groups"]["group_0"]["weights"]
    assert scheme["num_bits"] == bits
    assert scheme["group_size"] == (-1 if group == "channel" else int(group))
    assert scheme["symmetric"] is symmetric


@pytest.mark.parametrize("group", ["32", "128", "256", "channel"])
@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_is_near_the_weights_and_the_account_says_how_near(
    wide: Path, tmp_path: Path, group: str, bits: int
) -> None:
    out = quantize(wide, tmp_path / "out", bits=bits, to="gptq", group=group)
    found = packed_formula.arrays(out)
    check_account(out, wide, 1, lambda base: packed_formula.gptq(found, base, bits))
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert config["group_size"] == (-1 if group == "channel" else int(group))


@pytest.mark.parametrize("method", ["rtn", "lsq"])
def test_a_scale_for_each_output_is_the_same_in_both_packings(
    wide: Path, tmp_path: Path, method: str
) -> None:
    """GPTQ's rows run along the groups, so that its codes are made in another way."""
    options: dict[str, Any] = {"group": "channel", "method": method}
    one = packed_formula.arrays(quantize(wide, tmp_path / "a", to="gptq", **options))
    other = packed_formula.arrays(
        quantize(wide, tmp_path / "b", to="compressed-tensors", **options)
    )
    for entry, expert, _ in weights(wide, 1):
        base = packed_formula.module("hpcai", entry, expert)
        assert set(one[f"{base}.g_idx"]) == {0}
        np.testing.assert_array_equal(
            packed_formula.gptq(one, base, 4), packed_formula.compressed_tensors(other, base, 4)
        )


def check_account(
    out: Path, source: Path, layers: int, decode: Callable[[str], np.ndarray]
) -> None:
    """Compare decoded weights with the source's, and the account with what that gives."""
    manifest = json.loads((out / "grokpack.json").read_text())
    account = manifest.get("account", {}).get("tensors", {})
    sums: dict[str, np.ndarray] = {}
    for entry, expert, exact in weights(source, layers):
        made = decode(packed_formula.module("hpcai", entry, expert))
        error = exact - made
        assert np.abs(error).max() <= np.abs(exact).max() / 2  # a search cuts outliers
        row = np.array([(exact**2).sum(), (error**2).sum(), (exact * made).sum(), (made**2).sum()])
        sums[entry.name] = sums.get(entry.name, 0) + row
    for name, (squares, errors, both, made_squares) in sums.items():
        if name not in account:
            assert errors == 0, name
            continue
        figures = account[name]
        assert figures["relative_error"] == pytest.approx(np.sqrt(errors / squares), rel=1e-4)
        assert figures["sqnr_db"] == pytest.approx(10 * np.log10(squares / errors), abs=1e-3)
        assert figures["cosine"] == pytest.approx(both / np.sqrt(squares * made_squares), abs=1e-6)
    assert account or manifest["parameters"]["bits"] == 8


def test_eight_bits_of_gptq_are_the_released_codes_and_scales(blocky: Path, tmp_path: Path) -> None:
    out = quantize(blocky, tmp_path / "out", bits=8)
    found = packed_formula.arrays(out)
    for entry, expert, exact in weights(blocky, 1):
        made = packed_formula.gptq(found, packed_formula.module("hpcai", entry, expert), 8)
        np.testing.assert_array_equal(made, exact, err_msg=entry.name)
    assert "account" not in json.loads((out / "grokpack.json").read_text())


def test_experts_presharded_for_sglang_are_exact(blocky: Path, tmp_path: Path) -> None:
    found = packed_formula.arrays(quantize(blocky, tmp_path / "out", bits=8, to="w8a8-int8"))
    for entry, expert, exact in weights(blocky, 1):
        base = packed_formula.module("sglang", entry, expert)
        made = packed_formula.w8a8(found, base)
        if entry.rule.path == "multi_head_attention/linear/w":
            assert np.abs(made - exact).max() <= np.abs(exact).max() / 127
        else:
            np.testing.assert_array_equal(made, exact, err_msg=entry.name)


def test_floating_point_weights_are_presharded_too(blocky: Path, tmp_path: Path) -> None:
    """Their config.json gives scale groups, though nothing has scales."""
    plan = plan_convert(open_checkpoint(str(blocky)), "hf", ConvertOptions(dtype="f32"))
    execute(plan, str(tmp_path / "hf"))
    found = packed_formula.arrays(
        quantize(tmp_path / "hf", tmp_path / "out", bits=8, to="w8a8-int8")
    )
    for entry, expert, exact in weights(blocky, 1):
        made = packed_formula.w8a8(found, packed_formula.module("sglang", entry, expert))
        assert np.abs(made - exact).max() <= np.abs(exact).max() / 127, entry.name


def test_router_and_norms_stay_float32_and_the_embedding_becomes_bf16(
    wide: Path, tmp_path: Path
) -> None:
    found = packed_formula.arrays(quantize(wide, tmp_path / "out"))
    exact = exact_weights(wide)
    router = found["model.layers.0.moe_block.gate.weight"]
    np.testing.assert_array_equal(router, exact["transformer/decoder_layer_0/router/w"].T)
    assert router.dtype == np.float32
    assert found["model.norm.scale"].dtype == np.float32
    embedding = found["model.embed_tokens.weight"]
    wanted = exact["language_model/in_out_embed/embeddings"].astype(embedding.dtype)
    assert embedding.tobytes() == wanted.tobytes()
    assert embedding.dtype.name == "bfloat16"


@pytest.mark.parametrize("to", ["compressed-tensors", "gptq", "fp8"])
def test_memory_and_threads_change_nothing(wide: Path, tmp_path: Path, to: str) -> None:
    first = tree(quantize(wide, tmp_path / "a", RunOptions(workers=1), to=to))
    small = RunOptions(memory_bytes=200 << 20, workers=2)
    assert tree(quantize(wide, tmp_path / "b", small, to=to)) == first


@pytest.mark.parametrize(
    ("to", "group"),
    [
        *(("compressed-tensors", "128"), ("gptq", "128"), ("gptq", "channel")),
        *(("safetensors", "128"), ("fp8", "128"), ("fp8", "channel")),
    ],
)
def test_a_run_that_was_cut_short_ends_with_the_same_bytes_and_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, group: str
) -> None:
    """Tiles are made small, so that tasks end within matrices and within groups."""
    make_tiles_small(monkeypatch)
    monkeypatch.setattr("grokpack.planning.tasks.TASK_BYTES", 20_000)
    source = synthesize(tmp_path / "in", BLOCKY)
    options: dict[str, Any] = {"to": to, "group": group, "symmetric": to != "safetensors"}
    options["method"] = "mse" if to == "gptq" else "rtn"  # a search is most of what this takes
    clean = tree(quantize(source, tmp_path / "clean", RunOptions(workers=1), **options))
    for count in (15, 60, 151):
        left = [count]

        def hook(_operation: str, _path: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        out = tmp_path / f"crash{count}"
        storage.faults.hook = hook
        try:
            with pytest.raises(Crash):
                quantize(source, out, RunOptions(workers=1), **options)
        finally:
            storage.faults.hook = None
        assert tree(quantize(source, out, RunOptions(workers=2), **options)) == clean


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"bits": 7}, "GP346", "--bits does not take `7`"),
        ({"to": "zarr"}, "GP346", "--to does not take"),
        ({"bits": 4, "to": "w8a8-int8"}, "GP304", "has 8 bits"),
        ({"bits": 4, "to": "fp8"}, "GP304", "has 8 bits"),
        ({"to": "fp8", "group": "64"}, "GP304", "--group 128 or channel"),
        ({"to": "fp8", "method": "lsq"}, "GP304", "--method rtn or mse"),
        ({"to": "fp8", "scales": "f16"}, "GP304", "--scale-dtype does not belong"),
        ({"to": "fp8", "tp": 2}, "GP301", "no whole blocks of 128"),
        ({"to": "fp8", "tp": 3}, "GP301", "cannot be cut"),
        ({"to": "fp8", "tp": 2, "names": "hpcai"}, "GP304", "not those of hpcai"),
        ({"to": "fp8", "engine": "sglang", "keep": ("key",)}, "GP313", "layer 0 are not alike"),
        ({"group": "100"}, "GP346", "--group does not take"),
        ({"method": "best"}, "GP346", "--method does not take"),
        ({"to": "gptq", "symmetric": False}, "GP304", "--asymmetric does not belong"),
        ({"to": "gguf", "scales": "f16"}, "GP304", "--scale-dtype does not belong"),
        ({"bits": 8, "to": "ckpt-0", "scales": "f32"}, "GP304", "--scale-dtype does not belong"),
        ({"bits": 8, "to": "w8a8-int8", "tp": 4}, "GP309", "8 groups of inputs"),
        ({"bits": 8, "to": "w8a8-int8", "keep": ("attention",)}, "GP309", "none can be kept"),
        ({"to": "safetensors", "group": "channel"}, "GP309", "groups of inputs"),
        ({"engine": "ollama"}, "GP346", "--for does not take"),
        ({"engine": "sglang"}, "GP313", "does not read this format"),
        ({"engine": "llama.cpp", "to": "gptq"}, "GP313", "does not read this format"),
        ({"engine": "vllm", "group": "256"}, "GP313", "no groups of 256"),
        ({"engine": "transformers", "symmetric": False}, "GP313", "no room for zero points"),
        (
            {"engine": "transformers", "symmetric": False, "bits": 8},
            "GP313",
            "no room for zero points",
        ),
        (
            {
                "engine": "vllm",
                "bits": 8,
                "to": "compressed-tensors",
                "group": "channel",
                "symmetric": False,
            },
            "GP313",
            "zero points of 4 bits only",
        ),
        ({"engine": "vllm", "keep": ("linear_v",)}, "GP313", "those of layer 0 are not alike"),
        ({"engine": "vllm", "keep": ("key",)}, "GP313", "those of layer 0 are not alike"),
        (
            {"engine": "vllm", "bits": 8, "to": "compressed-tensors"},
            "GP313",
            "one scale per output",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    wide: Path, options: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(GrokpackError, match=words) as caught:
        plan_quantize(open_checkpoint(str(wide)), QuantizeOptions(**options))
    assert caught.value.code == code


def test_groups_that_do_not_divide_are_refused_with_those_that_do() -> None:
    with pytest.raises(GrokpackError, match="do not divide the 96 inputs") as caught:
        plan_quantize(open_checkpoint(str(GOLDEN)), QuantizeOptions(group="64"))
    assert caught.value.code == "GP309"
    assert caught.value.hint is not None
    assert "--group 32" in caught.value.hint


@pytest.mark.parametrize(("tp", "workers"), [(1, 1), (2, 2)])
def test_int8_in_other_groups_is_near_the_weights(
    wide: Path, tmp_path: Path, tp: int, workers: int
) -> None:
    out = quantize(wide, tmp_path / "out", RunOptions(workers=workers), bits=8, to="ckpt-0", tp=tp)
    found, exact = exact_weights(out), exact_weights(wide)
    checkpoint = open_checkpoint(str(out))
    account = json.loads((out / "grokpack.json").read_text())["account"]["tensors"]
    assert checkpoint.geometry.scale_groups == tp
    for entry in GROK1.tensors(1):
        error = found[entry.name].astype(np.float64) - exact[entry.name]
        if entry.rule.cut != "rows":
            assert not error.any(), entry.name
            continue
        scales = checkpoint.tensors[entry.name].scales
        assert scales is not None
        assert scales.shape[-2] == tp
        ratio = np.sqrt((error**2).sum() / (exact[entry.name].astype(np.float64) ** 2).sum())
        assert 0 < ratio < 0.02
        assert account[entry.name]["relative_error"] == pytest.approx(ratio, rel=1e-3)


def test_int8_in_the_groups_that_it_has_is_the_source(tmp_path: Path) -> None:
    out = quantize(GOLDEN, tmp_path / "out", bits=8, to="ckpt-0", tp=8)
    assert tensor_files(out / "ckpt-0") == tensor_files(GOLDEN / "ckpt-0")


@pytest.mark.parametrize("to", ["compressed-tensors", "gptq", "gguf", "fp8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused_with_its_tensor(
    wide: Path, tmp_path: Path, to: str, bad: float
) -> None:
    plan = plan_convert(open_checkpoint(str(wide)), "hf", ConvertOptions(dtype="f32"))
    execute(plan, str(tmp_path / "in"))
    (file,) = (tmp_path / "in").glob("*.safetensors")
    kept = load_file(file)
    kept["model.layers.0.attn.q_proj.weight"][3, 5] = bad
    save_file(kept, file)
    with pytest.raises(GrokpackError) as caught:
        quantize(tmp_path / "in", tmp_path / "out", to=to, tokenizer="none")
    assert caught.value.code == "GP407"
    assert "decoder_layer_0/multi_head_attention/query/w" in str(caught.value.where)
