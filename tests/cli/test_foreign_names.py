"""Folders whose names are not UTF-8 work as any other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

import grokpack
from grokpack.checkpoint.readers import virtual_store_reader
from grokpack.checkpoint.tensorstore import open_arrays
from grokpack.cli.app import app
from tests.support.checkpoints import reshard, synthesize
from tests.support.conversions import convert

if TYPE_CHECKING:
    from pathlib import Path

NAME = "m\udcffd\udc80"


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words), "--progress", "none"])
    assert done.exit_code == 0, done.output
    done.stdout.encode()  # UTF-8
    return done.stdout


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("names") / NAME / "base")


@pytest.mark.parametrize("to", ["hf", "zarr", "orbax", "gguf", "ranks"])
def test_every_form_can_be_written_and_read(base: Path, tmp_path: Path, to: str) -> None:
    out = tmp_path / NAME / ("x.gguf" if to == "gguf" else "out")
    if to == "ranks":
        reshard(base, out, 2)
    else:
        convert(base, out, to, **({"type": "f32"} if to == "gguf" else {}))
    run("verify", out, "--values", "--data")
    document = json.loads(run("verify", out, "--json"))
    assert document["data"]["source"].endswith(f"m\\udcffd\\udc80/{out.name}")
    assert "differ" not in run("diff", base, out)


def test_reports_and_manifests_are_written_there(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    run("manifest", base, "-o", folder / "m.json", "--sha256")
    run("verify", base, "--against", folder / "m.json", "--report", folder / "r.json")
    run("inspect", base, "--report", folder / "r.html")
    assert json.loads((folder / "r.json").read_text(encoding="utf-8"))["status"] == "whole"
    assert "m\\udcffd" in (folder / "r.html").read_text(encoding="utf-8")


def test_arrays_open_there(base: Path, tmp_path: Path) -> None:
    convert(base, tmp_path / NAME, "zarr")
    for folder in (base, tmp_path / NAME):
        opened = grokpack.open(str(folder))
        name = next(iter(opened))
        values = np.asarray(opened[name].read().result())
        assert values.size


@pytest.mark.parametrize("below", ["", NAME])
def test_a_view_opens_there(tmp_path: Path, below: str) -> None:
    above = tmp_path if below else tmp_path / NAME
    source = synthesize(above / below / "base")
    document = json.loads(run("convert", source, "--to", "view", "-o", above / "v", "--json"))
    assert bool(document["data"]["opens"]) == bool(below)
    run("verify", above / "v", "--values")
    made = virtual_store_reader.read(str(above / "v"))
    for name, array in grokpack.open(str(source)).items():
        seen = open_arrays.open_array(made.spec(name))
        assert np.array_equal(seen.read().result(), array.read().result())


def test_a_chunk_that_is_missing_is_named_by_the_folder(base: Path, tmp_path: Path) -> None:
    out = tmp_path / NAME
    convert(base, out, "zarr")
    chunk = max((p for p in out.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    chunk.write_bytes(b"")
    done = CliRunner().invoke(app, ["verify", str(out), "--values", "--progress", "none"])
    assert done.exit_code in (1, 3)
    assert "/proc/" not in done.output
