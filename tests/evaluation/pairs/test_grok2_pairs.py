"""`evaluate --against` tells Grok-2s that differ in one thing from copies in any format."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.evaluation.config_comparison import differences
from grokpack.evaluation.input_tokens import Inputs
from grokpack.evaluation.network_verdict import Thresholds, findings
from grokpack.evaluation.pair_evaluation import PairEvaluation, evaluate_pair
from grokpack.execution.run import execute
from tests.support.altered_copies import set_constant
from tests.support.grok2 import RELEASE, flip_bit, prompts
from tests.support.reference_network import logits

if TYPE_CHECKING:
    from grokpack.core.finding import Finding
    from grokpack.planning.plan import Plan


def evaluated(one: Path, other: Path) -> PairEvaluation:
    tokens = prompts()[2][:20]  # one of them has id 0
    first, second = (open_checkpoint(str(path)) for path in (one, other))
    return evaluate_pair(first, second, Inputs((tokens,), np.full(len(tokens), -1)))


def errors(one: Path, other: Path) -> list[Finding]:
    found = findings(evaluated(one, other), Thresholds())
    return [row for row in found if row.severity == "error"]


def plan(form: str) -> Plan:
    source = open_checkpoint(str(RELEASE))
    match form:
        case "sglang":
            return plan_reshard(source, 2)
        case "safetensors":
            return plan_reshard(source, 4, "safetensors")
        case "gguf":
            return plan_convert(source, "gguf", ConvertOptions(type="bf16"))
        case _:
            return plan_convert(source, form)


FORMATS = ("hf", "sglang", "safetensors", "zarr", "gguf")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of the release in other formats and widths, all of them exact."""
    folder = tmp_path_factory.mktemp("forms")
    paths = {form: folder / f"out.{form}" for form in FORMATS}
    for form, path in paths.items():
        execute(plan(form), str(path))
    return paths


@pytest.mark.parametrize("form", FORMATS)
def test_any_format_computes_the_same(forms: dict[str, Path], form: str) -> None:
    """Up to the order of sums, in which matrices of another shape are multiplied."""
    some = prompts()[:1]
    found, wanted = logits(forms[form], some), logits(RELEASE, some)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("one", "other"),
    [*(("release", form) for form in FORMATS), ("gguf", "hf"), ("zarr", "sglang")],
)
def test_copies_are_equal_in_every_value(forms: dict[str, Path], one: str, other: str) -> None:
    paths = forms | {"release": RELEASE}
    found = evaluated(paths[one], paths[other])
    assert findings(found, Thresholds()) == []
    rows = [row for part in found.parts for row in part.weights]
    assert {row.state for row in rows} == {"equal"}
    assert {row.name for row in rows} == set(open_checkpoint(str(RELEASE)).tensors)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RELEASE, tmp_path / "copy"))


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.norm.weight",
        "model.layers.1.mlp.gate_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.2.mlp.up_proj.weight",
        "model.layers.1.block_sparse_moe.experts.5.w1.weight",
        "model.layers.2.block_sparse_moe.experts.7.w2.weight",
        "model.layers.0.block_sparse_moe.experts.0.w3.weight",
        "model.layers.1.block_sparse_moe.gate.weight",
        "model.layers.2.self_attn.o_proj.weight",
        "model.layers.0.pre_attn_norm.weight",
        "model.layers.2.post_moe_norm.weight",
    ],
)
def test_one_wrong_value_is_found_and_named(
    copied: Path, forms: dict[str, Path], name: str
) -> None:
    flip_bit(copied, name)
    named = [row.tensor for row in errors(copied, forms["hf"]) if row.code == "GP144"]
    assert named == [re.sub(r"experts\.\d+", "experts", name)]


CONSTANTS: dict[str, Any] = {
    "embedding_multiplier_scale": 11,
    "output_multiplier_scale": 0.6,
    "attn_logit_softcapping": 31,
    "router_logit_softcapping": 0,
    "final_logit_softcapping": 30,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000,
    "attn_temperature_len": 17,
    "num_experts_per_tok": 3,
    "tie_word_embeddings": True,
    "residual_moe": False,
    "rope_type": "yarn",
    "sliding_window_size": 4096,
}


