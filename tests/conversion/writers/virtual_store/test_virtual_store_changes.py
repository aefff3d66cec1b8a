"""Views as sources: taken for the checkpoint behind them, and no change there goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

from grokpack.checkpoint import open_tensorstore
from grokpack.checkpoint.layouts import virtual_store_layout
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.readers.virtual_store_reader import read
from grokpack.checkpoint.virtual_store import store_index
from grokpack.core.errors import GrokpackError
from grokpack.formats import ocdbt, ocdbt_index
from grokpack.models import architecture
from grokpack.verification.verify_structure import verify_structure
from tests.support.checkpoints import reshard, synthesize, tree
from tests.support.conversions import attach
from tests.support.virtual_stores import (
    GATE,
    contents,
    later,
    printed_spec,
    read_all,
    run,
    same,
)
from tests.support.weight_formula import unpickled

# ------------------------------------------------------------------------------ as a source


def test_every_command_takes_a_view_for_the_checkpoint_behind_it(
    model: Path, tmp_path: Path
) -> None:
    folder = attach(model)
    assert run("verify", folder, "--values").exit_code == 0
    shown = run("inspect", folder, "--json")
    data = json.loads(shown.stdout)["data"]
    assert (data["format"], data["view"]["folder"]) == ("ckpt-0", str(folder))
    assert data["view"]["opens"] == printed_spec(folder)
    assert (
        run("inspect", folder, "router/w", "--extract", tmp_path / "r.safetensors").exit_code == 0
    )
    reshard(model, tmp_path / "direct", 4)
    reshard(folder, tmp_path / "through", 4)
    assert tree(tmp_path / "through") == tree(tmp_path / "direct")
    for command in (("convert", "--to", "hf"), ("quantize", "--bits", "4", "--group", "32")):
        name, *options = command
        assert run(name, folder, *options, "-o", tmp_path / name).exit_code == 0
        assert run(name, model, *options, "-o", tmp_path / f"{name}2").exit_code == 0
        assert tree(tmp_path / name) == tree(tmp_path / f"{name}2")
    again = attach(folder, tmp_path / "again")
    same(read_all(printed_spec(again)), unpickled(model))


def test_convert_prints_what_inspect_prints(model: Path) -> None:
    done = run("convert", model, "--to", "view")
    assert done.exit_code == 0
    (line,) = (line for line in done.stdout.splitlines() if "open it" in line)
    assert line in run("inspect", model / "ckpt-0.view").stdout.splitlines()
    nbytes = open_checkpoint(str(model)).layout.nbytes
    assert f"{nbytes / 1e3:.1f} kB stay where they are" in done.stdout


def test_dry_run_reads_nothing_and_writes_nothing(model: Path) -> None:
    done = run("convert", model, "--to", "view", "-n", "--json")
    data = json.loads(done.stdout)["data"]
    assert data["reads_bytes"] == 0
    assert data["estimate"] is None
    assert data["writes_bytes"] < 100_000
    assert not (model / "ckpt-0.view").exists()


# ------------------------------------------------------------------------------ what changes


def edit(path: Path, at: int = 300) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


CHANGES: dict[str, Any] = {
    "edited in place": edit,
    "cut short": lambda p: os.truncate(p, p.stat().st_size - 10),
    "longer": lambda p: p.write_bytes(p.read_bytes() + b"x"),
    "replaced": lambda p: (p.unlink(), shutil.copy(p.parent / "tensor00004_000", p)),
    "touched": later,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_behind_a_view_is_refused_by_all_who_would_read_it(
    model: Path, tmp_path: Path, change: str
) -> None:
    import grokpack

    folder = attach(model)
    assert verify_structure(survey(str(folder))).whole
    CHANGES[change](model / "ckpt-0" / "tensor00002_000")
    with pytest.raises(GrokpackError) as caught:
        grokpack.open(str(folder))
    assert caught.value.code == "GP226"
    done = run("verify", folder, "--json")
    assert done.exit_code == 1
    found = {(f["code"], f["file"]) for f in json.loads(done.stdout)["findings"]}
    code = "GP101" if change == "gone" else "GP116"
    assert (code, "tensor00002_000") in found
    refusal = "GP202" if change == "gone" else "GP226"
    for command in ("reshard", "convert"):
        to = ("--tp", "4") if command == "reshard" else ("--to", "hf")
        done = run(command, folder, *to, "-o", tmp_path / "out")
        assert done.exit_code == 3
        assert f"error[{refusal}]" in done.stderr
        assert not (tmp_path / "out").exists()
    looked = run("inspect", folder)
    if change == "gone":
        assert "NOT complete" in looked.stdout
    else:
        assert looked.exit_code == 3
        assert "--to view" in looked.stderr


@pytest.mark.parametrize(
    ("name", "change"),
    [("manifest.ocdbt", c) for c in ("edited", "gone", "written to")]
    + [(store_index.NODES, c) for c in ("edited", "gone")],
)
def test_a_view_whose_own_index_changed_is_refused(model: Path, name: str, change: str) -> None:
    folder = attach(model)
    spec = printed_spec(folder)
    if change == "written to":
        ts.open(spec).result()[0, 0, 0] = 3
    elif change == "edited":
        edit(folder / name, -1)
    else:
        (folder / name).unlink()
    assert run("verify", folder).exit_code == 1
    done = run("inspect", folder)
    assert done.exit_code == 3
    assert "error[GP226]" in done.stderr
    if change != "gone":  # what others wrote there is theirs to remove
        refused = run("convert", model, "--to", "view", "--restart")
        assert refused.exit_code == 5
        assert "error[GP330]" in refused.stderr
        (folder / name).unlink()
    assert run("convert", model, "--to", "view", "--restart").exit_code == 0
    assert printed_spec(folder) == spec


def test_writing_to_a_view_leaves_the_checkpoint_alone(model: Path) -> None:
    before = {p: contents(p) for p in (model / "ckpt-0").iterdir()}
    spec = printed_spec(attach(model))
    ts.open(spec).result()[0, 0, 0] = 3
    assert ts.open(spec).result()[0, 0, 0].read().result() == 3
    assert {p: contents(p) for p in (model / "ckpt-0").iterdir()} == before


def test_a_view_made_anew_is_good_again(model: Path) -> None:
    folder = attach(model)
    later(model / "ckpt-0" / "tensor00002_000")
    assert run("inspect", folder).exit_code == 3
    assert run("convert", model, "--to", "view", "--restart").exit_code == 0
    assert run("inspect", folder).exit_code == 0


def test_without_stamps_headers_still_tell_another_checkpoint(model: Path, tmp_path: Path) -> None:
    import grokpack

    folder = attach(model)
    shutil.rmtree(folder / ".grokpack")
    assert survey(str(folder)).whole
    assert GATE in grokpack.open(str(folder))
    shutil.rmtree(model / "ckpt-0")
    synthesize(tmp_path / "other", architecture.Geometry(64, 96, 2, 4, 288, 256, 64, 16))
    shutil.move(tmp_path / "other" / "ckpt-0", model / "ckpt-0")
    assert [f.code for f in survey(str(folder)).findings if f.code == "GP116"] == ["GP116"]
    with pytest.raises(GrokpackError) as caught:
        grokpack.open(str(folder))
    assert caught.value.code == "GP226"


# ------------------------------------------------------------------------------ forged


def forge(folder: Path, database: ocdbt.Database) -> None:
    """Put another index in a view, and its digests in the view's record."""
    index = {store_index.NODES: database.nodes, ocdbt.MANIFEST: database.manifest}
    for name, data in index.items():
        (folder / name).write_bytes(data)
    path = folder / virtual_store_layout.RECORD
    record = json.loads(path.read_text())
    record["digests"] = {name: hashlib.sha256(data).hexdigest() for name, data in index.items()}
    path.write_text(json.dumps(record))


