"""GGUF models as people have them: experts apart, splits, and other files beside them."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.report.text import verification_text as text
from grokpack.verification.compare import compare
from grokpack.verification.verify_structure import verify_structure
from tests.conversion.writers.test_gguf import BLOCKS, convert
from tests.support import grok2
from tests.support.checkpoints import synthesize, tensor_files
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from grokpack.checkpoint.checkpoint import Survey

Tensor = tuple[str, np.ndarray, int]
TYPES = ("f32", "bf16", "q8_0")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", BLOCKS)


@pytest.fixture(scope="module")
def merged(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("gguf")
    return {kind: convert(origin, base / f"{kind}.gguf", type=kind) for kind in TYPES}


@pytest.fixture(scope="module")
def apart(merged: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("apart")
    return {kind: write(base / f"{kind}.gguf", merged[kind], separate) for kind in TYPES}


def separate(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    """A tensor for each expert, as llama.cpp's converter wrote them at first."""
    for name, data, kind in tensors:
        if "_exps." in name:
            for expert, values in enumerate(data):
                yield name.replace("_exps.weight", f".{expert}.weight"), values, kind
        else:
            yield name, data, kind


def write(
    out: Path, source: Path, change: Callable[[Iterable[Tensor]], Iterable[Tensor]], **keys: str
) -> Path:
    """Write a file anew with llama.cpp's own library, its tensors changed."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, keys.pop("arch", "grok"))
    for name, field in reader.fields.items():
        if name != "general.architecture" and not name.startswith("GGUF.") and field.types:
            writer.add_key_value(name, field.contents(), field.types[0])
    for key, value in keys.items():
        writer.add_string(key.replace("__", "."), value)
    held = [(t.name, np.array(t.data), t.tensor_type) for t in reader.tensors]
    for name, data, kind in change(held):
        writer.add_tensor(
            name, np.ascontiguousarray(data), raw_dtype=gguf.GGMLQuantizationType(kind)
        )
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    return out


def errors(found: Survey) -> set[tuple[str, str | None]]:
    return {(f.code, f.tensor) for f in found.findings if f.severity == "error"}


@pytest.mark.parametrize("kind", TYPES)
def test_experts_that_lie_apart_are_the_model_that_merged_ones_are(
    merged: dict[str, Path], apart: dict[str, Path], kind: str
) -> None:
    one, other = open_checkpoint(str(merged[kind])), open_checkpoint(str(apart[kind]))
    assert other.tensors == one.tensors
    assert other.geometry == one.geometry
    assert compare(one, other).state == "equal"


def test_released_codes_come_back_to_the_byte_from_experts_apart(
    origin: Path, tmp_path: Path
) -> None:
    whole = convert(origin, tmp_path / "x.gguf", type="q8_0", embedding="f32")
    old = write(tmp_path / "old.gguf", whole, separate)
    plan = plan_convert(open_checkpoint(str(old)), "ckpt-0", ConvertOptions())
    execute(plan, str(tmp_path / "back"))
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(origin / "ckpt-0")


def test_an_expert_that_is_missing_is_named(apart: dict[str, Path], tmp_path: Path) -> None:
    gone = "blk.1.ffn_up.1.weight"
    path = write(tmp_path / "x.gguf", apart["f32"], lambda ts: [t for t in ts if t[0] != gone])
    assert errors(survey(str(path))) == {("GP101", gone)}
    assert "blk.1.ffn_up.1.weight" in shown(path)


def test_experts_of_unequal_types_are_named(apart: dict[str, Path], tmp_path: Path) -> None:
    half = "blk.0.ffn_gate.1.weight"

    def change(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
        for name, data, kind in tensors:
            yield (name, data.astype(np.float16), 1) if name == half else (name, data, kind)

    path = write(tmp_path / "x.gguf", apart["f32"], change)
    assert errors(survey(str(path))) == {("GP106", "blk.0.ffn_gate.0.weight")}


def shown(path: Path) -> str:
    return text.render(verify_structure(survey(str(path))), 0.1)


@given(st.data())
def test_every_finding_has_a_name_and_no_count_is_more_than_there_are(
    apart: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = [t.name for t in gguf.GGUFReader(apart["bf16"]).tensors]
    dropped = data.draw(st.sets(st.sampled_from(names), max_size=3))
    renamed = data.draw(
        st.dictionaries(st.sampled_from(names), st.text("abc.0", min_size=1), max_size=2)
    )
    turned = data.draw(st.sets(st.sampled_from(names), max_size=2))

    def change(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
        given_names = set(renamed.values())
        for name, values, kind in tensors:
            if name not in dropped and name not in given_names:
                shape = values.shape[::-1] if name in turned and values.ndim > 1 else values.shape
                yield renamed.get(name, name), values.reshape(shape), kind

    if len(set(renamed.values())) < len(renamed):
        return
    path = tmp_path_factory.mktemp("odd") / "x.gguf"
    write(path, apart["f32"], change)
    found = survey(str(path))
    assert all(finding.file == "x.gguf" for finding in found.findings)
    assert all(f.tensor for f in found.findings if f.code != "GP130")
    said = text.render(verify_structure(found), 0.1)
    assert ("1 of 1 file" in said) == bool(found.findings)
    assert "x.gguf/x.gguf" not in said


def stub(path: Path, arch: str, **keys: str) -> None:
    """A small GGUF file of another kind."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        writer.add_string(key.replace("__", "."), value)
    writer.add_tensor("v.patch_embd.weight", np.zeros((4, 4), np.float32))
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()


