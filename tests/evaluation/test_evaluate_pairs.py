"""`evaluate --against` tells networks that differ in one thing from networks that are the same."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.evaluation.evaluation_options import EvaluateOptions
from grokpack.evaluation.inputs import Inputs
from grokpack.evaluation.pair import PairEvaluation, evaluate_pair
from grokpack.evaluation.thresholds import Thresholds, findings, suspects
from grokpack.models.architecture import Geometry
from tests.support.altering import (
    alter,
    copy,
    of_layer,
    permute_experts,
    permute_heads,
    set_constant,
    swap,
    with_scales,
)
from tests.support.checkpoints import reshard, synthesise
from tests.support.converting import attach, convert
from tests.support.quantizing import quantize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.core.finding import Finding

    Edit = Callable[[Path], object]

MODEL = Geometry(
    vocab=64, d_model=64, layers=2, experts=4, ffn=256, q_width=256, kv_width=128, head_dim=16
)
"""8 key heads, each in a scale group of its own of the output projection; 16 query heads."""
EMBEDDING = "language_model/in_out_embed/embeddings"
FINAL_NORM = "language_model/rms_norm/scale"
QUERY, KEY, VALUE, OUTPUT = (
    f"multi_head_attention/{name}/w" for name in ("query", "key", "value", "linear")
)
GATE, DOWN, UP = "moe/linear/w", "moe/linear_1/w", "moe/linear_v/w"
UNREACHED = 60
"""The first token that no input names."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("made") / "model", MODEL, seed=4)


@pytest.fixture
def other(model: Path, tmp_path: Path) -> Iterator[Path]:
    yield copy(model, tmp_path / "other")
    shutil.rmtree(tmp_path)


def inputs(count: int = 60) -> Inputs:
    """One sequence of any tokens below `UNREACHED`, padding left out."""
    ids = np.random.default_rng(1).integers(1, UNREACHED, count)
    return Inputs((ids,), np.append(ids[1:], -1))


def evaluated(one: Path, other: Path, count: int = 60, **options: Any) -> PairEvaluation:
    first, second = (open_checkpoint(str(path)) for path in (one, other))
    return evaluate_pair(first, second, inputs(count), EvaluateOptions(workers=1, **options))


def errors(found: PairEvaluation) -> list[Finding]:
    return [row for row in findings(found, Thresholds()) if row.severity == "error"]


def scale_by(factor: float, where: Any = ...) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[where] = (values[where].astype(np.float32) * np.float32(factor)).astype(values.dtype)

    return change


def one_code(*place: int) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[place] += 1 if values[place] < 100 else -1

    return change


def next_scale(*place: int) -> Callable[[np.ndarray], None]:
    """The next number that bfloat16 has."""

    def change(values: np.ndarray) -> None:
        values.view(np.uint16)[place] += 1

    return change


def reverse(values: np.ndarray) -> None:
    values[...] = values[::-1].copy()


def exchange(folder: Path, one: str, other: str, where: Any = ...) -> None:
    """Two weights, or parts of them, in each other's place, with their scales."""
    for ending in ("", "/scales"):
        kept: list[np.ndarray] = []

        def put(values: np.ndarray, kept: list[np.ndarray] = kept) -> None:
            before = values[where].copy()
            if kept:
                values[where] = kept[-1]
            kept.append(before)

        for name in (one, other, one):
            alter(folder, name + ending, put)


def exchange_layers(folder: Path) -> None:
    for name in (QUERY, KEY, VALUE, OUTPUT, GATE, DOWN, UP):
        exchange(folder, of_layer(0, name), of_layer(1, name))


def exchange_experts(folder: Path) -> None:
    """Without their columns of the router."""
    for name in (GATE, DOWN, UP):
        with_scales(folder, of_layer(1, name), lambda values: swap(values, 0, 2))


