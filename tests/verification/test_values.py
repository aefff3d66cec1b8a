"""Statistics of whole checkpoints: independent of every cut; bad scales are named with place."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from grokpack.checkpoint import summary
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.kernels import dispatch
from grokpack.verification.value_locations import ValueLocations, describe_index
from grokpack.verification.value_statistics import CountingSizes
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import statistics, verify_values
from tests.support.checkpoints import GOLDEN, reshard, synthesize
from tests.support.conversions import WIDE
from tests.support.forked import run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(synthesize(tmp_path_factory.mktemp("made") / "model", WIDE))


@cache
def counted(model: str, cuts: CountingSizes) -> str:
    layer = ("moe/linear_1", "multi_head_attention", "router")
    few = [*(f"decoder_layer_0/{part}" for part in layer), "embeddings"]
    return json.dumps(statistics(open_checkpoint(model), few, cuts=cuts))


@given(st.integers(500, 1 << 14), st.integers(500, 1 << 16), st.integers(1, 3))
@settings(max_examples=12, phases=[Phase.generate])  # shrinking would count for minutes
def test_no_figure_depends_on_a_cut(model: str, step: int, slab: int, workers: int) -> None:
    assert counted(model, CountingSizes(step, slab, workers)) == counted(model, CountingSizes())


@pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
def test_no_figure_depends_on_the_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for implementation in ("numpy", "numba"):
        monkeypatch.setenv(dispatch.VARIABLE, implementation)
        results.append(statistics(open_checkpoint(str(GOLDEN))))
    assert results[0] == results[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return synthesize(tmp_path / "model") / "ckpt-0"


def test_no_figure_of_values_depends_on_how_scales_are_stored(folder: Path, tmp_path: Path) -> None:
    reshard(folder, tmp_path / "wide", 2, "ckpt-0", scales="expanded")
    plain, wide = (statistics(open_checkpoint(str(place))) for place in (folder, tmp_path / "wide"))
    for row in plain + wide:
        row["scales"] = None
    assert plain == wide


def spoil_scales(folder: Path, values: list[float]) -> str:
    """Let the last scales of the sixth tensor be these, and return its name."""
    checkpoint = open_checkpoint(str(folder))
    name = list(checkpoint.tensors)[5]
    (piece,) = checkpoint.layout.pieces()[f"{name}/scales"]
    data = np.array(values, ml_dtypes.bfloat16).tobytes()
    with (folder / piece.extent.path).open("r+b") as handle:
        handle.seek(piece.extent.offset + piece.extent.nbytes - len(data))
        handle.write(data)
    return name


def test_bad_scales_are_named_with_their_places(folder: Path) -> None:
    name = spoil_scales(folder, [np.nan, 0, -1, -2, np.inf])
    scales = open_checkpoint(str(folder)).tensors[name].scales
    assert scales is not None
    *lead, columns = scales.shape
    verdict = verify_values(verify_structure(survey(str(folder))))
    found = {(f.code, f.found) for f in verdict.findings if f.code.startswith("GP12")}

    def at(*from_end: int) -> str:
        before = [n - 1 for n in lead]
        return "; ".join(describe_index((*before, columns - i), scales=True) for i in from_end)

    assert found == {
        ("GP120", f"1 scales: {at(5)}"),
        ("GP122", f"1 scales: {at(4)}"),
        ("GP122", f"2 scales: {at(3, 2)}"),
        ("GP121", f"1 scales +infinite: {at(1)}"),
    }
    assert {f.file for f in verdict.findings} == {"tensor00005_000"}


def test_bad_scales_are_in_the_summary_and_leave_the_figures_finite(folder: Path) -> None:
    name = spoil_scales(folder, [np.nan, 3e38, -np.inf])
    (row,) = statistics(open_checkpoint(str(folder)), [name])
    assert row["undefined"] > 0
    assert np.isfinite([row["min"], row["max"], row["rms"]]).all()
    assert row["absmax"] > 3e38
    scales = row["scales"]
    assert scales is not None
    assert (scales["nan"], scales["neginf"], scales["posinf"]) == (1, 1, 0)
    assert set(scales["places"]) == {"nan", "neginf"}


def test_only_the_first_few_places_are_kept() -> None:
    locations = ValueLocations()
    locations.search(np.zeros((2, 3), np.float32), (5, 0), {"zero": 6, "nan": 0})
    assert locations.found == {"zero": [(5, 0), (5, 1), (5, 2)]}
    later = ValueLocations({"zero": [(9, 9)], "nan": [(9, 8)]})
    locations.merge(later)
    assert locations.found == {"zero": [(5, 0), (5, 1), (5, 2)], "nan": [(9, 8)]}


def test_tensors_with_missing_parts_are_left_out(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "ranks"
    reshard(folder, out, 2)
    next((out / "rank-001-of-002").glob("*.safetensors")).unlink()
    checkpoint = survey(str(out)).checkpoint
    assert checkpoint is not None
    rows = statistics(checkpoint)
    assert 0 < len(rows) < len(checkpoint.tensors)
    done = run("inspect", out, "--stats")
    absent = len(checkpoint.tensors) - len(rows)
    assert f"{absent} tensors not read: parts of them are missing" in done.stdout


def test_the_page_on_a_tensor_has_edges_and_fits_a_terminal(folder: Path) -> None:
    done = run("inspect", folder, "moe/linear/w", "--stats", "--progress", "none")
    assert done.returncode == 0, done.stderr
    assert "   0 ..   15" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_an_unknown_implementation_is_a_usage_error(folder: Path) -> None:
    done = run("inspect", folder, "--stats", GROKPACK_KERNELS="fast")
    assert done.returncode == 2
    assert "GP308" in done.stderr


def test_an_opened_checkpoint_is_verified_as_its_survey_is(tmp_path: Path) -> None:
    source = open_checkpoint(str(synthesize(tmp_path / "m")))
    assert verify_structure(source) == verify_structure(survey(source.place))
    verdict = verify_values(source)
    assert verdict.checks["values"] == "ok"
    checks = "structure ok, contents skipped, values ok"
    assert repr(verdict) == f"<Verdict {source.place}: whole; {checks}; 0 findings>"
    assert summary.document(source) == summary.document(survey(source.place))
