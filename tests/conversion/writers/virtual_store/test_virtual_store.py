"""Views: TensorStore alone reads every value in place."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts

from grokpack import storage
from grokpack.checkpoint.layouts import virtual_store_layout
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.virtual_store import store_index
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.models import architecture
from tests.faults.crashing import Crash, crash_after
from tests.support.checkpoints import GOLDEN, reshard, synthesize, tree
from tests.support.conversions import attach, convert, stored
from tests.support.virtual_stores import (
    GATE,
    contents,
    later,
    printed_spec,
    read_all,
    run,
    same,
    value,
)
from tests.support.weight_formula import unpickled


@pytest.mark.parametrize("golden", [True, False])
def test_pickles_are_read_in_place_as_python_unpickles_them(
    tmp_path: Path, origin: Path, golden: bool
) -> None:
    source = GOLDEN if golden else origin
    shutil.copytree(source, tmp_path / "m")
    before = {p: contents(p) for p in (tmp_path / "m").rglob("*") if p.is_file()}
    folder = attach(tmp_path / "m")
    assert folder == tmp_path / "m" / "ckpt-0.view"
    same(read_all(printed_spec(folder)), unpickled(source))
    assert {p: contents(p) for p in before} == before
    assert not (tmp_path / "m" / "d").exists()  # TensorStore would write there


@pytest.mark.parametrize("tp", [1, 4, 8, 16])
def test_folders_of_ranks_are_read_as_whole_arrays(tmp_path: Path, tp: int) -> None:
    geometry = architecture.Geometry(64, 32, 2, 2, 64, 128, 64, 8)
    source = synthesize(tmp_path / "m", geometry)
    reshard(source, tmp_path / "cut", tp)
    spec = printed_spec(attach(tmp_path / "cut"))
    same(read_all(spec), unpickled(source))


def test_pickles_of_two_hosts_are_read_as_whole_arrays(tmp_path: Path, origin: Path) -> None:
    reshard(origin, tmp_path / "cut", 8, "ckpt-0", hosts=2, forward_only=True)
    same(read_all(printed_spec(attach(tmp_path / "cut"))), unpickled(origin))


@pytest.mark.parametrize(
    ("to", "options"),
    [
        ("hf", {"names": "hpcai", "shard_bytes": 1 << 18}),
        ("hf", {"names": "keyfan", "dtype": "f32"}),
        ("hf", {"names": "sglang", "dtype": "f16"}),
    ],
)
def test_hugging_face_folders_are_read_as_the_arrays_that_they_hold(
    tmp_path: Path, origin: Path, to: str, options: dict[str, Any]
) -> None:
    convert(origin, tmp_path / "hf", to, **options)
    found = read_all(printed_spec(attach(tmp_path / "hf")))
    wanted = stored(tmp_path / "hf")
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        assert (found[name].astype(np.float32) == values).all(), name


def test_sglangs_rank_files_are_read_as_whole_arrays(tmp_path: Path, origin: Path) -> None:
    convert(origin, tmp_path / "one", "sglang", tp=1)
    convert(origin, tmp_path / "four", "sglang", tp=4)
    one, four = (read_all(printed_spec(attach(tmp_path / name))) for name in ("one", "four"))
    same(four, one)


@pytest.mark.parametrize("split", [None, 1 << 18])
def test_blocks_of_a_gguf_are_read_as_they_lie(
    tmp_path: Path, origin: Path, split: int | None
) -> None:
    source = tmp_path / ("g" if split else "g.gguf")
    convert(origin, source, "gguf", type="q8_0", shard_bytes=split)
    folder = attach(source)
    assert folder == Path(f"{source}.view")
    found = read_all(printed_spec(folder))
    files = sorted(source.glob("*.gguf")) if split else [source]
    tensors = {t.name: t for file in files for t in gguf.GGUFReader(file).tensors}
    assert sorted(found) == sorted(tensors)
    for name, tensor in tensors.items():
        assert found[name].tobytes() == np.ascontiguousarray(tensor.data).tobytes(), name
    later(files[0])
    assert run("inspect", folder).exit_code == 3


def test_packed_words_are_read_as_they_lie(tmp_path: Path, origin: Path) -> None:
    done = run("quantize", origin, "--bits", "4", "--group", "32", "-o", tmp_path / "q")
    assert done.exit_code == 0, done.stderr
    found = read_all(printed_spec(attach(tmp_path / "q")))
    kinds = {values.dtype for values in found.values()}
    assert {np.dtype("i4"), np.dtype("i8"), np.dtype(ml_dtypes.bfloat16)} <= kinds
    checkpoint = open_checkpoint(str(tmp_path / "q"))
    assert sorted(found) == sorted(checkpoint.layout.arrays)


def test_attributes_say_role_scale_groups_and_axis(model: Path) -> None:
    spec = printed_spec(attach(model))

    def said(name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(value({**spec["kvstore"], "path": ""}, name))
        assert document["codecs"][0]["name"] == "bytes"
        attributes: dict[str, Any] = document["attributes"]
        return attributes

    down = "transformer/decoder_layer_1/moe/linear_1/w"
    assert said(f"{down}/zarr.json") == {
        "name": down,
        "role": "expert",
        "title": "experts, down projection",
        "tensor_parallel_axis": 1,
        "scales": f"{down}/scales",
        "scale_groups": 8,
        "rows_per_group": 32,
    }
    assert said(f"{down}/scales/zarr.json") == {
        "name": f"{down}/scales",
        "role": "scales",
        "scales_of": down,
        "tensor_parallel_axis": 1,
        "scale_groups": 8,
        "rows_per_group": 32,
    }
    assert said(f"{GATE}/zarr.json")["tensor_parallel_axis"] == 2
    norm = "language_model/rms_norm/scale/zarr.json"
    assert said(norm) == {
        "name": "language_model/rms_norm/scale",
        "role": "norm",
        "title": "final norm",
        "tensor_parallel_axis": None,
    }
    groups = [value({**spec["kvstore"], "path": ""}, f"{g}zarr.json") for g in ("", "transformer/")]
    assert [json.loads(group)["node_type"] for group in groups] == ["group", "group"]


NAMES = ["a b", "50%", "100%25", "größe", "模型", "a#b?c", "it's", '"q"', "a+b&c=d", "[x]{y}", "~"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_folder_can_be_pasted(tmp_path: Path, origin: Path, name: str) -> None:
    place = tmp_path / name
    shutil.copytree(origin, place / name)
    folder = attach(place / name)
    spec = printed_spec(folder)
    assert spec["kvstore"]["manifest"].startswith("file:///")
    opened = ts.open(spec, read=True).result()
    assert opened.read().result().tobytes() == unpickled(origin)[GATE].tobytes()
    assert survey(str(folder)).whole


def test_a_name_that_is_no_text_has_no_spec_and_a_link_to_it_has(
    tmp_path: Path, origin: Path
) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    shutil.copytree(origin, place)
    done = run("convert", place, "--to", "view", "-o", place / "own.view")
    assert done.exit_code == 0
    assert "open it" not in done.stdout
    (tmp_path / "link").symlink_to(place)
    same(read_all(printed_spec(attach(tmp_path / "link"))), unpickled(origin))


def test_a_relative_place_and_dots_are_the_folder_that_they_mean(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model)
    assert run("convert", ".", "--to", "view", "-o", "ckpt-0/../../v/./w").exit_code == 0
    folder = model.parent / "v" / "w"
    assert json.loads((folder / virtual_store_layout.RECORD).read_text())["base"] == "../.."
    monkeypatch.chdir("/")
    same(read_all(printed_spec(folder)), unpickled(model))


def test_links_are_followed(tmp_path: Path, origin: Path) -> None:
    shutil.copytree(origin, tmp_path / "disk" / "far" / "m")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "ckpt-0").symlink_to(tmp_path / "disk" / "far" / "m" / "ckpt-0")
    one = tmp_path / "disk" / "far" / "m" / "ckpt-0" / "tensor00003_000"
    one.rename(tmp_path / "blob")
    one.symlink_to(tmp_path / "blob")
    shutil.copy(origin / "config.json", tmp_path / "near")
    folder = attach(tmp_path / "near" / "ckpt-0")
    assert folder == tmp_path / "near" / "ckpt-0.view"
    same(read_all(printed_spec(folder)), unpickled(origin))


def test_view_and_checkpoint_move_together(model: Path) -> None:
    attach(model)
    moved = model.rename(model.parent / "elsewhere")
    same(read_all(printed_spec(moved / "ckpt-0.view")), unpickled(moved))


def test_a_view_can_lie_elsewhere_but_not_across_the_root(model: Path, tmp_path: Path) -> None:
    folder = attach(model, tmp_path / "views" / "mine")
    same(read_all(printed_spec(folder)), unpickled(model))
    done = run("convert", model, "--to", "view", "-o", "/nowhere/at/all")
    assert done.exit_code == 2
    assert "error[GP316]" in done.stderr
    for inside in (model / "ckpt-0" / "v", model / "ckpt-0", model.parent):
        done = run("convert", model, "--to", "view", "-o", inside)
        assert done.exit_code == 5, inside


def test_a_plan_is_not_written_to_another_folder_than_it_was_made_for(
    model: Path, tmp_path: Path
) -> None:
    plan = plan_convert(
        open_checkpoint(str(model)), "view", ConvertOptions(out=str(tmp_path / "a"))
    )
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "b"))
    assert caught.value.code == "GP304"
    assert not (tmp_path / "b").exists()


def test_two_runs_write_the_same_and_the_second_finds_it_done(model: Path) -> None:
    folder = attach(model)
    first = tree(folder)
    done = run("convert", model, "--to", "view")
    assert done.stdout.startswith("already done")
    assert json.dumps(printed_spec(folder), separators=(",", ":")) in done.stdout
    assert run("convert", model, "--to", "view", "--restart").exit_code == 0
    assert tree(folder) == first
    assert set(first) == {
        "grokpack.json",
        virtual_store_layout.RECORD,
        store_index.NODES,
        "manifest.ocdbt",
    }
    text = (folder / "grokpack.json").read_text() + (
        folder / virtual_store_layout.RECORD
    ).read_text()
    assert str(model) not in text


def test_a_crash_anywhere_leaves_nothing_that_looks_whole(model: Path) -> None:
    whole = tree(attach(model))
    shutil.rmtree(model / "ckpt-0.view")
    seen: list[str] = []
    storage.faults.hook = lambda operation, _: seen.append(operation)
    attach(model)
    storage.faults.hook = None
    shutil.rmtree(model / "ckpt-0.view")
    for count in range(len(seen)):
        crash_after(count)
        with pytest.raises(Crash):
            attach(model)
        storage.faults.hook = None
        if (model / "ckpt-0.view" / "manifest.ocdbt").exists():
            assert tree(model / "ckpt-0.view").items() >= {
                (name, whole[name])
                for name in (
                    store_index.NODES,
                    "manifest.ocdbt",
                    virtual_store_layout.RECORD,
                )
            }
        assert tree(attach(model)) == whole, count
        assert survey(str(model / "ckpt-0.view")).whole
        shutil.rmtree(model / "ckpt-0.view")


def test_a_view_needs_no_head_size(model: Path) -> None:
    (model / "config.json").unlink()
    folder = attach(model)
    assert run("inspect", folder).exit_code == 0
    assert survey(str(folder), 16).whole
