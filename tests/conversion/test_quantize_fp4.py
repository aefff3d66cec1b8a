"""Four-bit floats written and read, by a second formula for what compressed-tensors decodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import whole_box
from grokpack.execution.run_options import RunOptions
from grokpack.transforms.dequantize import read_as_f32
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.conversion.test_quantize import check_account
from tests.support import packed_formula
from tests.support.checkpoints import synthesize, tree
from tests.support.conversions import convert
from tests.support.quantized_checkpoints import WIDE, quantize, weights

FORMS = ("mxfp4", "nvfp4")
_KEY = "model.layers.0.attn.k_proj"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("wide") / "in", WIDE)


@pytest.fixture(scope="module", params=FORMS)
def written(
    wide: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    return quantize(wide, tmp_path_factory.mktemp("fp4") / request.param, to=request.param)


def test_weights_are_near_and_the_account_says_how_near(wide: Path, written: Path) -> None:
    found = packed_formula.arrays(written)
    check_account(
        written, wide, WIDE.layers, lambda base: packed_formula.fp4(found, base).astype(np.float64)
    )


def test_what_is_written_is_read_exactly(wide: Path, written: Path) -> None:
    checkpoint, found = open_checkpoint(str(written)), packed_formula.arrays(written)
    reader = ArrayReader(checkpoint)
    for entry, expert, _ in weights(wide, WIDE.layers):
        tensor = checkpoint.tensors[entry.name]
        made = read_as_f32(tensor, whole_box(tensor.values.shape), reader).swapaxes(-1, -2)
        wanted = packed_formula.fp4(found, packed_formula.module("hpcai", entry, expert))
        np.testing.assert_array_equal(made if expert is None else made[expert], wanted)
    tensor = checkpoint.tensors[entry.name]
    assert checkpoint.label(tensor) == written.name
    assert checkpoint.scales_label(tensor) == {"mxfp4": "e8m0", "nvfp4": "e4m3"}[written.name]


@pytest.mark.parametrize("to", ["hf", "safetensors", "zarr", "gguf"])
def test_other_formats_hold_the_same_products(written: Path, tmp_path: Path, to: str) -> None:
    options = {"hf": {"dtype": "f32"}, "gguf": {"type": "f32", "tokenizer": "none"}}.get(to, {})
    out = tmp_path / f"out.{to}"
    convert(written, out, to, **options)
    one, other = (open_checkpoint(str(path)) for path in (written, out))
    for entry in one.model.tensors():
        if entry.rule.quantized:
            ours, theirs = (
                read_as_f32(c.tensors[entry.name], whole_box(shape), ArrayReader(c))
                for c in (one, other)
                for shape in [c.tensors[entry.name].values.shape]
            )
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("form", FORMS)
def test_little_memory_and_more_workers_change_no_byte(
    wide: Path, tmp_path: Path, form: str
) -> None:
    outs = [
        quantize(wide, tmp_path / str(workers), limits, to=form)
        for workers, limits in (
            (1, RunOptions(workers=1)),
            (3, RunOptions(workers=3, memory_bytes=300 << 20)),
        )
    ]
    assert tree(outs[0]) == tree(outs[1])


@pytest.mark.parametrize("form", FORMS)
def test_a_search_gains_by_the_account(wide: Path, tmp_path: Path, form: str) -> None:
    ratios = []
    for method in ("rtn", "mse"):
        out = quantize(wide, tmp_path / method, to=form, method=method)
        account = json.loads((out / "grokpack.json").read_text())["account"]
        ratios.append(account["roles"]["expert"]["sqnr_db"])
    assert ratios[1] > ratios[0] + (0.01 if form == "mxfp4" else 0.3)  # decibels


def test_kept_weights_are_listed_and_eight_bits_refused(wide: Path, tmp_path: Path) -> None:
    out = quantize(wide, tmp_path / "out", to="mxfp4", keep=("attention",))
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert any("q_proj" in pattern for pattern in config["ignore"])
    assert config["format"] == "mxfp4-pack-quantized"
    assert config["config_groups"]["group_0"]["weights"]["group_size"] == 32
    policy = tmp_path / "policy.toml"
    policy.write_text('[[tensors]]\nrole = "attention"\nbits = 8\n')
    with pytest.raises(GrokpackError, match="mxfp4 has 4 bits") as caught:
        plan_quantize(open_checkpoint(str(wide)), QuantizeOptions(to="mxfp4", policy=str(policy)))
    assert caught.value.code == "GP309"


@pytest.mark.parametrize("form", FORMS)
def test_transformers_and_vllm_load_them_and_sglang_does_not(wide: Path, form: str) -> None:
    source = open_checkpoint(str(wide))
    for engine in ("transformers", "vllm"):
        plan_quantize(source, QuantizeOptions(to=form, engine=engine))
    for refused in ({"engine": "sglang"}, {"engine": "vllm", "keep": ("key",)}):
        with pytest.raises(GrokpackError, match="does not load") as caught:
            plan_quantize(source, QuantizeOptions(to=form, **refused))
        assert caught.value.code == "GP313"


def test_they_are_not_quantized_again(written: Path) -> None:
    with pytest.raises(GrokpackError, match=f"already {written.name}"):
        plan_quantize(open_checkpoint(str(written)), QuantizeOptions())


@pytest.mark.parametrize("part", ["weight_scale", "weight_packed"])
@pytest.mark.parametrize("damage", ["gone", "cut", "of another dtype"])
def test_parts_that_do_not_fit_are_named(
    wide: Path, tmp_path: Path, part: str, damage: str
) -> None:
    out = quantize(wide, tmp_path / "out", to="mxfp4")
    (file,) = out.glob("*.safetensors")
    arrays, name = load_file(file), f"{_KEY}.{part}"
    if damage == "gone":
        del arrays[name]
    else:
        arrays[name] = arrays[name][:-1] if damage == "cut" else arrays[name].astype(np.float32)
    save_file(arrays, file)
    (out / "grokpack.json").unlink()
    (out / "model.safetensors.index.json").unlink(missing_ok=True)
    found = survey(str(out)).findings
    assert any((f.tensor or "").startswith(_KEY) for f in found), found


def change(folder: Path, edit: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Change the arrays of a folder, which then has no manifest."""
    (file,) = folder.glob("*.safetensors")
    arrays = dict(packed_formula.load(file))
    edit(arrays)
    packed_formula.save(file, arrays)
    for name in ("grokpack.json", "model.safetensors.index.json"):
        (folder / name).unlink(missing_ok=True)


