"""Arrays beside packed weights: used, noted as spare, or refused; none is left out in silence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.readers.quantization_settings import PackingSettings
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import whole_box
from grokpack.transforms.dequantize import read_as_f32
from tests.support.packed_folders import Arrays, change, refusal, say, settings

Edit = Callable[[Arrays], object]


def query(arrays: Arrays) -> str | None:
    """Return the query projection of a file's first layer, without the ending of its arrays."""
    return next((name.rpartition(".")[0] for name in sorted(arrays) if ".q_proj." in name), None)


def put(ending: str, value: Any) -> Edit:
    def edit(arrays: Arrays) -> None:
        base = query(arrays)
        if base is not None:
            arrays[f"{base}.{ending}"] = np.asarray(value)

    return edit


@pytest.mark.parametrize(
    ("form", "ending"),
    [
        ("gptq", "weight"),
        ("packed", "weight"),
        ("packed", "weight_global_scale"),
        ("w8a8", "weight_zero_point"),
        ("w8a8", "weight_scale_2"),
        ("w8a8", "weight_scale_inv"),
    ],
)
def test_an_array_that_no_value_depends_on_is_refused(
    copied: Callable[[str], Path], form: str, ending: str
) -> None:
    """Another program would use it: values would be other ones, and nobody told."""
    folder = copied(form)
    change(folder, put(ending, np.ones((2, 2), np.float32)))
    error = refusal(folder)
    assert error.code == "GP208"
    assert error.where is not None
    assert str(error.where.tensor).endswith(f".q_proj.{ending}")


def test_scales_beside_floats_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("packed")

    def edit(arrays: Arrays) -> None:
        base = query(arrays)
        outputs, inputs = arrays.pop(f"{base}.weight_shape")
        del arrays[f"{base}.weight_packed"]
        arrays[f"{base}.weight"] = np.ones((outputs, inputs), np.float32)

    change(folder, edit)
    assert refusal(folder).code == "GP208"


@pytest.mark.parametrize(
    ("ending", "value"),
    [
        ("g_idx", np.zeros(3, np.int32)),
        ("g_idx", np.zeros((1, 8), np.int32)),
        ("g_idx", np.zeros(1 << 10, np.float32)),
    ],
)
def test_an_order_that_does_not_fit_is_a_finding(
    copied: Callable[[str], Path], ending: str, value: np.ndarray
) -> None:
    """It was passed over, and inputs taken in their natural order."""
    folder = copied("gptq" if ending == "g_idx" else "packed")
    change(folder, put(ending, value))
    found = survey(str(folder))
    assert [finding.code for finding in found.findings] == ["GP105"]
    assert "g_idx" in found.findings[0].message or "groups" in found.findings[0].message


@pytest.mark.parametrize("value", [np.zeros(3, np.int32), np.zeros(1 << 10, np.float32)])
def test_an_order_of_compressed_tensors_that_does_not_fit_is_a_finding(
    copied: Callable[[str], Path], value: np.ndarray
) -> None:
    folder = copied("packed")
    change(folder, put("weight_g_idx", value))
    (finding,) = survey(str(folder)).findings
    assert finding.code == "GP105"
    assert "weight_g_idx" in finding.message


def biases(value: float) -> Edit:
    def edit(arrays: Arrays) -> None:
        for name in [n for n in arrays if n.endswith(".qweight")]:
            outputs = arrays[name].shape[1]
            arrays[name.replace(".qweight", ".bias")] = np.full(outputs, value, np.float16)

    return edit


def test_biases_of_zeros_are_spare(copied: Callable[[str], Path]) -> None:
    """AutoGPTQ writes them for models that have none; engines leave them out."""
    folder = copied("gptq")
    change(folder, biases(0))
    (note,) = survey(str(folder)).findings
    assert (note.code, note.severity) == ("GP102", "warning")
    assert "biases of zeros" in note.message
    assert open_checkpoint(folder)


def test_biases_of_other_values_are_no_part_of_the_model(copied: Callable[[str], Path]) -> None:
    folder = copied("gptq")
    change(folder, biases(0.5))
    assert {finding.severity for finding in survey(str(folder)).findings} == {"error"}


@pytest.mark.parametrize("name", ["input_zero_point", "q_scale", "kv_scale", "output_scale"])
def test_scales_of_activations_are_noted(copied: Callable[[str], Path], name: str) -> None:
    folder = copied("w8a8")
    change(folder, put(name, np.ones(1, np.float32)))
    (note,) = survey(str(folder)).findings
    assert note.severity == "warning"


def test_weights_rotated_for_quantization_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("packed")
    say(folder, settings(folder) | {"transform_config": {"config_groups": {"u": {}}}})
    error = refusal(folder)
    assert error.code == "GP208"
    assert "rotated" in error.what


def test_a_quantized_head_is_refused_and_not_missing(copied: Callable[[str], Path]) -> None:
    folder = copied("gptq")

    def edit(arrays: Arrays) -> None:
        table = arrays.pop("model.embed_tokens.weight")
        arrays["model.embed_tokens.weight"] = np.ones(table.shape, np.int8)
        arrays["model.embed_tokens.weight_scale"] = np.ones((len(table), 1), np.float32)

    change(folder, edit)
    error = refusal(folder)
    assert error.code == "GP208"
    assert "projections only" in error.what


