"""Experts and heads in another order are compared as values, each with its counterpart.

One wrong code is too little to show in what a large network computes.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest

from grokpack.evaluation.network_verdict import Thresholds, findings
from grokpack.models.architecture import Geometry
from tests.support.altered_copies import alter, copy, of_layer, permute_experts, permute_heads
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert
from tests.support.evaluated_pairs import (
    DOWN,
    GATE,
    KEY,
    OUTPUT,
    QUERY,
    UP,
    VALUE,
    errors,
    evaluated,
    one_code,
)
from tests.support.quantized_checkpoints import quantize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

    from grokpack.core.finding import Finding
    from grokpack.evaluation.pair_evaluation import PairEvaluation

WIDE = Geometry(
    vocab=64, d_model=256, layers=1, experts=4, ffn=1024, q_width=512, kv_width=256, head_dim=32
)
EXPERTS = [3, 0, 2, 1]
HEADS = [1, 0, 2, 3, 7, 5, 6, 4]


def weight_errors(found: PairEvaluation) -> list[Finding]:
    return [row for row in errors(found) if row.code == "GP144"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "wide", WIDE, seed=7)


@pytest.fixture(scope="module")
def transposed(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All experts and heads in another order."""
    out = copy(wide, tmp_path_factory.mktemp("made") / "turned")
    permute_experts(out, 0, EXPERTS)
    permute_heads(out, 0, HEADS)
    return out


@pytest.fixture
def other(transposed: Path, tmp_path: Path) -> Iterator[Path]:
    yield copy(transposed, tmp_path / "other")
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (GATE, (0, 5, 7)),
        (UP, (1, 100, 1000)),
        (DOWN, (3, 1023, 255)),
        (QUERY, (200, 500)),
        (KEY, (3, 9)),
        (VALUE, (255, 64)),
        (OUTPUT, (511, 0)),
    ],
)
def test_one_wrong_code_among_what_was_reordered_is_found(
    wide: Path, other: Path, name: str, place: tuple[int, ...]
) -> None:
    alter(other, of_layer(0, name), one_code(*place))
    (row,) = weight_errors(evaluated(wide, other, 20))
    assert row.tensor == of_layer(0, name)
    assert (row.found or "").startswith("1 of ")


def test_the_place_is_that_of_the_first(wide: Path, other: Path) -> None:
    alter(other, of_layer(0, GATE), one_code(0, 5, 7))
    (row,) = weight_errors(evaluated(wide, other, 20))
    assert f"of expert {EXPERTS[0]} are not, the first at [{EXPERTS[0]}, 5, 7]" in (row.found or "")


@pytest.mark.parametrize("name", ["hf", "int4", "q8_0.gguf"])
def test_a_reordered_copy_in_another_format_is_held_against_its_format(
    wide: Path, other: Path, tmp_path: Path, name: str
) -> None:
    makers: dict[str, Callable[..., object]] = {
        "hf": partial(convert, to="hf", tokenizer="none"),
        "int4": partial(quantize, bits=4, group="32", method="rtn"),
        "q8_0.gguf": partial(convert, to="gguf", type="q8_0"),
    }
    make = makers[name]
    make(other, tmp_path / "good" / name)
    found = findings(evaluated(wide, tmp_path / "good" / name, 20), Thresholds())
    assert {(row.code, row.severity) for row in found} == {("GP145", "warning")}
    alter(other, of_layer(0, VALUE), lambda values: _move(values, 90))
    make(other, tmp_path / "bad" / name)
    (row,) = weight_errors(evaluated(wide, tmp_path / "bad" / name, 20))
    assert row.tensor == of_layer(0, VALUE)


def _move(values: np.ndarray, by: int) -> None:
    values[5, 7] += by if values[5, 7] < 0 else -by


def test_experts_that_no_token_chose_are_compared_in_their_order(
    wide: Path, transposed: Path
) -> None:
    found = findings(evaluated(wide, transposed, 1), Thresholds())
    experts = [row for row in found if row.tensor and "/moe/" in row.tensor]
    assert {(row.code, row.severity) for row in experts} == {("GP145", "warning")}