def exchange_heads(folder: Path, *names: str) -> None:
    """Two key heads of some projections alone."""
    for name in names:
        with_scales(
            folder,
            of_layer(1, name),
            lambda values: swap(values, np.s_[:, :16], np.s_[:, 16:32]),
        )


def edit(name: str, change: Callable[[np.ndarray], None]) -> Edit:
    return partial(alter, array=name, change=change)


def layer_edit(number: int, name: str, change: Callable[[np.ndarray], None]) -> Edit:
    return edit(of_layer(number, name), change)


CONSTANTS = {
    "rope_theta": 10_100.0,
    "attn_output_multiplier": 0.3,
    "embedding_multiplier_scale": 9.0,
    "output_multiplier_scale": 0.6,
    "attn_logit_cap": 50.0,
    "rms_norm_eps": 1e-6,
    "num_selected_experts": 1,
    "sequence_len": 4096,
    "pad_token": 3,
    "bos_token": 7,
    "eos_token": 7,
}
WRONG: dict[str, tuple[Edit, str]] = {
    "embedding rows swapped": (edit(EMBEDDING, lambda v: swap(v, 5, 9)), EMBEDDING),
    "rows that no token names": (edit(EMBEDDING, lambda v: swap(v, 61, 62)), EMBEDDING),
    "one value of the embedding": (edit(EMBEDDING, scale_by(1.0001, (7, 3))), EMBEDDING),
    "NaN that no token names": (edit(EMBEDDING, scale_by(np.nan, (UNREACHED, 3))), EMBEDDING),
    "final norm reversed": (edit(FINAL_NORM, reverse), FINAL_NORM),
    "one value of the final norm": (edit(FINAL_NORM, scale_by(1.0001, 3)), FINAL_NORM),
    "a norm 5 % off": (layer_edit(1, "rms_norm_2/scale", scale_by(1.05)), "rms_norm_2/scale"),
    "a norm's sign": (layer_edit(0, "rms_norm_3/scale", scale_by(-1)), "rms_norm_3/scale"),
    "NaN in a norm": (layer_edit(1, "rms_norm/scale", scale_by(np.nan, 3)), "rms_norm/scale"),
    "infinity in a norm": (layer_edit(1, "rms_norm_1/scale", scale_by(np.inf, 3)), "rms_norm_1"),
    "layers swapped": (exchange_layers, QUERY),
    "gate and up of one expert": (
        lambda d: exchange(d, of_layer(1, GATE), of_layer(1, UP), 2),
        GATE,
    ),
    "gate and up of a layer": (lambda d: exchange(d, of_layer(0, GATE), of_layer(0, UP)), UP),
    "a code of gate": (layer_edit(1, GATE, one_code(2, 5, 7)), GATE),
    "a code of down": (layer_edit(0, DOWN, one_code(3, 255, 63)), DOWN),
    "a code of up": (layer_edit(0, UP, one_code(0, 0, 0)), UP),
    "a code of the queries": (layer_edit(1, QUERY, one_code(5, 7)), QUERY),
    "a code of the keys": (layer_edit(0, KEY, one_code(63, 127)), KEY),
    "a code of the values": (layer_edit(1, VALUE, one_code(5, 7)), VALUE),
    "a code of the output": (layer_edit(1, OUTPUT, one_code(255, 0)), OUTPUT),
    "a scale": (layer_edit(1, f"{UP}/scales", scale_by(1.05, (2, 0, 7))), UP),
    "a scale's last bit": (layer_edit(1, f"{OUTPUT}/scales", next_scale(3, 9)), OUTPUT),
    "all scales of a weight": (layer_edit(0, f"{KEY}/scales", scale_by(1.01)), KEY),
    "columns of the router swapped": (
        layer_edit(0, "router/w", lambda v: swap(v, np.s_[:, 1], np.s_[:, 2])),
        "router/w",
    ),
    "one value of the router": (layer_edit(0, "router/w", scale_by(1.0001, (3, 2))), "router/w"),
    "experts swapped without the router": (exchange_experts, GATE),
    "key heads swapped": (lambda d: exchange_heads(d, KEY), KEY),
    "key and value heads swapped": (lambda d: exchange_heads(d, KEY, VALUE), VALUE),
    "rows of a gate swapped": (layer_edit(1, GATE, lambda v: swap(v, (2, 5), (2, 9))), GATE),
    "a column that is zero": (layer_edit(1, VALUE, scale_by(0, np.s_[:, 3])), VALUE),
    "a weight upside down": (layer_edit(1, VALUE, reverse), VALUE),
}


