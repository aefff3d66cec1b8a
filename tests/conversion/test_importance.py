"""`quantize --importance`: a calibration moves the search to what reaches the output."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.app import app
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.quantization import importance
from grokpack.kernels import dispatch
from tests.report.test_schemas import answer, check
from tests.support.checkpoints import GOLDEN, synthesize
from tests.support.quantized_checkpoints import FASTEST

TOKENS = GOLDEN / "tokens.npy"
FORM = ("--bits", "4", "--group", "32")
Quantized = Callable[..., Path]


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "flow.safetensors"
    answer("evaluate", GOLDEN, "--tokens", TOKENS, "--calibrate", out)
    return out


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that numpy searches in a moment, and its calibration."""
    folder = tmp_path_factory.mktemp("small")
    np.save(folder / "ids.npy", np.arange(60))
    calibration = folder / "flow.safetensors"
    model = synthesize(folder / "model")
    answer("evaluate", model, "--tokens", folder / "ids.npy", "--calibrate", calibration)
    return model, calibration


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """Quantizes by an implementation with options, once for all tests that ask for these."""

    @cache
    def made(source: Path, implementation: str, *options: str | Path) -> Path:
        out = tmp_path_factory.mktemp("made") / "out"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(dispatch.VARIABLE, implementation)
            answer("quantize", source, *FORM, "-o", out, *options)
        return out

    return made


@pytest.mark.parametrize("method", ["mse", "lsq"])
def test_the_network_is_nearer_to_the_original(
    calibration: Path, quantized: Quantized, method: str
) -> None:
    """By what its experts compute; by its weights it is farther, for the others minded these alone.

    The divergence of its answers says nothing here: on random weights it varies more than that.
    """
    usual = quantized(GOLDEN, FASTEST, "--method", method)
    minded = quantized(GOLDEN, FASTEST, "--method", method, "--importance", calibration)
    found = [
        answer("evaluate", GOLDEN, "--tokens", TOKENS, "--against", out)["data"]
        for out in (usual, minded)
    ]
    for before, after in zip(found[0]["layers"], found[1]["layers"], strict=True):
        assert after["experts"] < 0.99 * before["experts"]
    errors = [
        [row["relative"] for row in answer_of_diff(out)["tensors"] if "/moe/" in row["name"]]
        for out in (usual, minded)
    ]
    assert sum(errors[1]) > sum(errors[0])


def answer_of_diff(out: Path) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["diff", str(GOLDEN), str(out), "--json"])
    data: dict[str, Any] = json.loads(done.stdout)["data"]
    return data


@pytest.mark.parametrize("kind", ["q4_0", "q4_1"])
def test_blocks_that_are_searched_mind_it(
    calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, FASTEST)
    made = []
    for name, options in {"usual": (), "minded": ("--importance", calibration)}.items():
        out = tmp_path / f"{name}.gguf"
        chosen = ("--to", "gguf", "--type", kind, "--method", "mse", "--tokenizer", "none")
        answer("quantize", GOLDEN, "--bits", "4", "-o", out, *chosen, *options)
        found = answer("evaluate", GOLDEN, "--tokens", TOKENS, "--against", out)["data"]
        made.append([row["experts"] for row in found["layers"]])
    assert all(after < before for before, after in zip(*made, strict=True))


@pytest.mark.parametrize("to", ["compressed-tensors", "gptq", "safetensors"])
@pytest.mark.parametrize("implementation", ["numpy", "numba"])
def test_every_layout_minds_it_alike(
    small: tuple[Path, Path], quantized: Quantized, to: str, implementation: str
) -> None:
    """Fitted down the columns or along the rows, a few groups at a time: the same weights."""
    model, calibration = small
    first = quantized(model, implementation, "--importance", calibration)
    second = quantized(model, implementation, "--importance", calibration, "--to", to)
    usual = quantized(model, implementation)
    assert {row["state"] for row in answer("diff", usual, first)["data"]["tensors"]} != {"equal"}
    weights = [
        row for row in answer("diff", first, second)["data"]["tensors"] if row["name"][-1] == "w"
    ]
    assert {row["state"] for row in weights} == {"equal"}


def test_the_plan_knows_the_calibration(calibration: Path, tmp_path: Path) -> None:
    arrays = load_file(calibration)
    metadata = {"format": "grokpack-calibration", "version": "1"}
    name = next(iter(n for n in arrays if n.endswith("mean_square")))
    save_file(arrays, tmp_path / "same.safetensors", metadata)
    save_file(arrays | {name: arrays[name] * 2}, tmp_path / "other.safetensors", metadata)
    (tmp_path / "copy.safetensors").write_bytes(calibration.read_bytes())
    source = open_checkpoint(str(GOLDEN))

    def digest(path: Path | None) -> str:
        chosen = QuantizeOptions(group="32", importance=None if path is None else str(path))
        return plan_quantize(source, chosen).digest()

    assert digest(calibration) == digest(tmp_path / "copy.safetensors")
    assert len({digest(calibration), digest(tmp_path / "other.safetensors"), digest(None)}) == 3


def test_inputs_that_were_silent_still_count(tmp_path: Path) -> None:
    """An expert that no token chose is as without; a dead channel keeps a hundredth."""
    squares = np.zeros((3, 8), np.float32)
    squares[1] = [0, 8, 0, 0, 0, 0, 0, 0]
    squares[2, 3] = np.nan
    save_file({"w/mean_square": squares}, tmp_path / "c.safetensors",
              {"format": "grokpack-calibration", "version": "1"})  # fmt: skip
    found = importance.read(str(tmp_path / "c.safetensors"), {})
    stored = found.arrays["w/mean_square"]
    own = importance.WeightImportance(found.path, stored.offset, stored.spec.shape)
    np.testing.assert_array_equal(own.of(0), np.ones(8))
    np.testing.assert_allclose(own.of(1), [0.01, 8.01, *[0.01] * 6], rtol=1e-5)
    np.testing.assert_array_equal(own.of(2), np.ones(8))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--importance", "missing.safetensors"], "GP344"),
        (["--importance", "text.safetensors"], "GP344"),
        (["--importance", "weights.safetensors"], "GP344"),
        (["--importance", "empty.safetensors"], "GP344"),
        (["--importance", "flow.safetensors", "--method", "rtn"], "GP304"),
        (["--importance", "flow.safetensors", "--to", "gguf", "--type", "q4_k"], "GP304"),
        (["--importance", "flow.safetensors", "--to", "ckpt-0"], "GP304"),
        (["--importance", "other.safetensors"], "GP344"),
    ],
)
def test_what_does_not_fit_is_refused(
    calibration: Path,
    options: list[str],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flow.safetensors").write_bytes(calibration.read_bytes())
    Path("text.safetensors").write_text("hello", encoding="utf-8")
    save_file({"a": np.ones(3)}, "weights.safetensors")
    save_file({"a": np.ones(3)}, "empty.safetensors",
              {"format": "grokpack-calibration", "version": "1"})  # fmt: skip
    small = synthesize(tmp_path / "small")
    np.save("ids.npy", np.array([1, 2, 3]))
    answer("evaluate", small, "--tokens", "ids.npy", "--calibrate", "other.safetensors")
    done = CliRunner().invoke(
        app, ["quantize", str(GOLDEN), *FORM, *options, "-o", "out", "--json"]
    )
    document = json.loads(done.stdout)
    check(document)
    assert document["errors"][0]["code"] == code
    assert done.exit_code == 2
    assert not Path("out").exists()
