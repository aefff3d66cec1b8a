"""Names mean the same tensors in every command."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.checkpoint.summary import describe_tensors
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_synth import plan_synth
from grokpack.conversion.quantization import policy
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.models import tensor_patterns
from grokpack.models.grok1 import GROK1
from tests.support.fuzzing import TINY

ENTRIES = GROK1.tensors(12)
NAMES = [entry.name for entry in ENTRIES]


def chosen(pattern: str) -> list[str]:
    return [entry.name for entry in tensor_patterns.select(ENTRIES, pattern)]


def test_a_word_of_a_name_is_a_whole_word() -> None:
    assert {name.split("/")[1] for name in chosen("decoder_layer_1")} == {"decoder_layer_1"}
    assert len(chosen("decoder_layer_1")) == len(ENTRIES) // 12
    assert chosen("decoder_layer_1/") == chosen("transformer/decoder_layer_1")
    assert all("/linear/" in name for name in chosen("linear"))
    assert {name.split("/")[1] for name in chosen("decoder_layer_1?")} == {
        "decoder_layer_10",
        "decoder_layer_11",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_name_is_one_tensor(name: str) -> None:
    assert chosen(name) == [name]


@pytest.mark.parametrize(
    ("pattern", "role"),
    [("experts", "expert"), ("expert", "expert"), ("attention", "attention"), ("norms", "norm"),
     ("router", "router"), ("embedding", "embedding")],
)  # fmt: skip
def test_a_part_of_the_model_is_all_its_tensors(pattern: str, role: str) -> None:
    assert chosen(pattern) == [entry.name for entry in ENTRIES if entry.rule.role == role]


@pytest.mark.parametrize("pattern", ["", "/", "liner", "decoder_layer", "Router", "[", "linear_"])
def test_what_fits_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(GrokpackError) as caught:
        chosen(pattern)
    assert caught.value.code == "GP216"


def test_the_error_offers_what_was_meant() -> None:
    with pytest.raises(GrokpackError) as caught:
        chosen("decoder_layer_0/moe/liner_1/w")
    assert ("nearest", "decoder_layer_0/moe/linear_1/w") in caught.value.facts


WORDS = sorted({word for name in NAMES for word in name.split("/")})
words = st.sampled_from([*WORDS, "*", "w*"])
patterns = st.lists(words, min_size=1, max_size=4).map("/".join) | st.sampled_from(
    ["experts", "attention", "*/moe/linear_1/w", "*_v/*", "*[37]/*", "w"]
)


@given(patterns)
def test_keeping_and_policies_take_what_inspecting_shows(pattern: str) -> None:
    shown = [entry for entry in ENTRIES if tensor_patterns.matches(entry, pattern)]
    kept = [entry for entry in ENTRIES if policy.keep(pattern).takes(entry)]
    ruled = [e for e in ENTRIES if policy.PolicyRule(None, pattern, None, {"bits": 8}).takes(e)]
    assert shown == kept == ruled
    fitting = {name for name in NAMES if fnmatch.fnmatchcase(name, pattern)}
    assert fitting <= {entry.name for entry in shown}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> str:
    from dataclasses import replace

    out = tmp_path_factory.mktemp("twelve") / "model"
    execute(plan_synth(replace(TINY, layers=12)), str(out))
    return str(out)


def test_quantize_keeps_the_layer_that_inspect_shows(origin: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(origin)
    shown = {view["name"] for view in describe_tensors(checkpoint, ["decoder_layer_1"])}
    assert len(shown) == 12
    file = tmp_path / "policy.toml"
    file.write_text('[[tensors]]\nname = "decoder_layer_1"\nbits = 16\n', encoding="utf-8")
    for options in (QuantizeOptions(keep=("decoder_layer_1",), group="32"),
                    QuantizeOptions(policy=str(file), group="32")):  # fmt: skip
        notes = " ".join(plan_quantize(checkpoint, options).target.notes)
        matrices = 3 * TINY.experts
        assert f"expert kept in bf16: {matrices} matrices" in notes
        assert "attention kept in bf16: 4 matrices" in notes


@pytest.mark.parametrize("where", ["keep", "policy"])
def test_quantize_refuses_a_name_that_fits_nothing(origin: str, tmp_path: Path, where: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[[tensors]]\nname = "decoder_layer_12"\nbits = 8\n', encoding="utf-8")
    given = (
        QuantizeOptions(keep=("decoder_layer_12",))
        if where == "keep"
        else QuantizeOptions(policy=str(file))
    )
    with pytest.raises(GrokpackError) as caught:
        plan_quantize(open_checkpoint(origin), given)
    assert caught.value.code == "GP216"
    assert ("nearest", "decoder_layer_1") in caught.value.facts
