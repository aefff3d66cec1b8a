"""Weights in FP8 as sources: whole and in parts, in every form that tools write, and damaged."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box, whole_box
from grokpack.models.architecture import Geometry
from grokpack.models.grok1 import GROK1
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support import packed_formula
from tests.support.checkpoints import synthesize
from tests.support.conversions import attach, convert, gguf_values, hf_values
from tests.support.evaluated_pairs import errors, evaluated
from tests.support.quantized_checkpoints import quantize
from tests.support.virtual_stores import printed_spec, read_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from grokpack.core.finding import Finding

    Arrays = dict[str, np.ndarray]
    Edit = Callable[[Arrays], object]

MODEL = Geometry(
    vocab=64, d_model=160, layers=1, experts=2, ffn=512, q_width=256, kv_width=256, head_dim=128
)
FORMS: dict[str, dict[str, Any]] = {
    "blocks": {},
    "blocks for 2": {"tp": 2},
    "outputs": {"group": "channel"},
    "outputs for 2": {"group": "channel", "tp": 2},
}
QUERY = "model.layers.0.self_attn.q_proj"
TENSOR = "transformer/decoder_layer_0/multi_head_attention/query/w"
SCALES = f"{QUERY}.weight_scale_inv"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("release") / "in", MODEL)


@pytest.fixture(scope="module")
def folders(release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("fp8")
    return {
        name: quantize(release, base / name.replace(" ", "-"), to="fp8", **form)
        for name, form in FORMS.items()
    }


def exact(folder: Path) -> dict[str, np.ndarray]:
    """Products of codes and scales, rounded once to float32, `[..., in, out]`, by tensor."""
    found = packed_formula.arrays(folder)
    made = {}
    for entry in GROK1.tensors(MODEL.layers):
        if entry.rule.quantized:
            each: Any = range(MODEL.experts) if entry.rule.stacked else [None]
            bases = [packed_formula.module("sglang", entry, expert) for expert in each]
            one = np.stack([packed_formula.fp8(found, base).T for base in bases]).astype(np.float32)
            made[entry.name] = one if entry.rule.stacked else one[0]
    return made


def read(folder: Path, name: str, box: Box | None = None) -> np.ndarray:
    checkpoint = open_checkpoint(str(folder))
    box = box or whole_box(checkpoint.tensors[name].values.shape)
    return np.ascontiguousarray(ArrayReader(checkpoint).read(name, box)).view(np.float32)


def edited(folder: Path, out: Path, edit: Edit, **config: Any) -> Path:
    """A copy with other arrays, and other keys in `quantization_config`."""
    shutil.copytree(folder, out)
    (out / "grokpack.json").unlink()
    (out / "model.safetensors.index.json").unlink()
    (path,) = out.glob("*.safetensors")
    arrays = packed_formula.load(path)
    edit(arrays)
    packed_formula.save(path, arrays)
    document = json.loads((out / "config.json").read_text())
    document["quantization_config"] |= config
    (out / "config.json").write_text(json.dumps(document))
    return out


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_codes_times_scales_rounded_once(folders: dict[str, Path], form: str) -> None:
    for name, wanted in exact(folders[form]).items():
        np.testing.assert_array_equal(read(folders[form], name), wanted)


@given(st.data())
def test_any_part_is_a_part_of_the_whole(folders: dict[str, Path], data: st.DataObject) -> None:
    folder = folders[data.draw(st.sampled_from(list(FORMS)))]
    name = data.draw(st.sampled_from(["multi_head_attention/linear/w", "moe/linear_1/w"]))
    tensor = f"transformer/decoder_layer_0/{name}"
    whole = read(folder, tensor)
    edges = [sorted(data.draw(st.tuples(*2 * [st.integers(0, n - 1)]))) for n in whole.shape]
    box = Box(tuple(a for a, _ in edges), tuple(b - a + 1 for a, b in edges))
    part = whole[tuple(slice(a, b + 1) for a, b in edges)]
    np.testing.assert_array_equal(read(folder, tensor, box), part)


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_is_whole_and_near_what_it_was_made_of(
    folders: dict[str, Path], release: Path, form: str
) -> None:
    verdict = verify_structure(survey(str(folders[form])))
    assert verify_values(verdict).findings == ()
    assert errors(evaluated(release, folders[form])) == []


def test_ranks_hold_what_one_folder_holds(folders: dict[str, Path]) -> None:
    for name in exact(folders["blocks"]):
        one, other = (read(folders[form], name) for form in ("blocks", "blocks for 2"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", ["blocks", "outputs for 2"])
def test_it_can_be_converted(folders: dict[str, Path], tmp_path: Path, form: str) -> None:
    wanted = exact(folders[form])
    convert(folders[form], tmp_path / "hf", "hf")
    found = hf_values(tmp_path / "hf", "hpcai", MODEL.layers, MODEL.experts)
    convert(folders[form], tmp_path / "x.gguf", "gguf", type="f32", tokenizer="none")
    blocks = gguf_values(tmp_path / "x.gguf", MODEL.layers)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values.astype(ml_dtypes.bfloat16))
        np.testing.assert_array_equal(blocks[name], values)


@pytest.mark.parametrize("to", ["zarr", "safetensors", "ckpt-0"])
def test_stores_of_it_are_near(folders: dict[str, Path], tmp_path: Path, to: str) -> None:
    options = {"tp": 2} if to == "ckpt-0" else {}
    convert(folders["blocks"], tmp_path / "out", to, **options)
    assert errors(evaluated(folders["blocks"], tmp_path / "out")) == []


@pytest.mark.parametrize("form", ["blocks", "outputs"])
def test_a_view_of_it_opens_in_tensorstore(
    folders: dict[str, Path], tmp_path: Path, form: str
) -> None:
    view = attach(shutil.copytree(folders[form], tmp_path / "in"))
    found, stored = read_all(printed_spec(view)), packed_formula.arrays(folders[form])
    for name in (f"{QUERY}.weight", *(name for name in stored if "_scale" in name)):
        assert found[name].tobytes() == stored[name].tobytes()


def test_it_can_be_quantized_again(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "x.gguf"
    quantize(folders["blocks"], out, to="gguf", type="q4_0", tokenizer="none")
    assert errors(evaluated(folders["blocks"], out)) == []


def other_names(arrays: Arrays) -> None:
    for name in [name for name in arrays if name.endswith("_inv")]:
        arrays[name.removesuffix("_inv")] = arrays.pop(name)


def per_tensor(shape: tuple[int, ...]) -> Edit:
    def edit(arrays: Arrays) -> None:
        for name in [name for name in arrays if name.endswith("_inv")]:
            arrays[name.removesuffix("_inv")] = np.full(shape, 0.25, np.float32)
            del arrays[name]

    return edit


def powers_of_two(arrays: Arrays) -> None:
    for name in [name for name in arrays if name.endswith("_inv")]:
        arrays[name] = arrays[name].astype(ml_dtypes.float8_e8m0fnu)


def in_bf16(arrays: Arrays) -> None:
    for name in [name for name in arrays if name.endswith("_inv")]:
        arrays[name] = arrays[name].astype(ml_dtypes.bfloat16)


def in_e5m2(arrays: Arrays) -> None:
    for name in [name for name in arrays if f"{name}_scale_inv" in arrays]:
        arrays[name] = arrays[name].astype(np.float32).astype(ml_dtypes.float8_e5m2)


@pytest.mark.parametrize(
    "edit",
    [
        *(other_names, powers_of_two, in_bf16, in_e5m2),
        pytest.param(per_tensor(()), id="per tensor"),
        pytest.param(per_tensor((1,)), id="per tensor, one axis"),
    ],
)
def test_other_tools_forms_are_read(folders: dict[str, Path], tmp_path: Path, edit: Edit) -> None:
    out = edited(folders["blocks"], tmp_path / "out", edit)
    assert verify_structure(survey(str(out))).findings == ()
    arrays = packed_formula.arrays(out)
    codes = arrays[f"{QUERY}.weight"].astype(np.float32)
    scales = arrays.get(SCALES, arrays.get(f"{QUERY}.weight_scale"))
    assert scales is not None
    spread = scales.astype(np.float32)
    if spread.ndim > 1:
        spread = np.repeat(np.repeat(spread, 128, 0), 128, 1)[: len(codes), : codes.shape[1]]
    np.testing.assert_array_equal(read(out, TENSOR), (codes * spread).T)


def test_blocks_of_another_size_are_read_by_the_config(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def edit(arrays: Arrays) -> None:
        for name in [name for name in arrays if name.endswith("_inv")]:
            outputs, inputs = arrays[name.removesuffix("_scale_inv")].shape
            arrays[name] = np.full((-(-outputs // 64), -(-inputs // 32)), 0.5, np.float32)

    out = edited(folders["blocks"], tmp_path / "out", edit, weight_block_size=[64, 32])
    codes = packed_formula.arrays(out)[f"{QUERY}.weight"].astype(np.float32)
    np.testing.assert_array_equal(read(out, TENSOR), codes.T / 2)


def test_scales_of_activations_are_left_out_with_a_note(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def edit(arrays: Arrays) -> None:
        arrays[f"{QUERY}.input_scale"] = np.ones((), np.float32)

    out = edited(folders["blocks"], tmp_path / "out", edit)
    (finding,) = verify_structure(survey(str(out))).findings
    assert (finding.code, finding.severity) == ("GP102", "warning")
    assert "1 scales of activations" in finding.message


def put(name: str, value: Any) -> Edit:
    def edit(arrays: Arrays) -> None:
        changed = arrays[name].copy()
        changed[0, 0] = value
        arrays[name] = changed

    return edit


NAN = np.array([0x7F, 0xFF], np.uint8).view(ml_dtypes.float8_e4m3fn)


BAD: dict[str, tuple[str, Any, str]] = {
    "a code of 0x7F": (f"{QUERY}.weight", NAN[0], "GP120"),
    "a code of 0xFF": (f"{QUERY}.weight", NAN[1], "GP120"),
    "a scale of zero": (SCALES, 0, "GP122"),
    "a negative scale": (SCALES, -1, "GP122"),
    "an infinite scale": (SCALES, np.inf, "GP121"),
    "a scale that is NaN": (SCALES, np.nan, "GP120"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_values_are_found(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    name, value, code = BAD[kind]
    out = edited(folders["blocks"], tmp_path / "out", put(name, value))
    found = verify_values(verify_structure(survey(str(out)))).findings
    own = [str(one.found) for one in found if one.code == code and one.tensor == TENSOR]
    assert any(text.startswith("1 scales" if name == SCALES else "1 values") for text in own)


def cut_scales(arrays: Arrays) -> None:
    arrays[SCALES] = arrays[SCALES][:, :1]


def no_scales(arrays: Arrays) -> None:
    del arrays[SCALES]


def integer_scales(arrays: Arrays) -> None:
    arrays[SCALES] = np.ones(arrays[SCALES].shape, np.int32)


@pytest.mark.parametrize(
    ("edit", "words"),
    [(no_scales, "is missing"), (cut_scales, "do not fit"), (integer_scales, "is packed")],
)
def test_arrays_that_do_not_fit_are_findings(
    folders: dict[str, Path], tmp_path: Path, edit: Edit, words: str
) -> None:
    out = edited(folders["blocks"], tmp_path / "out", edit)
    found: list[Finding] = list(verify_structure(survey(str(out))).findings)
    assert any(one.code == "GP105" and words in one.message for one in found), found
    with pytest.raises(GrokpackError):
        convert(out, tmp_path / "hf", "hf")


def test_settings_that_contradict_the_arrays_are_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    out = edited(folders["blocks"], tmp_path / "a", dict, quant_method="w8a8_int8")
    with pytest.raises(GrokpackError) as caught:
        survey(str(out))
    assert caught.value.code == "GP234"
    out = edited(folders["blocks"], tmp_path / "b", dict, weight_block_size=[128])
    with pytest.raises(GrokpackError) as caught:
        survey(str(out))
    assert caught.value.code == "GP209"
