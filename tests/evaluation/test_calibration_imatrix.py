"""`evaluate --calibrate X.gguf`: llama.cpp's importance matrix, as its own package reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
from typer.testing import CliRunner

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.app import app
from grokpack.conversion.quantization import importance
from tests.report.test_schemas import answer
from tests.support import grok2, input_squares
from tests.support.checkpoints import GOLDEN, synthesize

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from tests.support.input_squares import Flow


def calibrated(source: Path, tokens: Path, out: Path, *options: str) -> gguf.GGUFReader:
    data = answer("evaluate", source, "--tokens", tokens, "--calibrate", out, *options)["data"]
    assert data["calibration"] == str(out)
    return gguf.GGUFReader(out)


def check(found: gguf.GGUFReader, wanted: Flow) -> None:
    """Compare every tensor with sums by its name in GGUF."""
    tensors = {tensor.name: tensor for tensor in found.tensors}
    assert [*tensors] == sorted(tensors, key=lambda name: (name.rpartition(".")[0], name[-1]))
    assert {name.rpartition(".")[0] for name in tensors} == set(wanted)
    for name, (sums, counts) in wanted.items():
        own, count = tensors[f"{name}.in_sum2"], tensors[f"{name}.counts"]
        assert own.tensor_type == count.tensor_type == gguf.GGMLQuantizationType.F32
        assert own.shape.tolist() == [*sums.shape[::-1]]
        assert count.shape.tolist() == [1, len(counts)]
        np.testing.assert_allclose(own.data, sums, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(count.data[:, 0], counts)


def names_of(checkpoint: Checkpoint) -> dict[str, str]:
    return {entry.name: entry.gguf for entry in checkpoint.model.tensors()}


def test_grok_1_has_the_sums_that_numpy_adds(tmp_path: Path) -> None:
    found = calibrated(GOLDEN, GOLDEN / "tokens.npy", tmp_path / "x.gguf")
    flow, names = input_squares.of_grok1(GOLDEN), names_of(open_checkpoint(str(GOLDEN)))
    check(found, {names[name]: sums for name, sums in flow.items()})


def test_grok_2_has_the_sums_that_numpy_adds(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(grok2.RELEASE))
    found = calibrated(grok2.RELEASE, grok2.GOLDEN / "tokens.npy", tmp_path / "x.gguf")
    flow, wanted = input_squares.of_grok2(grok2.GOLDEN), {}
    for entry in checkpoint.model.tensors():
        if entry.rule.quantized:
            count = checkpoint.geometry.experts if entry.rule.stacked else 1
            inputs = checkpoint.tensors[entry.name].values.shape[-2]
            none = np.zeros((1, inputs)), np.zeros(1, np.int64)
            own = [entry.name.replace("experts.", f"experts.{n}.") for n in range(count)]
            rows = [flow.get(name, none) for name in own]
            sums, counts = (np.concatenate(part) for part in zip(*rows, strict=True))
            wanted[entry.gguf] = sums, counts
    check(found, wanted)


def test_keys_say_what_it_was_measured_on(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(1, 51))
    model = synthesize(tmp_path / "m")
    found = calibrated(model, tmp_path / "ids.npy", tmp_path / "x.gguf", "--context", "16")
    keys = {name: field.contents() for name, field in found.fields.items() if "." in name}
    own = {name: keys[name] for name in keys if not name.startswith("GGUF")}
    assert own == {
        "general.type": "imatrix",
        "imatrix.datasets": ["ids.npy"],
        "imatrix.chunk_count": 3,
        "imatrix.chunk_size": 16,
    }


def test_both_forms_weigh_alike(tmp_path: Path) -> None:
    """Also experts that no token chose."""
    np.save(tmp_path / "ids.npy", np.array([5, 6]))
    model = synthesize(tmp_path / "m")
    checkpoint, forms = open_checkpoint(str(model)), []
    for suffix in ("gguf", "safetensors"):
        path = tmp_path / f"x.{suffix}"
        answer("evaluate", model, "--tokens", tmp_path / "ids.npy", "--calibrate", path)
        forms.append(importance.read(str(path), names_of(checkpoint)))
    for entry in checkpoint.model.tensors():
        if entry.rule.quantized:
            one, other = (form.of(checkpoint.tensors[entry.name]) for form in forms)
            for expert in range(checkpoint.geometry.experts) if entry.rule.stacked else [None]:
                for own in (one.of, one.measured):
                    also = getattr(other, own.__name__)
                    np.testing.assert_allclose(own(expert), also(expert), rtol=1e-6)


@pytest.mark.parametrize("name", ["x.dat", "x"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "ids.npy", np.array([5, 6]))
    arguments = ["evaluate", str(GOLDEN), "--tokens", str(tmp_path / "ids.npy"), "--calibrate"]
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / name)])
    assert done.exit_code == 2
    assert "ends in .safetensors or .gguf" in done.stderr
    assert not (tmp_path / name).exists()
