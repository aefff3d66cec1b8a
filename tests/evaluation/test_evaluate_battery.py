"""The pairs of `test_evaluate_pairs`, of a larger network: differing and equal ones."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from grokpack.evaluation.network_verdict import Thresholds, findings
from grokpack.models.architecture import Geometry
from tests.support.altered_copies import copy, set_constant
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert
from tests.support.evaluated_pairs import (
    CONSTANTS,
    CONVERTED,
    QUANTIZED,
    REORDERED,
    WRONG,
    errors,
    evaluated,
)
from tests.support.quantized_checkpoints import quantize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
LARGE = Geometry(
    vocab=64, d_model=256, layers=2, experts=4, ffn=1024, q_width=512, kv_width=128, head_dim=16
)
"""The same heads and experts as there, in matrices sixteen times as large."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", LARGE, seed=9)


@pytest.fixture
def other(model: Path, tmp_path: Path) -> Iterator[Path]:
    yield copy(model, tmp_path / "other")
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("key", CONSTANTS)
def test_another_constant_is_found(model: Path, other: Path, key: str) -> None:
    set_constant(other, **{key: CONSTANTS[key]})
    assert errors(evaluated(model, other, 20))[0].code == "GP143"


@pytest.mark.parametrize("name", WRONG)
def test_one_difference_is_found(model: Path, other: Path, name: str) -> None:
    make, tensor = WRONG[name]
    make(other)
    found = errors(evaluated(model, other, 20))
    assert any(tensor in (row.tensor or "") for row in found if row.code == "GP144")


@pytest.mark.parametrize("name", REORDERED)
def test_another_order_is_no_difference(model: Path, other: Path, name: str) -> None:
    REORDERED[name](other)
    found = findings(evaluated(model, other, 20), Thresholds())
    assert {row.severity for row in found} == {"warning"}


@pytest.mark.parametrize("name", [*CONVERTED, *QUANTIZED])
def test_another_format_is_no_difference(model: Path, tmp_path: Path, name: str) -> None:
    if name in CONVERTED:
        to, options = CONVERTED[name]
        convert(model, tmp_path / name, to, **options)
    else:
        quantize(model, tmp_path / name, **QUANTIZED[name])
    assert findings(evaluated(model, tmp_path / name, 20), Thresholds()) == []