@pytest.mark.parametrize("key", CONSTANTS)
def test_another_constant_is_named(copied: Path, key: str) -> None:
    set_constant(copied, **{key: CONSTANTS[key]})
    (row,) = (row for row in errors(RELEASE, copied) if row.code == "GP143")
    assert row.found == f"{CONSTANTS[key]!r}"


def test_a_token_id_of_a_config_is_held_against_tokenizers(copied: Path) -> None:
    set_constant(copied, eos_token_id=7)
    (row,) = differences(*(open_checkpoint(str(path)) for path in (RELEASE, copied)))
    assert (row.message, row.expected, row.found) == (
        "eos token is not the same in both",
        "2",
        "2, 7",
    )


@pytest.mark.parametrize("form", [None, "hf", "gguf"])
def test_a_token_that_the_family_does_not_have_is_found_in_one_config(
    copied: Path, forms: dict[str, Path], form: str | None
) -> None:
    other = RELEASE if form is None else forms[form]
    set_constant(copied, bos_token_id=1)
    (row,) = differences(*(open_checkpoint(str(path)) for path in (other, copied)))
    assert (row.message, row.expected, row.found) == (
        "bos token is not the same in both",
        "none",
        "1",
    )


@pytest.mark.parametrize("none", [-1, None])
def test_a_config_that_says_that_it_has_no_such_token_is_like_one_that_says_nothing(
    copied: Path, none: int | None
) -> None:
    set_constant(copied, bos_token_id=none)
    assert differences(*(open_checkpoint(str(path)) for path in (RELEASE, copied))) == []


SYNONYMS: dict[str, Any] = {
    "rope_type": "default",
    "sliding_window_size": 0,
    "rope_parameters": {"rope_theta": 208533496, "rope_type": "default"},
}


@pytest.mark.parametrize("key", SYNONYMS)
def test_another_spelling_of_a_constant_is_no_difference(copied: Path, key: str) -> None:
    set_constant(copied, **{key: SYNONYMS[key]})
    first, second = (open_checkpoint(str(path)) for path in (RELEASE, copied))
    assert differences(first, second) == []


def exchange_tokens(folder: Path, kind: str, one: int, other: int) -> None:
    """Two tokens with each other's id."""
    path = folder / "tokenizer.tok.json"
    table = json.loads(path.read_text())
    rows = table[kind]
    rows[one]["token"], rows[other]["token"] = rows[other]["token"], rows[one]["token"]
    path.write_text(json.dumps(table))


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_exchanged_pieces_are_found(copied: Path, forms: dict[str, Path], form: str) -> None:
    exchange_tokens(copied, "regular_tokens", 300, 301)
    row, *more = differences(*(open_checkpoint(str(path)) for path in (forms[form], copied)))
    assert not more
    assert row.message == "token 316, the first of 2 pieces, is not the same in both"


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_ids_of_special_tokens_are_compared(
    copied: Path, forms: dict[str, Path], form: str
) -> None:
    exchange_tokens(copied, "special_tokens", 0, 2)
    rows = differences(*(open_checkpoint(str(path)) for path in (copied, forms[form])))
    assert [row.message for row in rows] == [
        "eos token is not the same in both",
        "padding token is not the same in both",
        "token 0, the first of 2 pieces, is not the same in both",
    ]


@pytest.mark.parametrize("use", ["eos", "eot", "padding"])
def test_a_token_id_in_a_gguf_is_compared(tmp_path: Path, forms: dict[str, Path], use: str) -> None:
    data = bytearray(forms["gguf"].read_bytes())
    key = f"tokenizer.ggml.{use}_token_id".encode()
    data[data.index(key) + len(key) + 4] ^= 8
    (tmp_path / "out.gguf").write_bytes(data)
    row, *more = differences(
        *(open_checkpoint(str(path)) for path in (RELEASE, tmp_path / "out.gguf"))
    )
    assert not more
    assert (row.code, row.message) == ("GP143", f"{use} token is not the same in both")


def test_other_tensors_in_each_others_place_are_found(copied: Path) -> None:
    """Two files of ranks, exchanged: the headers are alike."""
    one, other = (copied / f"pytorch_model-00006-TP-{rank}.safetensors" for rank in ("002", "005"))
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)
    named = {row.tensor for row in errors(RELEASE, copied) if row.code == "GP144"}
    assert named == {
        f"model.layers.{layer}.block_sparse_moe.experts.w1.weight" for layer in range(3)
    }
