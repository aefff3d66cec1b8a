"""Settings of packed weights: read in every place, held against each other and the arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.readers import quantization_settings
from tests.support.packed_folders import FORMS, Arrays, change, refusal, say, settings


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_whatever_the_form(written: dict[str, Path], form: str) -> None:
    assert survey(str(written[form])).whole


PLACES = ("config.json", "text_config", "compression_config", *quantization_settings.FILES)


@pytest.mark.parametrize("place", PLACES)
def test_the_second_form_of_gptq_is_refused_wherever_it_is_said(
    copied: Callable[[str], Path], place: str
) -> None:
    folder = copied("gptq")
    say(folder, settings(folder) | {"checkpoint_format": "gptq_v2"}, place)
    error = refusal(folder)
    assert error.code == "GP208"
    assert "zero points" in error.what


@pytest.mark.parametrize("place", PLACES)
def test_settings_may_stand_in_any_place(copied: Callable[[str], Path], place: str) -> None:
    folder = copied("gptq 8")
    say(folder, settings(folder), place)
    checkpoint = open_checkpoint(str(folder))
    assert set(checkpoint.bits.values()) == {8}
    assert not checkpoint.packings  # the codes are symmetric, which the settings say


def test_headers_may_hold_settings_too(copied: Callable[[str], Path]) -> None:
    folder = copied("gptq")
    change(folder, lambda _: None, gptq_bits="8", gptq_group_size="64", gptq_desc_act="False")
    error = refusal(folder)
    assert error.code == "GP234"
    assert "bits" in error.what
    assert {label for label, _ in error.facts} == {
        "config.json: quantization_config",
        "header of model-00001-of-00001.safetensors",
    }


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"bits": []}', '{"bits": "' + "9" * 99 + '"}'])
def test_broken_settings_in_a_header_are_named(copied: Callable[[str], Path], text: str) -> None:
    folder = copied("gptq")
    change(folder, lambda _: None, quantization_config=text)
    assert refusal(folder).code == "GP209"


@pytest.mark.parametrize(
    ("key", "value"),
    [("bits", 8), ("group_size", 32), ("desc_act", True), ("sym", False), ("quant_method", "awq")],
)
def test_places_that_contradict_each_other_are_refused_by_name(
    copied: Callable[[str], Path], key: str, value: object
) -> None:
    folder = copied("gptq")
    (folder / "quantize_config.json").write_text(json.dumps(settings(folder) | {key: value}))
    error = refusal(folder)
    assert error.code == "GP234"
    assert any(label == "quantize_config.json" for label, _ in error.facts)


@pytest.mark.parametrize(
    ("form", "key", "value"),
    [
        ("gptq", "bits", 8),
        ("gptq 8", "bits", 4),
        ("gptq", "group_size", 128),
        ("gptq", "group_size", -1),
        ("gptq", "quant_method", "compressed-tensors"),
        ("packed", "quant_method", "gptq"),
    ],
)
def test_settings_that_are_not_those_of_the_arrays_are_refused(
    copied: Callable[[str], Path], form: str, key: str, value: object
) -> None:
    folder = copied(form)
    say(folder, settings(folder) | {key: value})
    assert refusal(folder).code in ("GP234", "GP208")


@pytest.mark.parametrize(
    ("form", "own", "code"),
    [
        ("packed", {"num_bits": 8}, "GP234"),
        ("packed", {"group_size": 128}, "GP234"),
        ("packed", {"strategy": "channel", "group_size": None}, "GP234"),
        ("packed", {"symmetric": False}, "GP234"),
        ("packed", {"type": "float"}, "GP208"),
        ("packed", {"actorder": "group"}, "GP208"),
        ("packed", {"actorder": "dynamic"}, "GP208"),
        ("packed", {"actorder": "weight"}, None),
        ("packed", {"actorder": "static"}, None),
        ("packed with zeros", {"num_bits": "four"}, "GP209"),
    ],
)
def test_groups_of_compressed_tensors_are_held_against_the_arrays(
    copied: Callable[[str], Path], form: str, own: dict[str, object], code: str | None
) -> None:
    folder = copied(form)
    how = settings(folder)
    for group in how["config_groups"].values():
        group["weights"] |= own
    say(folder, how)
    if code is None:
        assert survey(str(folder)).whole
    else:
        assert refusal(folder).code == code


@pytest.mark.parametrize(
    "method",
    ["bitsandbytes", "hqq", "aqlm", "eetq", "quark", "auto-round"],
)
def test_other_methods_are_refused_by_their_name(
    copied: Callable[[str], Path], method: str
) -> None:
    folder = copied("gptq")
    say(folder, {"quant_method": method})
    error = refusal(folder)
    assert error.code == "GP208"
    assert method in error.what


@pytest.mark.parametrize("how", ["gptq", 7, ["gptq"], {"bits": []}, {"sym": 3}, {"bits": 2.5}])
def test_settings_of_another_type_are_refused(copied: Callable[[str], Path], how: object) -> None:
    folder = copied("gptq")
    say(folder, how)
    assert refusal(folder).code == "GP209"


# What the arrays show


@pytest.mark.parametrize("form", ["gptq", "gptq 8"])
@pytest.mark.parametrize("said", ["gptq", None])
def test_zero_points_of_the_second_form_are_seen_in_the_data(
    copied: Callable[[str], Path], form: str, said: str | None
) -> None:
    folder = copied(form)
    step = np.int32(0x11111111 if form == "gptq" else 0x01010101)

    def edit(arrays: Arrays) -> None:
        for name in arrays:
            if name.endswith(".qzeros"):
                arrays[name] = (arrays[name].view(np.uint32) + step.view(np.uint32)).view(np.int32)

    change(folder, edit)
    how = {k: v for k, v in settings(folder).items() if k != "checkpoint_format"}
    say(folder, how | ({"checkpoint_format": said} if said else {}))
    error = refusal(folder)
    assert error.code == "GP208"
    assert "gptq_v2" in str(error.facts)


@pytest.mark.parametrize(
    "ending",
    ["weight.absmax", "weight.quant_state.bitsandbytes__nf4", "lora_A.weight", "W_q", "SCB"],
)
def test_arrays_of_other_packings_name_them(copied: Callable[[str], Path], ending: str) -> None:
    folder = copied("gptq")
    name = f"model.layers.0.attn.q_proj.{ending}"
    change(folder, lambda arrays: arrays.update({name: np.ones(2, np.float32)}))
    error = refusal(folder)
    assert error.code == "GP208"
    assert str(error.where).endswith(name)


def test_settings_without_packed_weights_mean_nothing(
    written: dict[str, Path], tmp_path: Path
) -> None:
    from tests.support.conversions import convert

    convert(written["gptq"], tmp_path / "plain", "hf")
    (tmp_path / "plain" / "quantize_config.json").write_text('{"checkpoint_format": "gptq_v2"}')
    assert survey(str(tmp_path / "plain")).whole
    with safe_open(next((tmp_path / "plain").glob("*.safetensors")), "np") as handle:
        assert not any(name.endswith("qweight") for name in handle.keys())  # noqa: SIM118
