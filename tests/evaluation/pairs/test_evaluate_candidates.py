"""Several candidates against one reference: each as alone, and the reference computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.evaluation.candidate_evaluation import CandidatesEvaluation, evaluate_candidates
from grokpack.evaluation.evaluation_options import EvaluateOptions
from grokpack.evaluation.network.forward_pass import Network
from grokpack.evaluation.single_evaluation import evaluate
from tests.report.test_schemas import answer
from tests.support.altered_copies import alter, copy, of_layer, permute_experts, set_constant
from tests.support.conversions import convert
from tests.support.evaluated_pairs import evaluated, inputs, one_code
from tests.support.quantized_checkpoints import quantize


@pytest.fixture(scope="module")
def candidates(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies that lose nothing, little and much."""
    out = tmp_path_factory.mktemp("candidates")
    convert(model, out / "exact", "hf", dtype="f32", tokenizer="none")
    quantize(model, out / "int8", bits=8, to="compressed-tensors", group="32", method="rtn")
    quantize(model, out / "int4", bits=4, group="64", method="rtn")
    return {path.name: path for path in (out / "exact", out / "int8", out / "int4")}


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ids") / "ids.npy"
    np.save(path, inputs().sequences[0])
    return path


def compared(model: Path, *others: Path) -> CandidatesEvaluation:
    opened = [open_checkpoint(str(path)) for path in (model, *others)]
    return evaluate_candidates(opened[0], opened[1:], inputs(), EvaluateOptions(workers=1))


def test_each_is_as_far_from_the_reference_as_alone(
    model: Path, candidates: dict[str, Path]
) -> None:
    found = compared(model, *candidates.values())
    assert [row.place for row in found.candidates] == [str(path) for path in candidates.values()]
    for row in found.candidates:
        alone = evaluated(model, Path(row.place))
        np.testing.assert_allclose(row.kl, alone.kl, atol=1e-6)
        assert (row.top1, row.top8) == (alone.top1, alone.top8)
        assert row.most_flips == alone.most_flips
        assert row.least_cosine == pytest.approx(alone.least_cosine, abs=1e-6)
        for distance, layer in zip(row.layers, alone.layers, strict=True):
            assert distance.stream == pytest.approx(layer.stream, rel=1e-3, abs=1e-6)
        assert row.loss.mean == pytest.approx(alone.second.mean)
        assert found.loss.mean == pytest.approx(alone.first.mean)


def test_weights_are_compared_as_alone(model: Path, candidates: dict[str, Path]) -> None:
    found = compared(model, *candidates.values())
    for row in found.candidates:
        parts = evaluated(model, Path(row.place)).parts
        alone = {(own.name, own.expert): own for part in parts for own in part.weights}
        assert len(row.weights) == len(alone)
        for own in row.weights:
            other = alone[own.name, own.expert]
            assert (own.state, own.expected, own.elements, own.differing, own.largest) == (
                (other.state, other.expected, other.elements, other.differing, other.largest)
            )
            assert own.relative == pytest.approx(other.relative, rel=1e-6)


def test_a_wrong_code_and_another_order_are_found_where_they_are(
    model: Path, candidates: dict[str, Path], ids: Path, tmp_path: Path
) -> None:
    wrong, turned = (copy(model, tmp_path / name) for name in ("wrong", "turned"))
    name = of_layer(1, "moe/linear_v/w")
    alter(wrong, name, one_code(2, 5, 7))
    permute_experts(turned, 1, [1, 0, 2, 3])
    arguments: list[str | Path] = ["evaluate", model, "--tokens", ids]
    for path in (candidates["int4"], wrong, turned):
        arguments += ["--against", path]
    found = answer(*arguments)
    rows = found["data"]["candidates"]
    assert [row["beyond"] for row in rows] == [False, True, False]
    assert [row["weights"]["beyond"] for row in rows] == [0, 1, 0]
    assert rows[2]["weights"]["otherwise"] > 0
    errors = [row for row in found["findings"] if row["severity"] == "error"]
    assert [(row["code"], row["file"]) for row in errors] == [("GP144", str(wrong / "ckpt-0"))]
    others = {(row["code"], row["file"]) for row in found["findings"] if row not in errors}
    assert others == {("GP145", str(turned / "ckpt-0"))}
    assert (found["status"], found["exit_code"]) == ("beyond", 1)


def test_sizes_are_those_of_the_files(model: Path, candidates: dict[str, Path]) -> None:
    found = compared(model, *candidates.values())
    parameters = open_checkpoint(str(model)).model.parameters().total
    for size, folder in zip(
        [found.size, *(row.size for row in found.candidates)],
        [model / "ckpt-0", *candidates.values()],
        strict=True,
    ):
        files = [*folder.glob("*.safetensors"), *folder.glob("tensor*")]
        assert size.nbytes == sum(path.stat().st_size for path in files)
        assert size.bits == 8 * size.nbytes / parameters


def test_every_network_is_computed_once(
    model: Path, candidates: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Network.products
    stepped: list[tuple[str, int]] = []

    def noted(self: Network, number: int, *rest: Any) -> Any:
        stepped.append((self.stream.checkpoint.folder, number))
        return honest(self, number, *rest)

    folders = [model, *candidates.values()]
    with monkeypatch.context() as patch:
        patch.setattr(Network, "products", noted)
        found = compared(*folders)
    assert len(stepped) == len(set(stepped)) == 4 * len(found.candidates[0].layers)
    options = EvaluateOptions(workers=1)
    reads = [evaluate(open_checkpoint(str(path)), inputs(), options).read_bytes for path in folders]
    assert found.read_bytes == sum(reads)


@pytest.mark.parametrize(
    ("limit", "key"),
    [
        ("--max-kl", "kl"),
        ("--min-top1", "top1"),
        ("--max-router-flips", "router_flips"),
        ("--min-layer-cosine", "layer_cosine"),
    ],
)
def test_limits_hold_for_each(
    model: Path, candidates: dict[str, Path], ids: Path, limit: str, key: str
) -> None:
    """With a limit that eight bits keep, and four do not."""
    arguments: list[str | Path] = ["evaluate", model, "--tokens", ids]
    for path in candidates.values():
        arguments += ["--against", path]
    rows = answer(*arguments)["data"]["candidates"]
    figures = [row["kl"]["mean"] if key == "kl" else row[key] for row in rows]
    found = answer(*arguments, limit, str((figures[1] + figures[2]) / 2))
    assert [row["beyond"] for row in found["data"]["candidates"]] == [False, False, True]
    assert (found["status"], found["exit_code"]) == ("beyond", 1)
    assert [(row["code"], row["file"]) for row in found["findings"]] == [
        ("GP142", str(candidates["int4"]))
    ]
    assert answer(*arguments, "--max-kl", "9")["status"] == "within"


def test_another_config_is_beyond_without_limits(
    model: Path, candidates: dict[str, Path], ids: Path, tmp_path: Path
) -> None:
    other = copy(model, tmp_path / "other")
    arguments: list[str | Path] = ["evaluate", model, "--tokens", ids, "--against"]
    arguments += [candidates["exact"], "--against"]
    assert answer(*arguments, other)["status"] == "ok"
    set_constant(other, attn_logit_cap=31.0)
    found = answer(*arguments, other)
    assert (found["status"], found["exit_code"]) == ("beyond", 1)
    assert [(row["code"], row["file"]) for row in found["findings"]] == [
        ("GP143", str(other / "ckpt-0"))
    ]
    assert found["data"]["against"] is None
