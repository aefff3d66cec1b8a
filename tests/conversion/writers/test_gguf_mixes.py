"""llama.cpp's mixes: what llama-quantize chooses for models of both families, read off its code."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from grokpack.conversion.writers.gguf_mixes import mixed_type
from grokpack.core.ggml_types import MIXES
from grokpack.models.family import Model
from grokpack.models.grok1 import GROK1
from grokpack.models.grok2 import GROK2

if TYPE_CHECKING:
    from grokpack.models.family import Family

MORE = {*range(8), *range(10, 56, 3), *range(56, 64)}
"""Of 64 layers: the first and last eighth, and every third between."""
Row = str | tuple[str, set[int], str]
OF_BOTH: dict[str, dict[str, Row]] = {
    "q2_k": {"most": "q2_k", "down": "q3_k", "output": "q5_k"},
    "q3_k_s": {"most": "q3_k", "down": "q3_k", "output": "q5_k"},
    "q3_k_m": {"most": "q3_k", "down": ("q4_k", set(range(4)), "q5_k"), "output": "q5_k"},
    "q3_k_l": {"most": "q3_k", "down": "q5_k", "output": "q3_k"},
    "q4_k_s": {"most": "q4_k", "down": ("q4_k", set(range(8)), "q5_k"), "output": "q5_k"},
    "q4_k_m": {"most": "q4_k", "down": ("q4_k", MORE, "q6_k"), "output": "q5_k"},
    "q5_k_s": {"most": "q5_k", "down": "q5_k", "output": "q5_k"},
    "q5_k_m": {"most": "q5_k", "down": ("q5_k", MORE, "q6_k"), "output": "q5_k"},
    "q6_k": {"most": "q6_k", "down": "q6_k", "output": "q6_k"},
}
"""Types by mix; where layers differ: the type of most, which differ, and theirs."""


def chosen(family: Family, mix: str, **dimensions: int) -> dict[tuple[str, int | None], str]:
    model = Model(family, replace(family.release, **dimensions))
    entries = [e for e in model.tensors() if e.rule.quantized or e.rule.by_token]
    return {(e.rule.part, e.layer): mixed_type(MIXES[mix], e, model).word for e in entries}


@pytest.mark.parametrize("family", [GROK1, GROK2], ids=["grok-1", "grok-2"])
@pytest.mark.parametrize("mix", OF_BOTH)
def test_the_releases_get_what_llama_quantize_gives_them(family: Family, mix: str) -> None:
    table = OF_BOTH[mix]
    assert table.keys() == {"most", "down", "output"}
    for (part, layer), kind in chosen(family, mix).items():
        row: Row = table["most"]
        if part in ("key", "value"):
            row = "q8_0"
        elif part == "head" or (part == "embedding" and family is GROK1):
            row = "q6_k"
        elif part.endswith("_down"):
            row = table["down"]
        elif part == "attention_output":
            row = table["output"]
        if isinstance(row, tuple):
            row = row[2] if layer in row[1] else row[0]
        assert kind == row, (part, layer)


@pytest.mark.parametrize("family", [GROK1, GROK2], ids=["grok-1", "grok-2"])
def test_four_bit_floats_are_for_experts_alone(family: Family) -> None:
    for (part, _), kind in chosen(family, "mxfp4").items():
        assert kind == ("mxfp4" if part.startswith("expert") else "q8_0"), part


@pytest.mark.parametrize(
    ("mix", "values", "outputs"),
    [
        ("q2_k", {"q4_k": 64}, {"q3_k": 64}),
        ("q3_k_m", {"q5_k": 2, "q4_k": 62}, {"q4_k": 64}),
        ("q3_k_l", {"q5_k": 64}, {"q5_k": 64}),
        ("q4_k_s", {"q5_k": 4, "q4_k": 60}, {"q4_k": 64}),
        ("q4_k_m", {"q6_k": 32, "q4_k": 32}, {"q4_k": 64}),
        ("q5_k_m", {"q6_k": 32, "q5_k": 32}, {"q5_k": 64}),
    ],
)
def test_models_of_other_than_eight_experts_spend_bits_otherwise(
    mix: str, values: dict[str, int], outputs: dict[str, int]
) -> None:
    found = chosen(GROK1, mix, experts=4)
    for part, wanted in (("value", values), ("attention_output", outputs)):
        assert Counter(kind for (own, _), kind in found.items() if own == part) == wanted


def test_rows_that_256_does_not_divide_get_types_of_32() -> None:
    narrow = {"d_model": 96, "layers": 1, "experts": 2, "ffn": 144}
    found = {mix: chosen(GROK1, mix, **narrow) for mix in MIXES}
    assert {found[mix]["embedding", None] for mix in MIXES} == {"q8_0"}
    queries = [found[mix]["query", 0] for mix in MIXES]
    assert queries == [*["q4_0"] * 4, *["q5_0"] * 2, *["q5_1"] * 2, "q8_0", "q8_0"]
    assert {found[mix]["expert_down", 0] for mix in MIXES} == {"f16"}