BESIDE: dict[str, Callable[[Path], object]] = {
    "a projector": lambda f: stub(f / "mmproj-model-f16.gguf", "clip"),
    "another architecture": lambda f: stub(f / "draft.gguf", "llama"),
    "an adapter": lambda f: stub(f / "style.gguf", "grok", general__type="adapter"),
    "an importance matrix": lambda f: stub(f / "x.gguf", "grok", general__type="imatrix"),
    "a companion of macOS": lambda f: (f / "._f32.gguf").write_bytes(b"\0\5\x16\7"),
    "a copy": lambda f: shutil.copy(f / "f32.gguf", f / "f32 (1).gguf"),
    "a broken download": lambda f: (f / "other.gguf").write_bytes(b"<html>"),
    "an unfinished download": lambda f: (f / "f32.gguf.part").write_bytes(b"GGUF"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_lies_beside_a_model_is_no_part_of_it(
    merged: dict[str, Path], tmp_path: Path, case: str
) -> None:
    shutil.copy(merged["f32"], tmp_path)
    BESIDE[case](tmp_path)
    found = survey(str(tmp_path))
    assert errors(found) == set()
    assert found.expected == 1
    assert [f.path for f in open_checkpoint(str(tmp_path)).layout.files()] == ["f32.gguf"]


def test_several_models_are_listed(merged: dict[str, Path]) -> None:
    with pytest.raises(GrokpackError, match="several") as caught:
        survey(str(merged["f32"].parent))
    assert caught.value.code == "GP203"
    assert all(f"{kind}.gguf" in str(caught.value.facts) for kind in TYPES)


@pytest.fixture
def split(origin: Path, tmp_path: Path) -> Path:
    return convert(origin, tmp_path / "split", type="q8_0", shard_bytes=1 << 19)


@pytest.mark.parametrize("which", [0, 1, -1])
def test_files_of_a_split_that_are_missing_are_named(split: Path, which: int) -> None:
    files = sorted(split.glob("*.gguf"))
    files[which].unlink()
    found = survey(str(split))
    assert found.expected == len(files)
    assert files[which].name in {f.file for f in found.findings if f.code == "GP101"}
    assert f" of {len(files)} files" in shown(split)


def test_files_of_a_split_under_other_names_say_which_they_are(split: Path) -> None:
    first, second, *_ = sorted(split.glob("*.gguf"))
    shutil.move(first, split / "all.gguf")
    found = survey(str(split / "all.gguf"))
    assert "GP108" in {f.code for f in found.findings}
    shutil.move(second, split / "more.gguf")
    with pytest.raises(GrokpackError, match="number 2 of a split") as caught:
        survey(str(split / "more.gguf"))
    assert caught.value.code == "GP219"


def test_swapped_files_of_a_split_are_found(split: Path) -> None:
    _, second, third, *_ = sorted(split.glob("*.gguf"))
    kept = second.read_bytes()
    second.write_bytes(third.read_bytes())
    third.write_bytes(kept)
    found = {(f.code, f.file) for f in survey(str(split)).findings}
    assert {("GP108", second.name), ("GP108", third.name)} <= found


def patched(source: Path, out: Path, at: int, data: bytes) -> str:
    octets = bytearray(source.read_bytes())
    octets[at : at + len(data)] = data
    out.write_bytes(octets)
    return str(out)


@pytest.mark.parametrize(
    ("at", "data", "words", "code"),
    [
        (4, struct.pack(">I", 3), "big-endian", "GP219"),
        (4, struct.pack(">I", 2), "big-endian", "GP219"),
        (4, struct.pack("<I", 1), "version 1", "GP219"),
        (4, struct.pack("<I", 0x12345678), "version", "GP219"),
        (0, b"tjgg", "before GGUF", "GP233"),
        (0, b"version https://git-lfs.github.com/spec/v1", "git lfs pull", "GP233"),
        (0, b"<!DOCTYPE html><html>", "HTML", "GP233"),
        (0, b"PK\3\4", "zip", "GP233"),
        (0, bytes(600), "zeros", "GP233"),
        (0, b"\x93NUMPY", "numpy", "GP233"),
    ],
)
def test_what_is_no_readable_gguf_is_named(
    merged: dict[str, Path], tmp_path: Path, at: int, data: bytes, words: str, code: str
) -> None:
    path = patched(merged["q8_0"], tmp_path / "x.gguf", at, data)
    with pytest.raises(GrokpackError, match=words) as caught:
        survey(path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("keys", "words"),
    [({"arch": "llama"}, "llama"), ({"general__type": "adapter"}, "adapter")],
)
def test_other_kinds_of_files_are_named(
    merged: dict[str, Path], tmp_path: Path, keys: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "x.gguf", merged["f32"], lambda tensors: tensors, **keys)
    with pytest.raises(GrokpackError, match=words) as caught:
        survey(str(path))
    assert caught.value.code == "GP219"


def test_the_page_on_formats_has_every_key_that_is_written_and_no_other(
    merged: dict[str, Path], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "reference" / "formats.md").read_text()
    table = page.partition("### Keys")[2].partition("| key of the vocabulary")[0]
    first, second = (_keys(part) for part in table.split("Grok-2's release has these instead"))
    assert len({*first}) == len(first)
    assert len({*second}) == len(second)
    options = ConvertOptions(type="bf16", yarn=True)
    plan = plan_convert(open_checkpoint(str(grok2.RELEASE)), "gguf", options)
    execute(plan, str(tmp_path / "grok-2.gguf"))
    fields = [
        field
        for path in (merged["q8_0"], tmp_path / "grok-2.gguf")
        for field in gguf.GGUFReader(path).fields
    ]
    own = {key for key in fields if not key.startswith(("GGUF.", "tokenizer."))}
    assert {*first, *second} == own


def _keys(table: str) -> list[str]:
    """Keys in the first column of a table; one that begins with a dot goes on from the last."""
    told: list[str] = []
    for row in re.findall(r"^\| (`[a-z].*?) \|", table, re.MULTILINE):
        for key in re.findall(r"`([a-z_.]+)`", row):
            told.append(key if key[0] != "." else told[-1].rpartition(".")[0] + key)
    return told
