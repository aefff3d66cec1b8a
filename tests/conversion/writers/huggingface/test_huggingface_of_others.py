"""Hugging Face folders that other people published: read, or refused with what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.models.grok1 import GROK1
from tests.support.checkpoints import SMALL, synthesize, tree
from tests.support.conversions import convert, expected, hf_values, stored
from tests.support.huggingface_folders import INDEX, shards
from tests.support.weight_formula import exact_weights


def rewrite(path: Path, change: Any) -> None:
    """Load a file with the reference library, change its tensors, save them the same way."""
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path, {"format": "pt"})


def codes(folder: Path) -> set[str]:
    return {f.code for f in survey(str(folder)).findings if f.severity == "error"}


def test_a_separate_head_and_rotary_buffers_are_no_reason_to_refuse(
    tmp_path: Path, folder: Path, origin: Path
) -> None:
    embedding = stored(folder)["model.embed_tokens.weight"]

    def add(arrays: dict[str, np.ndarray]) -> None:
        arrays["lm_head.weight"] = embedding.astype(arrays_dtype(folder))
        for layer in range(2):
            name = f"model.layers.{layer}.attn.rotary_emb.inv_freq"
            arrays[name] = np.ones(8, np.float32)

    rewrite(shards(folder)[-1], add)
    (folder / INDEX).unlink()
    found = survey(str(folder))
    assert {(f.code, f.severity) for f in found.findings} == {("GP102", "warning")}
    convert(folder, tmp_path / "again", "hf", names="keyfan")
    exact = expected(exact_weights(origin), 2, "bf16", "bf16")
    for name, values in hf_values(tmp_path / "again", "keyfan", 2, 4).items():
        np.testing.assert_array_equal(values, exact[name], err_msg=name)


def arrays_dtype(folder: Path) -> np.dtype[Any]:
    with safe_open(shards(folder)[0], framework="np") as handle:
        dtype: np.dtype[Any] = handle.get_tensor("model.embed_tokens.weight").dtype
    return dtype


def test_shards_of_other_names_are_found_by_the_index_and_without_one(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    for number, path in enumerate(shards(folder)):
        new = f"grok_{chr(97 + number)}.safetensors"
        path.rename(folder / new)
        table = index["weight_map"]
        index["weight_map"] = {n: new if f == path.name else f for n, f in table.items()}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / "grokpack.json").unlink()  # it lists the names that they had
    assert survey(str(folder)).whole
    (folder / INDEX).unlink()
    assert survey(str(folder)).whole


def test_a_head_that_was_trained_apart_is_refused(folder: Path) -> None:
    embedding = stored(folder)["model.embed_tokens.weight"].astype(arrays_dtype(folder))
    rewrite(shards(folder)[-1], lambda a: a.update({"lm_head.weight": embedding * 2}))
    assert codes(folder) == {"GP218"}


def wider(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    name = next(n for n in arrays if n.endswith("q_proj.weight"))
    return {name: np.concatenate([arrays[name]] * 2)}


def first_with(folder: Path, text: str) -> Path:
    return next(p for p in shards(folder) if any(text in n for n in load_file(p)))


def drop(arrays: dict[str, np.ndarray], text: str) -> None:
    arrays.pop(next(n for n in arrays if text in n))


def misplace(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    name = next(iter(index["weight_map"]))
    others = [p.name for p in shards(folder) if p.name != index["weight_map"][name]]
    index["weight_map"][name] = others[0]
    (folder / INDEX).write_text(json.dumps(index))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def mix(arrays: dict[str, np.ndarray]) -> None:
    name = next(n for n in arrays if ".attn." in n)
    arrays[name.replace(".attn.", ".self_attn.")] = arrays.pop(name)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BREAKS: dict[str, tuple[Any, str]] = {
    "a shard is missing": (lambda f: shards(f)[1].unlink(), "GP101"),
    "a tensor stands in two shards": (
        lambda f: rewrite(
            shards(f)[0], lambda a: a.update(dict([next(iter(load_file(shards(f)[1]).items()))]))
        ),
        "GP109",
    ),
    "a tensor has another shape": (
        lambda f: rewrite(first_with(f, "q_proj"), lambda a: a.update(wider(a))),
        "GP105",
    ),
    "an expert is missing": (
        lambda f: rewrite(first_with(f, ".experts.2."), lambda a: drop(a, ".experts.2.")),
        "GP101",
    ),
    "an index places a tensor elsewhere": (misplace, "GP105"),
    "a shard is cut short": (lambda f: cut_short(shards(f)[1]), "GP111"),
    "a tensor has a name of another convention": (
        lambda f: rewrite(first_with(f, ".attn."), mix),
        "GP102",
    ),
    "the config is of another model": (lambda f: edit_config(f, num_hidden_layers=3), "GP101"),
}


@pytest.mark.parametrize("case", BREAKS)
def test_what_is_wrong_is_named_and_nothing_is_written(
    tmp_path: Path, folder: Path, case: str
) -> None:
    damage, code = BREAKS[case]
    damage(folder)
    assert code in codes(folder)
    with pytest.raises(GrokpackError) as caught:
        convert(folder, tmp_path / "out", "ckpt-0")
    assert caught.value.code == "GP202"
    assert caught.value.facts
    assert not (tmp_path / "out").exists()


def test_names_of_no_convention_are_listed_with_the_nearest(folder: Path) -> None:
    for path in shards(folder):
        rewrite(path, rename)
    (folder / INDEX).unlink()
    with pytest.raises(GrokpackError) as caught:
        survey(str(folder))
    assert caught.value.code == "GP217"
    assert any("near model.layers.N." in text for _, text in caught.value.facts)


def rename(arrays: dict[str, np.ndarray]) -> None:
    for name in list(arrays):
        arrays[name.replace("layers", "blocks").replace("embed_tokens", "wte")] = arrays.pop(name)


@pytest.mark.parametrize(
    "files",
    [
        ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
        ["pytorch_model-00000-003.bin"],
        ["pytorch_model.bin"],
        ["consolidated.00.pth"],
    ],
)
def test_a_folder_of_torch_pickles_is_refused_with_what_to_do(
    tmp_path: Path, files: list[str]
) -> None:
    for name in [*files, "config.json", "training_args.bin"]:
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(GrokpackError, match="pickles") as caught:
        open_checkpoint(str(tmp_path))
    assert caught.value.code == "GP220"
    assert caught.value.exit_status is ExitStatus.SOURCE
    assert "save_file" in (caught.value.hint or "")


@pytest.mark.parametrize("number", [10**9, 10**4])
def test_a_config_cannot_make_it_count_for_ever(folder: Path, number: int) -> None:
    edit_config(folder, num_hidden_layers=number)
    assert survey(str(folder)).findings


def test_a_name_cannot_make_it_count_for_ever(folder: Path) -> None:
    one = np.ones(2, np.float32)
    names_ = ("layers.99999.moe_block.experts.9.linear.weight", "layers.1.moe_block.experts.99999")
    added = {f"model.{name}": one for name in (*names_, names_[1] + ".linear.weight")}
    rewrite(shards(folder)[0], lambda a: a.update(added))
    assert not survey(str(folder)).whole


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{" * 5000,
        b"[]",
        b'{"a":1}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}',
        b'{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}',
    ],
)
def test_hostile_headers_end_in_a_finding(tmp_path: Path, header: bytes) -> None:
    data = len(header).to_bytes(8, "little") + header + bytes(4)
    (tmp_path / "model.safetensors").write_bytes(data)
    try:
        found = {f.code for f in survey(str(tmp_path)).findings}
    except GrokpackError as error:
        found = {error.code}
    assert found & {"GP111", "GP217", "GP208", "GP233"}


def test_an_unfinished_folder_is_not_taken_for_a_checkpoint(folder: Path) -> None:
    before = tree(folder)
    (folder / ".grokpack").mkdir()
    (folder / ".grokpack" / "plan.json").write_text("{}")
    with pytest.raises(GrokpackError) as caught:
        survey(str(folder))
    assert caught.value.code == "GP212"
    assert tree(folder) == before


def test_layers_keep_their_numbers_beyond_nine(tmp_path: Path) -> None:
    from dataclasses import replace

    source = synthesize(tmp_path / "m", replace(SMALL, layers=11))
    convert(source, tmp_path / "hf", "hf", dtype="f32")
    exact = exact_weights(source)
    found = hf_values(tmp_path / "hf", "hpcai", 11, SMALL.experts)
    assert len(found) == len(GROK1.tensors(11))
    for name, values in found.items():
        np.testing.assert_array_equal(values, exact[name], err_msg=name)


@pytest.mark.parametrize("rank", [0, 1, 3, "common"])
def test_a_rank_of_which_nothing_is_here_is_missed(
    tmp_path: Path, origin: Path, rank: int | str
) -> None:
    out = tmp_path / "sg"
    convert(origin, out, "sglang", tp=4)
    ending = rank if isinstance(rank, str) else f"{rank:03d}"
    for path in out.glob(f"*-TP-{ending}.safetensors"):
        path.unlink()
    assert survey(str(out)).findings
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(str(out))
    assert caught.value.code == "GP202"