def test_nvfp4_of_modelopt_multiplies_by_its_second_scale(wide: Path, tmp_path: Path) -> None:
    out = quantize(wide, tmp_path / "out", to="nvfp4")
    wanted = {
        base: values
        for base, values in packed_formula.arrays(out).items()
        if base.endswith(("weight_packed", "weight_scale", "weight_global_scale"))
    }

    def edit(arrays: dict[str, np.ndarray]) -> None:
        for name in [n for n in arrays if n.endswith(".weight_packed")]:
            base = name.removesuffix("_packed")
            arrays[base] = arrays.pop(name)
            whole = arrays.pop(f"{base}_global_scale")
            arrays[f"{base}_scale_2"] = (np.float32(1) / whole).reshape(())

    change(out, edit)
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    (out / "config.json").write_text(json.dumps(config))
    (out / "hf_quant_config.json").write_text(
        json.dumps({"quantization": {"quant_algo": "NVFP4", "group_size": 16}})
    )
    checkpoint = open_checkpoint(str(out))
    reader = ArrayReader(checkpoint)
    for entry, expert, _ in weights(wide, WIDE.layers):
        tensor = checkpoint.tensors[entry.name]
        made = read_as_f32(tensor, whole_box(tensor.values.shape), reader).swapaxes(-1, -2)
        exact = packed_formula.fp4(wanted, packed_formula.module("hpcai", entry, expert))
        np.testing.assert_allclose(made if expert is None else made[expert], exact, rtol=3e-7)
    assert checkpoint.label(tensor) == "nvfp4"


@pytest.mark.parametrize("value", [0, np.nan, np.inf, -1])
def test_global_scales_that_are_no_divisors_are_found(
    wide: Path, tmp_path: Path, value: float
) -> None:
    out = quantize(wide, tmp_path / "out", to="nvfp4")
    name = f"{_KEY}.weight_global_scale"
    change(out, lambda arrays: arrays.update({name: np.full(1, value, np.float32)}))
    assert verify_values(verify_structure(survey(str(out)))).findings


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 1)])
def test_a_global_scale_is_one_number(wide: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    out = quantize(wide, tmp_path / "out", to="nvfp4")
    name = f"{_KEY}.weight_global_scale"
    change(out, lambda arrays: arrays.update({name: np.ones(shape, np.float32)}))
    assert survey(str(out)).whole == (shape in ((), (1,)))
