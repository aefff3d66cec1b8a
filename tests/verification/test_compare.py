"""`diff` says what two checkpoints' weights have in common, whatever their formats."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.app import app
from grokpack.verification import compare as comparison
from grokpack.verification.compare import DIFFERENT, EQUAL, ROUNDED, Comparison, compare
from tests.report.test_schemas import check
from tests.support.checkpoints import reshard, synthesize
from tests.support.conversions import WIDE, convert
from tests.support.forked import run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", WIDE)


def compared(first: Path, second: Path) -> Comparison:
    return compare(open_checkpoint(str(first)), open_checkpoint(str(second)))


@pytest.mark.parametrize(
    ("to", "options", "state"),
    [
        ("safetensors", {}, EQUAL),
        ("zarr", {}, EQUAL),
        ("orbax", {}, EQUAL),
        ("archive", {}, EQUAL),
        ("hf", {"dtype": "f32"}, EQUAL),
        ("hf", {}, ROUNDED),
        ("hf", {"dtype": "f16"}, ROUNDED),
        ("gguf", {"type": "q8_0", "embedding": "f32"}, EQUAL),
        ("gguf", {"type": "q8_0"}, ROUNDED),
    ],
)
def test_conversions_are_what_they_promise(
    model: Path, tmp_path: Path, to: str, options: dict[str, Any], state: str
) -> None:
    out = tmp_path / ("out.gguf" if to == "gguf" else "out")
    convert(model, out, to, **options)
    for first, second in ((model, out), (out, model)):
        found = compared(first, second)
        assert found.state == state
        assert len(found.tensors) == 2 + 2 * 12


def test_models_of_other_sizes_are_told_by_their_dimensions(model: Path, tmp_path: Path) -> None:
    other = synthesize(tmp_path / "other", replace(WIDE, layers=1, vocab=96))
    shown = CliRunner().invoke(app, ["diff", str(model), str(other)]).stdout
    assert shown.startswith("vocab 64 against 96\nlayers 2 against 1\n")
    assert "only the first has, in this shape: 13 tensors" in shown
    done = CliRunner().invoke(app, ["diff", str(model), str(other), "--json"])
    document = json.loads(done.stdout)
    check(document)
    assert document["data"]["dimensions"] == {"vocab": [64, 96], "layers": [2, 1]}


def test_a_comparison_is_one_line_in_a_notebook(model: Path, tmp_path: Path) -> None:
    found = compared(model, synthesize(tmp_path / "other", replace(WIDE, layers=1)))
    assert repr(found).startswith("<Comparison: different; of the tensors 0 different, ")
    assert repr(found).endswith(" only in the first, 0 only in the second>")
    assert len(repr(found)) < 160


def test_a_cut_for_ranks_is_equal(model: Path, tmp_path: Path) -> None:
    reshard(model, tmp_path / "out", 4)
    assert compared(model, tmp_path / "out").state == EQUAL


def test_one_changed_code_is_found_where_it_is(model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model, tmp_path / "other"))
    name, index = "transformer/decoder_layer_1/moe/linear_1/w", (2, 77, 31)
    checkpoint = open_checkpoint(str(other))
    piece = checkpoint.layout.pieces()[name][0]
    at = piece.extent.offset + int(np.ravel_multi_index(index, piece.box.shape))
    with (other / "ckpt-0" / piece.extent.path).open("r+b") as handle:
        handle.seek(at)
        code = handle.read(1)[0]
        handle.seek(at)
        handle.write(bytes([code ^ 1]))
    found = compared(model, other)
    (row,) = (row for row in found.tensors if row.state != EQUAL)
    assert (row.name, row.state, row.differing, row.first) == (name, DIFFERENT, 1, index)
    assert row.elements == np.prod(piece.box.shape)
    assert 0 < row.relative < 0.1


def test_figures_are_those_of_numpy_however_the_work_is_cut(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = synthesize(tmp_path / "other", WIDE, seed=1)
    whole = compared(model, other)
    monkeypatch.setattr(comparison, "_BLOCK", 40)
    cut = compared(model, other)
    name = "transformer/decoder_layer_0/moe/linear/w"
    one, two = (_weights(place, name) for place in (model, other))
    row = next(row for row in whole.tensors if row.name == name)
    assert row.differing == np.count_nonzero(one != two)
    assert row.largest == np.abs(one - two).max()
    assert row.relative == pytest.approx(np.linalg.norm(one - two) / np.linalg.norm(one), rel=1e-12)
    for left, right in zip(whole.tensors, cut.tensors, strict=True):
        assert (left.name, left.state, left.differing) == (right.name, right.state, right.differing)
        assert left.relative == pytest.approx(right.relative, rel=1e-12)


def _weights(place: Path, name: str) -> np.ndarray:
    import grokpack

    made = grokpack.open(str(place)).dequantized("f32")[name].read().result()
    return np.asarray(made, np.float64)


def test_a_number_on_one_side_only_is_an_infinite_difference(model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model, tmp_path / "other"))
    checkpoint = open_checkpoint(str(other))
    piece = checkpoint.layout.pieces()["transformer/decoder_layer_0/rms_norm/scale"][0]
    with (other / "ckpt-0" / piece.extent.path).open("r+b") as handle:
        handle.seek(piece.extent.offset)
        handle.write(np.float32(np.nan).tobytes())
    assert compared(other, other).state == EQUAL
    done = run("diff", model, other, "--json")
    assert done.returncode == 1
    rows = {row["name"]: row for row in json.loads(done.stdout)["data"]["tensors"]}
    assert rows["transformer/decoder_layer_0/rms_norm/scale"]["largest"] is None
    assert run("diff", model, other, "--max-error", "1000").returncode == 1


def test_models_of_other_shapes_differ_and_are_compared_where_they_can_be(
    model: Path, tmp_path: Path
) -> None:
    other = synthesize(tmp_path / "other")
    found = compared(model, other)
    assert found.state == DIFFERENT
    assert found.only_first
    assert found.only_second
    assert not found.within(1e9)


def test_the_command_answers_with_its_status(model: Path, tmp_path: Path) -> None:
    assert run("diff", model, model).returncode == 0
    other = synthesize(tmp_path / "other", WIDE, seed=1)
    done = run("diff", model, other)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("different")
    quantized = tmp_path / "q"
    run("quantize", model, "--group", "32", "--method", "rtn", "-o", quantized, "-q")
    assert run("diff", model, quantized).returncode == 1
    assert run("diff", model, quantized, "--max-error", "0.2").returncode == 0
    assert run("diff", model, "nowhere").returncode == 3
