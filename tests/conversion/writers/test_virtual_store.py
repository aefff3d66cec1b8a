"""Views: TensorStore alone reads every value in place, and no change behind it goes unnoticed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
from typer.testing import CliRunner, Result

from grokpack import storage
from grokpack.checkpoint.layouts import virtual_store_layout
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.virtual_store import chunk_grid
from grokpack.cli.app import app
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import FileLayout, Layout, Part, whole
from grokpack.execution.run import execute
from grokpack.models import architecture
from grokpack.verification.verify_structure import verify_structure
from tests.faults.crashing import Crash, crash_after
from tests.support.checkpoints import GOLDEN, reshard, synthesise, tree
from tests.support.converting import WIDE, attach, convert, stored
from tests.support.weights import unpickled

GATE = "transformer/decoder_layer_0/moe/linear/w"
SMALL_CHUNKS = 4096  # bytes; so that small arrays have many chunks


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    yield
    storage.faults.hook = None


@pytest.fixture(autouse=True)
def _many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_grid, "CHUNK_BYTES", SMALL_CHUNKS)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("origin") / "m", WIDE)


@pytest.fixture
def model(origin: Path, tmp_path: Path) -> Path:
    shutil.copytree(origin, tmp_path / "m")
    return tmp_path / "m"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--progress", "none"])


def printed_spec(folder: Path) -> dict[str, Any]:
    """What `inspect` prints to be pasted."""
    text = run("inspect", folder).stdout
    (line,) = (line for line in text.splitlines() if "open it  tensorstore: " in line)
    spec: dict[str, Any] = json.loads(line.partition("tensorstore: ")[2])
    return spec


def read_all(spec: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every array below the spec's store, by TensorStore alone."""
    kvstore = {**spec["kvstore"], "path": ""}
    keys = [key.decode() for key in ts.KvStore.open(kvstore).result().list().result()]
    found = {}
    for key in keys:
        name = key.removesuffix("zarr.json")
        if name == key or json.loads(_value(kvstore, key))["node_type"] != "array":
            continue
        one = {"driver": "zarr3", "kvstore": {**kvstore, "path": name}}
        found[name.rstrip("/")] = ts.open(one, read=True).result().read().result()
    return found


def _value(kvstore: dict[str, Any], key: str) -> bytes:
    value: bytes = ts.KvStore.open(kvstore).result()[key]
    return value


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype, name
        assert found[name].shape == values.shape, name
        assert found[name].tobytes() == values.tobytes(), name


def contents(path: Path) -> tuple[int, bytes]:
    return path.stat().st_mtime_ns, path.read_bytes()


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
    source = synthesise(tmp_path / "m", geometry)
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
        document: dict[str, Any] = json.loads(_value({**spec["kvstore"], "path": ""}, name))
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
    groups = [
        _value({**spec["kvstore"], "path": ""}, f"{g}zarr.json") for g in ("", "transformer/")
    ]
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
        virtual_store_layout.NODES,
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
                    virtual_store_layout.NODES,
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


def later(path: Path) -> None:
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


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
    + [(virtual_store_layout.NODES, c) for c in ("edited", "gone")],
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
    synthesise(tmp_path / "other", architecture.Geometry(64, 96, 2, 4, 288, 256, 64, 16))
    shutil.move(tmp_path / "other" / "ckpt-0", model / "ckpt-0")
    assert [f.code for f in survey(str(folder)).findings if f.code == "GP116"] == ["GP116"]
    with pytest.raises(GrokpackError) as caught:
        grokpack.open(str(folder))
    assert caught.value.code == "GP226"


BROKEN = {
    "gone": None,
    "no json": (virtual_store_layout.RECORD, "{"),
    "other record": (virtual_store_layout.RECORD, '{"schema": "grokpack/view/1", "base": 3}'),
    "a list": (virtual_store_layout.RECORD, "[]"),
    "a list of stamps": (".grokpack/run.json", "[]"),
    "stamps of another kind": (".grokpack/run.json", '{"kept": {"tensor00000_000": 3}}'),
}


@pytest.mark.parametrize("change", BROKEN)
def test_a_view_of_nothing_is_refused(model: Path, change: str) -> None:
    folder = attach(model)
    if (broken := BROKEN[change]) is None:
        shutil.rmtree(model / "ckpt-0")
    else:
        (folder / broken[0]).write_text(broken[1])
    code = "GP226" if change == "gone" else "GP209"
    done = run("inspect", folder)
    assert (done.exit_code, f"error[{code}]" in done.stderr) == (3, True)
    done = run("verify", folder)
    if (
        broken is not None and broken[0] == virtual_store_layout.RECORD
    ):  # its manifest proves the damage
        assert done.exit_code == 1
        assert "error[GP112]" in done.stdout + done.stderr
    else:
        assert (done.exit_code, f"error[{code}]" in done.stderr) == (3, True)


def test_only_files_that_hold_arrays_densely_can_be_pointed_at(
    model: Path,
) -> None:
    source = open_checkpoint(str(model))
    for other in (replace(source, format="another"), replace(source, folder="s3://a/ckpt-0")):
        with pytest.raises(GrokpackError) as caught:
            plan_convert(other, "view")
        assert caught.value.code == "GP306"


def test_arrays_that_are_no_chunks_in_place_are_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "grokpack.checkpoint.virtual_store.index.in_place", lambda *_: "the files say so"
    )
    done = run("convert", model, "--to", "view")
    assert done.exit_code == 2
    assert "error[GP306]" in done.stderr
    assert "the files say so" in done.stderr
    assert not (model / "ckpt-0.view").exists()


def test_more_chunks_than_an_index_should_have_are_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.checkpoint.virtual_store.index.MOST_KEYS", 30)
    done = run("convert", model, "--to", "view")
    assert done.exit_code == 2
    assert "more than 30" in done.stderr


def test_names_that_no_key_can_be_are_refused(model: Path) -> None:
    checkpoint = open_checkpoint(str(model))
    layout = checkpoint.layout
    spec = layout.arrays[GATE]
    for name in (f"{GATE}/c/x", "\ud800"):
        part = Part(name, whole(spec.shape), spec.dtype)
        file = FileLayout("other", (part,))
        more = Layout({**layout.arrays, name: spec}, (*layout.bands, (file,)))
        with pytest.raises(GrokpackError) as caught:
            plan_convert(replace(checkpoint, layout=more), "view")
        assert caught.value.code == "GP306"