@pytest.mark.parametrize("key", CONSTANTS)
def test_another_constant_is_named(model: Path, other: Path, key: str) -> None:
    set_constant(other, **{key: CONSTANTS[key]})
    named = key.removesuffix("_scale").removesuffix("_token").removeprefix("num_")
    for pair in ((model, other), (other, model)):
        first = errors(evaluated(*pair))[0]
        assert first.code == "GP143"
        assert first.message.startswith({"sequence_len": "context"}.get(key, named))
        assert f"{CONSTANTS[key]:g}" in (first.expected, first.found)


def test_each_key_that_a_config_has_for_a_constant_counts(model: Path, tmp_path: Path) -> None:
    """Programs differ in the key that they read."""
    convert(model, tmp_path / "hf", "hf", dtype="f32", tokenizer="none")
    assert not errors(evaluated(model, tmp_path / "hf"))
    set_constant(tmp_path / "hf", max_attn_value=50.0)
    found = evaluated(model, tmp_path / "hf")
    assert not suspects(found)
    (row,) = errors(found)
    assert row.message.startswith("attn_logit_cap")
    assert row.found == "attn_logit_softcapping 30, max_attn_value 50"


def test_a_switch_that_both_configs_have_is_compared(model: Path, tmp_path: Path) -> None:
    convert(model, tmp_path / "hf", "hf", dtype="f32", tokenizer="none")
    shutil.copytree(tmp_path / "hf", tmp_path / "silu")
    set_constant(tmp_path / "silu", hidden_act="silu")
    (row,) = errors(evaluated(tmp_path / "hf", tmp_path / "silu"))
    assert (row.code, row.expected, row.found) == ("GP143", "'gelu_pytorch_tanh'", "'silu'")


@pytest.mark.parametrize("name", WRONG)
def test_one_difference_is_found_and_named(model: Path, other: Path, name: str) -> None:
    make, tensor = WRONG[name]
    make(other)
    for pair in ((model, other), (other, model)):
        found = errors(evaluated(*pair))
        named = [row.tensor or "" for row in found if row.code == "GP144"]
        assert any(tensor in each for each in named)


def test_a_difference_in_an_expert_that_no_token_chose_is_found(model: Path, other: Path) -> None:
    few = evaluated(model, model, 1)
    assert few.tokens == 1
    alter(other, of_layer(0, GATE), reverse)
    found = evaluated(model, other, 1)
    rows = [row for part in found.parts for row in part.weights if row.state == "beyond"]
    assert {row.expert for row in rows} == set(range(MODEL.experts))


def test_the_first_part_beyond_its_limit_is_named(model: Path, other: Path) -> None:
    """Also where every part after it errs as much."""
    for layer in range(MODEL.layers):
        alter(other, of_layer(layer, "rms_norm_3/scale"), scale_by(1.01))
    found = evaluated(model, other)
    assert [(part.name, part.layer) for part in suspects(found)] == [("experts", 0), ("experts", 1)]
    (row,) = [row for row in errors(found) if row.code == "GP141"]
    assert row.message == "layer 0, experts is the first part beyond its limit; 1 part more is"


def all_experts_turned(folder: Path) -> None:
    for layer in range(MODEL.layers):
        permute_experts(folder, layer, [2, 0, 3, 1])