def test_an_index_of_other_values_is_found_whatever_the_record_says(model: Path) -> None:
    folder = attach(model)
    own = (folder / store_index.NODES).read_bytes()
    held = ocdbt_index.entries(
        (folder / ocdbt.MANIFEST).read_bytes(), lambda node: own[node.offset :][: node.nbytes]
    )
    zeros = [
        ocdbt.Inline(key, value if isinstance(value, bytes) else bytes(value.nbytes))
        for key, value in held
    ]
    forge(folder, ocdbt.database(zeros, f"{folder.name}/{store_index.NODES}"))
    found = {(row.code, row.message) for row in survey(str(folder)).findings}
    assert found == {("GP116", "the view's index does not point at its arrays")}


def test_a_view_that_would_wait_for_a_pipe_is_not_opened(model: Path) -> None:
    folder = attach(model)
    os.mkfifo(folder / "pipe")
    base = json.loads((folder / virtual_store_layout.RECORD).read_text())["base"]
    pipe = os.path.relpath(folder / "pipe", folder / base)
    chunk = ocdbt.ChunkSeries(
        b"a/c", ocdbt.tails(()), (pipe,), np.zeros(1, np.int64), np.zeros(1, np.int64), 4
    )
    nodes = os.path.relpath(folder / store_index.NODES, folder / base)
    forge(folder, ocdbt.database([chunk], nodes))
    with pytest.raises(GrokpackError) as caught:
        open_tensorstore.open(folder)
    assert caught.value.code == "GP237"


def test_an_index_that_another_release_of_zstd_compressed_is_the_same(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = attach(model)
    usual = (folder / store_index.NODES).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(ocdbt, "_ZSTD_LEVEL", -50)
        checkpoint = open_checkpoint(str(folder))
        view = read(str(folder))
        forge(folder, store_index.of_view(checkpoint, view.base, view.folder))
    assert (folder / store_index.NODES).read_bytes() != usual
    assert survey(str(folder)).findings == ()
