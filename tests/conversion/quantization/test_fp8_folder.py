"""Folders in FP8, decoded by a second formula: values, scales, ranks, configs, the account."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.core.errors import GrokpackError
from grokpack.models.architecture import Geometry
from grokpack.models.grok2 import GROK2
from tests.support import packed_formula
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert
from tests.support.grok2 import RELEASE, released
from tests.support.quantized_checkpoints import quantize, weights
from tests.support.weight_formula import exact_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPLIT = Geometry(
    vocab=64, d_model=136, layers=1, experts=2, ffn=512, q_width=256, kv_width=256, head_dim=128
)
"""Halves of all that two ranks share are whole blocks; the width of the model is not."""
FORMS: dict[str, dict[str, Any]] = {
    "blocks": {},
    "blocks searched": {"method": "mse"},
    "blocks for 2": {"tp": 2},
    "outputs": {"group": "channel"},
    "outputs for 2": {"group": "channel", "tp": 2},
}


@dataclass(frozen=True)
class Case:
    """A folder in FP8, what it was made of, and its weights, `f64[out, in]`, by module."""

    form: str
    out: Path
    source: Path
    exact: dict[str, np.ndarray]
    tensors: dict[str, str]

    @property
    def found(self) -> dict[str, np.ndarray]:
        """Its arrays."""
        return packed_formula.arrays(self.out)

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json."""
        config: dict[str, Any] = json.loads((self.out / "config.json").read_text())
        return config


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("split") / "in", SPLIT)