def all_heads_turned(folder: Path) -> None:
    for layer in range(MODEL.layers):
        permute_heads(folder, layer, [7, 2, 1, 0, 4, 6, 5, 3])


def everything_turned(folder: Path) -> None:
    all_heads_turned(folder)
    all_experts_turned(folder)


REORDERED: dict[str, Edit] = {
    "two experts": partial(permute_experts, layer=1, order=[1, 0, 2, 3]),
    "all experts": all_experts_turned,
    "two heads": partial(permute_heads, layer=0, order=[0, 1, 3, 2, 4, 5, 6, 7]),
    "all heads": all_heads_turned,
    "heads and experts": everything_turned,
}


@pytest.mark.parametrize("name", REORDERED)
def test_another_order_of_experts_or_heads_computes_the_same(
    model: Path, other: Path, name: str
) -> None:
    REORDERED[name](other)
    for pair in ((model, other), (other, model)):
        found = findings(evaluated(*pair), Thresholds())
        assert {(row.code, row.severity) for row in found} == {("GP145", "warning")}


def test_another_order_does_not_hide_a_wrong_code(model: Path, other: Path) -> None:
    permute_experts(other, 1, [1, 0, 2, 3])
    alter(other, of_layer(1, GATE), one_code(3, 5, 7))
    alter(other, of_layer(1, KEY), one_code(5, 7))
    named = {row.tensor for row in errors(evaluated(model, other)) if row.code == "GP144"}
    assert {of_layer(1, GATE), of_layer(1, KEY)} <= named


