"""`verify OUT --source SRC`: an output is what its plan makes of that source, or is found out."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grokpack.cli.app import app
from grokpack.verification import replay
from tests.report.test_schemas import check
from tests.support.checkpoints import synthesize
from tests.support.content_checks import flip
from tests.support.conversions import WIDE

OUTPUTS: dict[str, list[str]] = {
    "reshard 4": ["reshard", "--tp", "4"],
    "ckpt-0 of 2": ["reshard", "--tp", "2", "--to", "ckpt-0"],
    "ckpt-0 of 16, forward only": ["reshard", "--tp", "16", "--to", "ckpt-0", "--forward-only"],
    "hf": ["convert", "--to", "hf"],
    "hf in shards": ["convert", "--to", "hf", "--shard-size", "200kB", "--dtype", "f16"],
    "sglang": ["convert", "--to", "sglang", "--tp", "4"],
    "gguf": ["convert", "--to", "gguf", "--type", "q8_0", "--tokenizer", "none"],
    "gguf split": ["convert", "--to", "gguf", "--type", "f32", "--split", "300kB",
                   "--tokenizer", "none"],
    "zarr": ["convert", "--to", "zarr"],
    "files": ["convert", "--to", "files"],
    "int4": ["quantize", "--bits", "4", "--group", "32"],
    "int4 kept": ["quantize", "--bits", "4", "--group", "32", "--keep", "attention",
                  "--method", "lsq", "--asymmetric", "--scale-dtype", "f16"],
    "gptq": ["quantize", "--bits", "8", "--group", "32"],
    "w8a8": ["quantize", "--bits", "8", "--to", "w8a8-int8", "--tp", "1"],
    "q4_0": ["quantize", "--bits", "4", "--to", "gguf", "--method", "mse", "--tokenizer", "none"],
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", WIDE, seed=8)


def invoke(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json", "--progress", "none"])
    document: dict[str, Any] = json.loads(done.stdout)
    check(document)
    assert done.exit_code == document["exit_code"]
    return document


def write(source: Path, out: Path, command: list[str]) -> Path:
    path = out.with_suffix(".gguf") if "gguf" in command and "--split" not in command else out
    verb, *options = command
    assert invoke(verb, source, *options, "-o", path)["exit_code"] == 0
    return path


def replayed(out: Path, source: Path, *options: str) -> dict[str, Any]:
    return invoke("verify", out, "--source", source, *options)


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_what_its_plan_makes(
    made: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where a byte of it is another, or a byte of the source, that is found in its place."""
    monkeypatch.setattr(replay, "_TILES", 1)
    out = write(made, tmp_path / "out", OUTPUTS[name])
    moved = Path(shutil.copytree(made, tmp_path / "elsewhere"))  # the plan knows no paths
    whole = replayed(out, moved)
    assert (whole["status"], whole["exit_code"], whole["findings"]) == ("whole", 0, [])
    path, byte = _payload_of(out)
    flip(path, byte)
    found = [row for row in replayed(out, moved)["findings"] if row["code"] == "GP110"]
    assert [(row["file"].rpartition("/")[2], row["message"]) for row in found] == [
        (path.name, "not what the source gives")
    ]
    assert f"bytes {byte:,} to {byte:,}" in found[0]["found"]
    flip(path, byte)
    source, at = _payload_of(moved)
    flip(source, at, 6)  # far enough for four bits
    changed = replayed(out, moved)
    if "norm" not in name:
        assert changed["exit_code"] == 1
        assert any(row["message"] == "not what the source gives" for row in changed["findings"])


def _payload_of(folder: Path) -> tuple[Path, int]:
    """A byte in the middle of the largest file: within a weight, whatever the format."""
    files = [folder] if folder.is_file() else [p for p in folder.rglob("*") if p.is_file()]
    data = [
        p
        for p in files
        if p.suffix in (".safetensors", ".gguf") or "tensor0" in p.name or "c" in p.parts
    ]
    path = max(sorted(data), key=lambda p: p.stat().st_size)
    return path, path.stat().st_size // 2


def differing(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Findings of the replay; the structure's check looks at last tiles by itself."""
    return [r for r in document["findings"] if r["message"] == "not what the source gives"]


def test_small_files_are_compared_too(made: Path, tmp_path: Path) -> None:
    out = write(made, tmp_path / "out", OUTPUTS["hf"])
    config = out / "config.json"
    config.write_text(config.read_text().replace("10000.0", "20000.0"), encoding="utf-8")
    found = replayed(out, made)
    assert ("GP110", "config.json") in [(r["code"], r["file"]) for r in found["findings"]]
    (out / "README.md").unlink()
    found = replayed(out, made)
    assert ("GP101", "README.md") in [(r["code"], r["file"]) for r in found["findings"]]


def test_a_sample_finds_what_it_meets(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write(made, tmp_path / "out", OUTPUTS["reshard 4"])
    files = sorted(out.rglob("*.safetensors"))
    for path in files:
        flip(path, path.stat().st_size // 2)
    slices = [replayed(out, made, "--subset", f"{n}/3") for n in (1, 2, 3)]
    named = [row["file"] for found in slices for row in differing(found)]
    assert sorted(named) == sorted(p.relative_to(out).as_posix() for p in files)
    monkeypatch.setattr(random, "SystemRandom", lambda: random.Random(1))
    part = replayed(out, made, "--subset", "50%")
    bad = differing(part)
    assert 0 < len(bad) < len(files)
    assert part["data"]["contents"]["read_bytes"] < part["data"]["contents"]["total_bytes"]


def test_what_cannot_be_replayed_is_refused(made: Path, tmp_path: Path) -> None:
    other = synthesize(tmp_path / "other", seed=9)
    out = write(made, tmp_path / "out", OUTPUTS["int4"])
    cases = [
        (replayed(out, other), "GP232"),
        (replayed(made, made), "GP231"),  # synthetic: it has no source
        (replayed(out, made, "--max-age", "1d"), "GP304"),
        (
            replayed(
                write(made, tmp_path / "zarr", [*OUTPUTS["zarr"], "--compress", "zstd"]), made
            ),
            "GP231",
        ),
    ]
    (tmp_path / "policy.toml").write_text('[[tensors]]\nrole = "attention"\nbits = 8\n')
    chosen = [*OUTPUTS["int4"], "--policy", str(tmp_path / "policy.toml")]
    cases.append((replayed(write(made, tmp_path / "policed", chosen), made), "GP231"))
    (out / "grokpack.json").unlink()
    cases.append((replayed(out, made), "GP229"))
    for document, code in cases:
        assert [row["code"] for row in document["errors"]] == [code]
        assert document["exit_code"] in (2, 3)
