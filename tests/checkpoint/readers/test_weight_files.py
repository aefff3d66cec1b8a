"""A file in a folder is not the model because it is there, nor is it what its name says."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.readers import weight_files
from grokpack.core.errors import GrokpackError, OtherFormat
from grokpack.formats import bounded_json
from grokpack.verification.compare import compare
from grokpack.verification.verify_structure import verify_structure
from tests.support.checkpoints import SMALL, reshard, synthesize
from tests.support.conversions import convert

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Survey

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", SMALL)


@pytest.fixture(scope="module")
def written(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hf") / "hf"
    convert(origin, out, "hf", shard_bytes=1 << 16)
    return out


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "hf")
    (tmp_path / "hf" / "grokpack.json").unlink()
    return tmp_path / "hf"


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-00???-of-000??.safetensors"))


def merged(folder: Path) -> dict[str, np.ndarray]:
    return {name: array for path in shards(folder) for name, array in load_file(path).items()}


def errors(found: Survey) -> set[tuple[str, str | None]]:
    return {(f.code, f.file) for f in verify_structure(found).findings if f.severity == "error"}


def put_adapter(folder: Path) -> None:
    layer = "base_model.model.model.layers.0.attn.q_proj"
    arrays = {f"{layer}.lora_A.weight": np.ones((2, 4), np.float32)}
    save_file(arrays, folder / "adapter_model.safetensors")


def put_merged(folder: Path, name: str) -> None:
    save_file(merged(folder), folder / name)


def put_bytes(folder: Path, name: str, data: bytes = b"\0\5\x16\7junk") -> None:
    (folder / name).write_bytes(data)


BESIDE: dict[str, Callable[[Path], object]] = {
    "a consolidated copy": lambda f: put_merged(f, "consolidated.safetensors"),
    "a numbered consolidated copy": lambda f: put_merged(
        f, "consolidated-00001-of-00001.safetensors"
    ),
    "a merged copy": lambda f: put_merged(f, "grok-merged.safetensors"),
    "shards of an earlier size": lambda f: put_merged(f, "model-00001-of-00099.safetensors"),
    "an adapter": put_adapter,
    "tensors of another model": lambda f: save_file(
        {"vision.proj": np.ones(2, np.float32)}, f / "vision.safetensors"
    ),
    "a companion of macOS": lambda f: put_bytes(f, f"._{shards(f)[0].name}"),
    "a copy made twice": lambda f: shutil.copy(
        shards(f)[0], f / f"{shards(f)[0].stem} (1).safetensors"
    ),
    "a copy of a file manager": lambda f: shutil.copy(
        shards(f)[0], f / f"{shards(f)[0].stem} copy.safetensors"
    ),
    "an unfinished download": lambda f: put_bytes(f, f"{shards(f)[0].name}.incomplete"),
    "a hidden lock": lambda f: put_bytes(f, f".~lock.{shards(f)[0].name}#"),
}


@pytest.mark.parametrize("indexed", [True, False], ids=["with an index", "without an index"])
@pytest.mark.parametrize("case", BESIDE)
def test_what_lies_beside_the_model_is_no_part_of_it(
    folder: Path, case: str, indexed: bool
) -> None:
    if not indexed:
        (folder / INDEX).unlink()
    count = len(shards(folder))
    BESIDE[case](folder)
    found = survey(str(folder))
    assert errors(found) == set()
    assert found.expected == count
    paths = {file.path for file in open_checkpoint(str(folder)).layout.files()}
    assert len(paths) == found.expected
    for name in ("consolidated.safetensors", "adapter_model.safetensors"):
        if (folder / name).exists():
            assert name in {f.file for f in found.findings if f.severity == "warning"}


def test_the_model_is_the_same_with_a_copy_beside_it(folder: Path, written: Path) -> None:
    (folder / INDEX).unlink()
    altered = {name: array * 0 for name, array in merged(folder).items()}
    save_file(altered, folder / "consolidated.safetensors")
    result = compare(open_checkpoint(str(folder)), open_checkpoint(str(written)))
    assert result.state == "equal"


@pytest.mark.parametrize(
    "name", ["grok.safetensors.index.json", "model.fp16.safetensors.index.json"]
)
def test_an_index_of_another_name_is_the_list(folder: Path, name: str) -> None:
    (folder / INDEX).rename(folder / name)
    put_merged(folder, "everything.safetensors")
    found = survey(str(folder))
    assert errors(found) == set()
    assert [f.file for f in found.findings] == ["everything.safetensors"]


def test_a_consolidated_copy_alone_is_the_model(folder: Path) -> None:
    put_merged(folder, "consolidated.safetensors")
    for path in (*shards(folder), folder / INDEX):
        path.unlink()
    assert errors(survey(str(folder))) == set()


def test_an_adapter_alone_is_refused_as_one(tmp_path: Path) -> None:
    put_adapter(tmp_path)
    with pytest.raises(GrokpackError, match="adapter") as caught:
        survey(str(tmp_path))
    assert caught.value.code == "GP203"


def edit(folder: Path, change: dict[str, object], drop: str | None = None) -> None:
    document = json.loads((folder / INDEX).read_text())
    document["weight_map"] |= change
    document["weight_map"].pop(drop, None)
    (folder / INDEX).write_text(json.dumps(document))


@pytest.mark.parametrize(
    "place", ["../x.safetensors", "/etc/passwd", "a/../../b", "..", "", "a\0b", "a\\b", 7, None, []]
)
def test_an_index_that_names_what_is_no_file_of_its_folder_is_refused(
    folder: Path, place: object
) -> None:
    edit(folder, {"model.norm.scale": place})
    with pytest.raises(GrokpackError, match="index is broken") as caught:
        survey(str(folder))
    assert caught.value.code == "GP209"
    assert "model.norm.scale" in str(caught.value)


def test_files_that_an_index_lists_are_missed_by_name_also_where_none_is_left(folder: Path) -> None:
    names = {path.name for path in shards(folder)}
    for path in shards(folder):
        path.unlink()
    assert errors(survey(str(folder))) == {("GP101", name) for name in names}


def test_an_index_and_its_files_must_hold_the_same_tensors(folder: Path) -> None:
    first = shards(folder)[0].name
    edit(folder, {"model.more": first}, drop="model.norm.scale")
    found = [(f.code, f.tensor) for f in survey(str(folder)).findings]
    assert ("GP105", "model.more") in found
    assert ("GP102", "model.norm.scale") in found


def test_shards_that_the_names_of_others_promise_are_missed_without_an_index(folder: Path) -> None:
    (folder / INDEX).unlink()
    gone = shards(folder)[-1]
    gone.unlink()
    assert ("GP101", gone.name) in errors(survey(str(folder)))


def test_shards_may_be_counted_from_zero(folder: Path) -> None:
    (folder / INDEX).unlink()
    for number, path in enumerate(shards(folder)):
        path.rename(folder / path.name.replace(f"-{number + 1:05d}-", f"-{number:05d}-"))
    assert errors(survey(str(folder))) == set()


def test_a_name_that_promises_many_shards_costs_little() -> None:
    assert len(weight_files.missing_shards(["x-00001-of-99999.safetensors"])) <= 1001


LEFTOVERS = (
    "{}.incomplete", "{}.part", "{}.tmp", "{}~", "{}.sha256", "{}.md5", "{} (1)",
    "{} copy", "{} 2", "{}.1", "._{}", ".{}.Xy12Zq", "{}.crdownload", "{}.torrent", "{}.metadata",
)  # fmt: skip


def test_leftovers_beside_pickles_are_no_strangers(origin: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(origin / "ckpt-0", tmp_path / "ckpt-0")
    for form in LEFTOVERS:
        put_bytes(folder, form.format("tensor00003_000"))
    assert errors(survey(str(folder))) == set()
    put_bytes(folder, "tensor00003_00x")
    assert errors(survey(str(folder))) == {("GP102", "tensor00003_00x")}


def test_what_the_index_of_ranks_does_not_list_is_mentioned(origin: Path, tmp_path: Path) -> None:
    reshard(origin, tmp_path / "r", 2)
    put_bytes(tmp_path / "r" / "common", "._model-00001-of-00001.safetensors")
    put_adapter(tmp_path / "r")
    found = survey(str(tmp_path / "r"))
    assert errors(found) == set()
    assert [f.file for f in found.findings] == ["adapter_model.safetensors"]


# What lies in a file's place

OTHERS = {
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:"
    + b"0" * 64
    + b"\nsize 9\n",
    "git-annex": b"/annex/objects/SHA256E-s10--ab.safetensors\n",
    "git-annex link": b"../.git/annex/objects/aa/bb/SHA256E-s10--ab",
    "HTML": b"\n<!-- x --><!DOCTYPE html><html><head><title>Log in</title>",
    "JSON": b'{"error": "Access to model xai-org/grok-1 is restricted"}',
    "a text of": b"== Invalid username or password.",
    "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "empty": b"",
    "zeros": bytes(4096),
    "gzip": gzip.compress(b"x" * 100),
    "zip": b"PK\3\4" + bytes(90),
    "tar": b"a" * 257 + b"ustar" + bytes(300),
    "numpy": b"\x93NUMPY\1\0" + bytes(90),
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("form", ["hf", "ranks", "ckpt-0"])
def test_what_lies_in_the_place_of_a_file_is_named(
    folder: Path, origin: Path, tmp_path: Path, form: str, case: str
) -> None:
    if form == "ranks":
        reshard(origin, tmp_path / "r", 2)
        folder = tmp_path / "r"
    if form == "ckpt-0":
        folder = shutil.copytree(origin, tmp_path / "c") / "ckpt-0"
    pattern = "tensor00003_000" if form == "ckpt-0" else "*.safetensors"
    path = min(folder.rglob(pattern))
    path.write_bytes(OTHERS[case])
    found = [f for f in survey(str(folder)).findings if f.file and folder / f.file == path]
    assert found
    assert case.removesuffix(" link") in found[0].message
    assert found[0].code == OtherFormat.CODE


def test_where_no_shard_can_be_read_each_says_why(folder: Path) -> None:
    for path in shards(folder):
        path.write_bytes(OTHERS["Git LFS"])
    found = survey(str(folder))
    assert errors(found) == {("GP233", path.name) for path in shards(folder)}
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(str(folder))
    assert any("git lfs pull" in text for _, text in caught.value.facts)


@pytest.mark.parametrize("dtype", ["F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F64", "U32"])
def test_a_dtype_that_is_not_read_is_refused_by_its_name(folder: Path, dtype: str) -> None:
    path = shards(folder)[1]
    text = json.dumps({"model.x": {"dtype": dtype, "shape": [8], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(GrokpackError, match=dtype) as caught:
        survey(str(folder))
    assert caught.value.code == "GP208"
    assert path.name in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", INDEX, "quantize_config.json"])
@pytest.mark.parametrize("case", ["Git LFS", "HTML", "zeros", "gzip"])
def test_what_lies_in_the_place_of_a_settings_file_is_named(
    folder: Path, name: str, case: str
) -> None:
    (folder / name).write_bytes(OTHERS[case])
    if name == "quantize_config.json":  # read where there are packed weights
        path = shards(folder)[0]
        arrays = {**load_file(path), "model.x.qweight": np.ones(1, np.int32)}
        save_file(arrays, path, {"format": "pt"})
    with pytest.raises(GrokpackError, match=case) as caught:
        survey(str(folder))
    assert caught.value.code == "GP209"
    assert caught.value.where is not None
    assert caught.value.where.path.endswith(name)


def test_json_that_is_only_broken_says_where() -> None:
    with pytest.raises(GrokpackError, match=r"not JSON: Expecting .* line 2"):
        bounded_json.parse(b'{"a": 1,\n "b": }')


@pytest.mark.parametrize("name", ["zarr.json", "language_model/rms_norm/scale/zarr.json", "chunk"])
def test_what_lies_in_the_place_of_a_part_of_a_store_is_named(
    origin: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "z"
    convert(origin, out, "zarr")
    embedding = out / "language_model" / "in_out_embed" / "embeddings" / "c"
    path = out / name
    if name == "chunk":
        path = min(p for p in embedding.rglob("*") if p.is_file())
    path.write_bytes(OTHERS["Git LFS"])
    try:
        found = survey(str(out)).findings
    except GrokpackError as error:
        said = str(error)
    else:
        said = next(f.message for f in found if f.file and out / f.file == path)
    assert "git lfs pull" in said


@pytest.mark.parametrize(
    ("target", "words"),
    [("../blobs/0a", "link"), ("../.git/annex/objects/a/b/SHA256E-s1--0a", "git annex get")],
)
def test_a_link_to_what_is_not_there_is_named(folder: Path, target: str, words: str) -> None:
    path = shards(folder)[0]
    path.unlink()
    path.symlink_to(target)
    found = [f for f in survey(str(folder)).findings if f.file == path.name]
    assert [f.code for f in found if "link" in f.message and words in f.message] == ["GP214"]