@pytest.fixture(scope="module")
def forms(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of the model in other formats, most of which round."""
    out = tmp_path_factory.mktemp("forms")
    for name, (to, options) in CONVERTED.items():
        convert(model, out / name, to, **options)
    for name, options in QUANTISED.items():
        quantize(model, out / name, **options)
    reshard(model, out / "tp2", 2)
    return {path.name: path for path in out.iterdir() if not path.name.endswith(".json")}


CONVERTED: dict[str, tuple[str, dict[str, Any]]] = {
    "hf": ("hf", {"tokenizer": "none"}),
    "hf32": ("hf", {"dtype": "f32", "tokenizer": "none"}),
    "hf16": ("hf", {"dtype": "f16", "tokenizer": "none"}),
    "zarr": ("zarr", {}),
    "q8_0.gguf": ("gguf", {"type": "q8_0"}),
    "bf16.gguf": ("gguf", {"type": "bf16"}),
}
QUANTISED: dict[str, dict[str, Any]] = {
    "int4": {"bits": 4, "group": "32", "method": "rtn"},
    "int4-zeros": {"bits": 4, "group": "64", "method": "mse", "symmetric": False},
    "int8": {"bits": 8, "to": "w8a8-int8", "method": "mse"},
    "gptq": {"bits": 4, "to": "gptq", "group": "32", "method": "rtn"},
    "q4_0.gguf": {"bits": 4, "to": "gguf", "type": "q4_0", "tokenizer": "none", "method": "mse"},
    "ckpt-0": {"bits": 8, "to": "ckpt-0", "tp": 1},
}


@pytest.mark.parametrize("name", [*CONVERTED, *QUANTISED, "tp2"])
def test_a_copy_in_another_format_is_within_its_limits(
    model: Path, forms: dict[str, Path], name: str
) -> None:
    found = evaluated(model, forms[name])
    assert findings(found, Thresholds()) == []
    back = evaluated(forms[name], model)
    assert findings(back, Thresholds()) == []
    states = {row.state for part in found.parts for row in part.weights}
    assert states == ({"equal"} if name in ("hf32", "zarr", "tp2") else {"equal", "within"})


@pytest.mark.parametrize(
    "pair", [("int4", "hf"), ("int4-zeros", "q4_0.gguf"), ("hf16", "hf"), ("ckpt-0", "int8")]
)
def test_copies_in_other_formats_are_within_limits_of_each_other(
    forms: dict[str, Path], pair: tuple[str, str]
) -> None:
    assert findings(evaluated(forms[pair[0]], forms[pair[1]]), Thresholds()) == []


def test_a_view_is_what_it_shows(model: Path, tmp_path: Path) -> None:
    view = attach(copy(model, tmp_path / "seen"))
    assert findings(evaluated(model, view), Thresholds()) == []


@pytest.mark.parametrize("name", ["int4", "hf", "q4_0.gguf"])
def test_a_quantized_or_rounded_copy_of_another_model_is_found(
    other: Path, forms: dict[str, Path], name: str
) -> None:
    exchange(other, of_layer(0, VALUE), of_layer(1, VALUE))
    named = [row.tensor for row in errors(evaluated(other, forms[name])) if row.code == "GP144"]
    assert named == [of_layer(0, VALUE), of_layer(1, VALUE)]
    alter(other, EMBEDDING, lambda v: swap(v, 61, 62))
    assert EMBEDDING in [row.tensor for row in errors(evaluated(forms[name], other))]


def accounted(model: Path, out: Path, error: float, change: Callable[[np.ndarray], None]) -> Path:
    """A copy with other keys, and an account that says how far they are from the model's."""
    shutil.copytree(model, out)
    alter(out, of_layer(1, KEY), change)
    path = out / "grokpack.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["account"] = {"tensors": {of_layer(1, KEY): {"relative_error": error}}}
    path.write_text(json.dumps(document), encoding="utf-8")
    return out


def test_a_forged_account_excuses_no_more_than_half_a_step(model: Path, tmp_path: Path) -> None:
    forged = accounted(model, tmp_path / "forged", 1.0, one_code(5, 7))
    named = [row.tensor for row in errors(evaluated(model, forged)) if row.code == "GP144"]
    assert named == [of_layer(1, KEY)]


@pytest.mark.parametrize(("told", "code"), [(0.005, "GP144"), (0.4, None)])
def test_an_error_far_beyond_its_account_is_found(
    model: Path, tmp_path: Path, told: float, code: str | None
) -> None:
    """A search for scales may cut off the ends of a range, and says by how much all values err."""

    def clip(values: np.ndarray) -> None:
        values[...] = np.clip(values, -40, 40)

    accounted(model, tmp_path / "clipped", told, clip)
    found = findings(evaluated(model, tmp_path / "clipped"), Thresholds())
    rows = [row for row in found if row.code == "GP144"]
    assert [(row.code, row.tensor) for row in rows] == [(code, of_layer(1, KEY))] * bool(code)
    for row in rows:
        assert row.expected == f"relative error {told} by the account of its quantization"
        assert (row.found or "").startswith("relative error 0.")


def test_limits_that_are_given_replace_those_of_the_network(model: Path, other: Path) -> None:
    """Weights are held against their formats all the same."""
    set_constant(other, attn_logit_cap=31.0)
    found = evaluated(model, other)
    assert [row.code for row in findings(found, Thresholds())] == ["GP143", "GP141"]
    assert [row.code for row in findings(found, Thresholds(max_kl=10.0))] == ["GP143"]
    assert [row.code for row in findings(found, Thresholds(min_top1=1.0, max_kl=0.0))][:2] == [
        "GP143",
        "GP142",
    ]


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_same_network_is_within_the_order_of_sums(
    model: Path, forms: dict[str, Path], precision: str
) -> None:
    for other in (model, forms["hf32"]):
        assert findings(evaluated(model, other, precision=precision), Thresholds()) == []


def test_each_byte_of_either_is_read_once(model: Path, forms: dict[str, Path]) -> None:
    """All experts are, since those that no token chose are compared as well."""
    found = evaluated(model, forms["zarr"], 5)
    embedding = 4 * MODEL.vocab * MODEL.d_model
    values = sum(t.values.nbytes for t in open_checkpoint(str(model)).tensors.values())
    assert found.read_bytes <= 2 * (values + embedding)