@pytest.mark.parametrize("bits", [2, 3])
def test_other_bits_are_named(copied: Callable[[str], Path], bits: int) -> None:
    folder = copied("gptq")

    def edit(arrays: Arrays) -> None:
        name = f"{query(arrays)}.qweight"
        arrays[name] = arrays[name][: len(arrays[name]) * bits // 4].copy()

    change(folder, edit)
    assert refusal(folder).what == (
        f"packed codes of {bits} bits are not read: those of 4 and 8 bits are"
    )


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (256,)])
def test_int8_has_a_scale_for_each_output_or_one(
    copied: Callable[[str], Path], shape: tuple[int, ...]
) -> None:
    folder = copied("w8a8")
    wanted = []

    def edit(arrays: Arrays) -> None:
        base = query(arrays)
        if base is not None:
            scale = np.linspace(0.5, 2, math.prod(shape), dtype=np.float32).reshape(shape)
            arrays[f"{base}.weight_scale"] = scale
            wanted.append(arrays[f"{base}.weight"] * scale.reshape(-1, 1))

    change(folder, edit)
    checkpoint = open_checkpoint(folder)
    tensor = checkpoint.tensors["transformer/decoder_layer_0/multi_head_attention/query/w"]
    made = read_as_f32(tensor, whole_box(tensor.values.shape), ArrayReader(checkpoint))
    np.testing.assert_array_equal(made.T, wanted[0].astype(np.float32))


def test_fewer_bits_may_lie_in_bytes(copied: Callable[[str], Path]) -> None:
    """compressed-tensors stores four bits so, for four-bit weights with int8 activations."""
    folder = copied("w8a8")
    weights = {"num_bits": 4, "type": "int", "symmetric": True}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    how = {"quant_method": "compressed-tensors", "format": "int-quantized"}
    say(folder, how | {"config_groups": groups})
    assert survey(str(folder)).whole


@pytest.mark.parametrize("said", [[128, 128], "128x128", "128X128"])
def test_a_block_may_be_spelled_in_words(said: object) -> None:
    own = {"type": "float", "strategy": "block", "block_structure": said}
    assert PackingSettings(groups=(("config.json", own),)).block == (128, 128)


@pytest.mark.parametrize("said", ["128", "128x", "x", "128x128x2", "0x128"])
def test_a_block_of_other_words_is_broken(said: str) -> None:
    with pytest.raises(GrokpackError) as caught:
        _ = PackingSettings(groups=(("config.json", {"block_structure": said}),)).block
    assert caught.value.code == "GP209"


def with_floats(arrays: Arrays) -> None:
    """Give the query projection four-bit floats, as a mix of schemes has them."""
    base = query(arrays)
    if base is not None:
        outputs, inputs = map(int, arrays[f"{base}.weight_shape"])
        for ending in ("weight_shape", "weight_scale", "weight_packed"):
            del arrays[f"{base}.{ending}"]
        arrays[f"{base}.weight_packed"] = np.zeros((outputs, inputs // 2), np.uint8)
        arrays[f"{base}.weight_scale"] = np.full((outputs, inputs // 32), 127, np.uint8)


def test_groups_of_floats_and_of_integers_may_stand_side_by_side(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("packed")
    change(folder, with_floats)
    rows = {
        "group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 64}},
        "group_1": {"weights": {"num_bits": 4, "type": "float", "group_size": 32}},
    }
    say(
        folder,
        {"quant_method": "compressed-tensors", "format": "mixed-precision"}
        | {"config_groups": rows},
    )
    assert survey(str(folder)).whole


@pytest.mark.parametrize("method", ["modelopt", "modelopt_fp4"])
def test_an_engines_name_of_a_tool_is_the_tools(copied: Callable[[str], Path], method: str) -> None:
    """SGLang says modelopt_fp4 where ModelOpt's own file tells of an algorithm."""
    folder = copied("packed")

    def edit(arrays: Arrays) -> None:
        for base in [n.removesuffix(".weight_shape") for n in arrays if n.endswith("_shape")]:
            outputs, inputs = map(int, arrays[f"{base}.weight_shape"])
            for ending in ("weight_shape", "weight_scale", "weight_packed"):
                del arrays[f"{base}.{ending}"]
            arrays[f"{base}.weight"] = np.zeros((outputs, inputs // 2), np.uint8)
            scales = np.ones((outputs, inputs // 16), ml_dtypes.float8_e4m3fn)
            arrays[f"{base}.weight_scale"] = scales
            arrays[f"{base}.weight_scale_2"] = np.ones((), np.float32)

    change(folder, edit)
    say(folder, {"quant_method": method})
    own = {"quantization": {"quant_algo": "NVFP4", "group_size": 16}}
    (folder / "hf_quant_config.json").write_text(json.dumps(own))
    assert survey(str(folder)).whole