def grok1_modules(source: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    for entry, expert, exact in weights(source, SPLIT.layers):
        yield packed_formula.module("sglang", entry, expert), entry.name, exact


def grok2_modules() -> Iterator[tuple[str, str, np.ndarray]]:
    names = GROK2.conventions["sglang"]
    for entry in GROK2.tensors(3):
        if entry.rule.quantized:
            for expert in range(8) if entry.rule.stacked else (None,):
                name = names.of(entry, expert)
                yield name.removesuffix(".weight"), entry.name, released()[name]


@pytest.fixture(scope="module", params=[*FORMS, "grok-2 blocks", "grok-2 outputs"])
def case(
    request: pytest.FixtureRequest, split: Path, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    second = request.param.startswith("grok-2 ")
    form = request.param.removeprefix("grok-2 ")
    source = RELEASE if second else split
    rows = list(grok2_modules() if second else grok1_modules(split))
    out = quantize(source, tmp_path_factory.mktemp("fp8") / "out", to="fp8", **FORMS[form])
    return Case(
        form,
        out,
        source,
        {base: exact for base, _, exact in rows},
        {base: tensor for base, tensor, _ in rows},
    )


def test_every_value_is_the_nearest_in_units_of_its_scale(case: Case) -> None:
    found = case.found
    for base, exact in case.exact.items():
        made = packed_formula.fp8(found, base)
        rough = np.abs(exact) * 2.0**-4 + np.abs(exact).max() * 2.0**-18
        assert (np.abs(exact - made) <= rough * (1 + 1e-6)).all(), base


def test_scales_are_one_for_each_block_or_output(case: Case) -> None:
    name = "weight_scale" if case.form.startswith("outputs") else "weight_scale_inv"
    found = case.found
    for full, codes in found.items():
        base, _, end = full.partition("@")
        module = base.removesuffix(".weight")
        if module not in case.exact or not base.endswith(".weight"):
            continue
        outputs, inputs = codes.shape
        assert codes.dtype == ml_dtypes.float8_e4m3fn
        scales = found[f"{module}.{name}{'@' + end if end else ''}"]
        assert scales.dtype == np.float32
        blocks = (-(-outputs // 128), -(-inputs // 128))
        assert scales.shape == ((outputs, 1) if name == "weight_scale" else blocks)


def test_plain_scales_are_the_largest_magnitude_over_448(case: Case) -> None:
    if case.form != "blocks":
        return
    found = case.found
    for base, exact in case.exact.items():
        scales = found[f"{base}.weight_scale_inv"]
        for (i, j), scale in np.ndenumerate(scales):
            block = exact[i * 128 : (i + 1) * 128, j * 128 : (j + 1) * 128]
            assert scale == np.float32(np.abs(block).max().astype(np.float32) / np.float32(448))


def test_the_account_has_every_weight_and_its_error(case: Case) -> None:
    account = json.loads((case.out / "grokpack.json").read_text())["account"]["tensors"]
    found = case.found
    sums: dict[str, Any] = {}
    for base, exact in case.exact.items():
        error = exact - packed_formula.fp8(found, base)
        row = np.array([exact.size, (exact**2).sum(), (error**2).sum()])
        sums[case.tensors[base]] = sums.get(case.tensors[base], 0) + row
    assert account.keys() == sums.keys()
    for name, (count, squares, errors) in sums.items():
        assert account[name]["weights"] == count
        assert account[name]["relative_error"] == pytest.approx(np.sqrt(errors / squares), rel=1e-4)


def test_config_says_how_weights_lie_and_which_do_not(case: Case) -> None:
    own = case.config["quantization_config"]
    assert case.config["load_presharded_moe"] is case.form.endswith("for 2")
    if case.form.startswith("blocks"):
        layers = range(1 if "layers.1." not in str(case.exact.keys()) else 3)
        assert own == {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
            "modules_to_not_convert": [
                "lm_head",
                *(f"model.layers.{n}.block_sparse_moe.gate" for n in layers),
            ],
        }
        return
    assert own["format"] == "float-quantized"
    group = own["config_groups"]["group_0"]
    assert (group["weights"]["type"], group["weights"]["strategy"]) == ("float", "channel")
    assert (group["input_activations"]["strategy"], group["input_activations"]["dynamic"]) == (
        "token",
        True,
    )


def test_the_card_warns_of_the_backend_that_is_wrong(case: Case) -> None:
    text = (case.out / "README.md").read_text()
    assert "--moe-runner-backend triton" in text
    assert "Never use `--moe-runner-backend cutlass`" in text


def test_router_norms_and_embedding_stay_as_they_are(case: Case) -> None:
    if case.source == RELEASE:
        return
    found, exact = case.found, exact_weights(case.source)
    router = found["model.layers.0.block_sparse_moe.gate.weight"]
    np.testing.assert_array_equal(router, exact["transformer/decoder_layer_0/router/w"].T)
    assert router.dtype == np.float32
    assert found["lm_head.weight"].dtype == ml_dtypes.bfloat16


ATTENTION = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.qkv_proj", "attn.o_proj")
MLP = ("gate_proj", "up_proj", "gate_up_proj", "down_proj")


@pytest.mark.parametrize("form", ["blocks", "outputs"])
@pytest.mark.parametrize(("keep", "called"), [("attention", ATTENTION), ("mlp", MLP)])
def test_kept_weights_are_listed_as_sglang_calls_them(
    tmp_path: Path, form: str, keep: str, called: tuple[str, ...]
) -> None:
    """It calls modules of all layers alike, and looks for them by these names only."""
    out = quantize(RELEASE, tmp_path / "out", to="fp8", keep=(keep,), **FORMS[form])
    own = json.loads((out / "config.json").read_text())["quantization_config"]
    found = own["modules_to_not_convert"] if form == "blocks" else own["ignore"]
    patterns = {n: n if form == "blocks" else f"re:{re.escape(n)}$" for n in ATTENTION + MLP}
    listed = {name for name, pattern in patterns.items() if pattern in found}
    assert listed == set(called)
    kept = "self_attn.q_proj" if keep == "attention" else "mlp.up_proj"
    assert packed_formula.arrays(out)[f"model.layers.0.{kept}.weight"].dtype.name == "bfloat16"


@pytest.mark.parametrize("keep", ["experts", "k_proj", "up_proj", "layers.1"])
def test_what_sglang_cannot_be_told_of_is_not_kept(keep: str) -> None:
    source = open_checkpoint(str(RELEASE))
    with pytest.raises(GrokpackError, match="all layers or in none, and experts never") as caught:
        plan_quantize(source, QuantizeOptions(to="fp8", keep=(keep,)))
    assert caught.value.code == "GP309"


def test_a_matrix_gives_the_same_codes_however_it_lies(split: Path, tmp_path: Path) -> None:
    """Products are exact in float32; scales of blocks do not depend on the orientation."""
    floats = tmp_path / "hf"
    convert(split, floats, "hf", dtype="f32")
    for form in ("blocks", "outputs"):
        one, other = (
            packed_formula.arrays(quantize(source, tmp_path / name / form, to="fp8", **FORMS[form]))
            for source, name in ((split, "codes"), (floats, "floats"))
        )
        for entry, expert, _ in weights(split, SPLIT.layers):
            base = packed_formula.module("sglang", entry, expert)
            for name in one:
                if name.startswith(f"{base}.weight"):
                    assert one[name].tobytes() == other[name].tobytes(), name


def test_searched_scales_lose_no_more(split: Path, tmp_path: Path) -> None:
    plain, searched = (
        json.loads(
            (quantize(split, tmp_path / method, to="fp8", method=method) / "grokpack.json")
            .read_text()
        )["account"]["roles"]
        for method in ("rtn", "mse")
    )  # fmt: skip
    for role, figures in searched.items():
        assert figures["sqnr_db"] > plain[role]["sqnr_db"]


def test_for_vllm_tensors_have_the_names_that_it_looks_up(tmp_path: Path) -> None:
    """Whole folders only: it cuts them for ranks itself."""
    source = open_checkpoint(str(synthesize(tmp_path / "in")))
    asked = QuantizeOptions(to="fp8", engine="vllm"), QuantizeOptions(to="fp8", names="hpcai")
    plans = [plan_quantize(source, options) for options in asked]
    assert plans[0].target.layout == plans[1].target.layout
    with pytest.raises(GrokpackError) as caught:
        plan_quantize(source, QuantizeOptions(to="fp8", engine="vllm", tp=1))
    assert caught.value.code == "GP313"
