"""Hugging Face folders: what is in them, and those that other people published."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from grokpack.checkpoint import tokenizer_files
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.models import grok1, tensor_names
from tests.support.checkpoints import GOLDEN, SMALL, synthesise, tree
from tests.support.converting import WIDE, convert, expected, hf_values, stored
from tests.support.sentencepieces import sentencepieces
from tests.support.weights import exact_weights

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("origin") / "m", WIDE)


@pytest.fixture
def folder(origin: Path, tmp_path: Path) -> Path:
    convert(origin, tmp_path / "hf", "hf", shard_bytes=1 << 19)
    return tmp_path / "hf"


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def rewrite(path: Path, change: Any) -> None:
    """Load a file with the reference library, change its tensors, save them the same way."""
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path, {"format": "pt"})


def codes(folder: Path) -> set[str]:
    return {f.code for f in survey(str(folder)).findings if f.severity == "error"}


# What is written


@pytest.mark.parametrize("convention", list(tensor_names.CONVENTIONS))
def test_config_says_what_each_engine_needs(tmp_path: Path, origin: Path, convention: str) -> None:
    convert(origin, tmp_path / "hf", "hf", names=convention)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    model = {"hpcai": "Grok1ModelForCausalLM", "sglang": "Grok1ForCausalLM"}
    assert config["architectures"] == [model.get(convention, "GrokForCausalLM")]
    wanted = {
        "vocab_size": 64, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 16,
        "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
        "router_logit_softcapping": 0, "moe_router_renormalize": False,
        "attn_logit_softcapping": 30.0, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "embedding_multiplier_scale": 96**0.5, "output_multiplier_scale": 3**-0.5,
        "attn_output_multiplier": 16**-0.5, "torch_dtype": "bfloat16",
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "tie_word_embeddings": convention != "sglang",
    }  # fmt: skip
    assert {key: config[key] for key in wanted} == pytest.approx(wanted)
    assert config.get("load_presharded_moe", True) == (convention != "sglang")
    code = {value.split(".")[0] for value in config["auto_map"].values()}
    assert all((tmp_path / "hf" / f"{name}.py").exists() for name in code)
    generation = json.loads((tmp_path / "hf" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == 2
    assert (tmp_path / "hf" / "README.md").read_text().startswith("---\nlicense: apache-2.0")


def test_the_index_is_what_the_files_hold_and_no_shard_is_larger_than_asked(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    held: dict[str, str] = {}
    total = 0
    for path in shards(folder):
        assert re.fullmatch(rf"model-\d{{5}}-of-{len(shards(folder)):05d}\.safetensors", path.name)
        with safe_open(path, framework="np") as handle:
            sizes = [handle.get_tensor(name).nbytes for name in handle.keys()]  # noqa: SIM118
            held |= dict.fromkeys(handle.keys(), path.name)
        assert sum(sizes) <= 1 << 19 or len(sizes) == 1
        total += sum(sizes)
    assert index == {"metadata": {"total_size": total}, "weight_map": held}


def test_the_last_tensor_is_no_expert(folder: Path) -> None:
    """llama.cpp's converter writes the experts of a layer when something else follows them."""
    with safe_open(shards(folder)[-1], framework="np") as handle:
        assert ".experts." not in max(handle.keys())


def test_only_sglangs_folder_has_a_head_of_its_own_and_it_is_the_embedding(
    tmp_path: Path, origin: Path
) -> None:
    for convention in tensor_names.CONVENTIONS:
        convert(origin, tmp_path / convention, "hf", names=convention)
        assert ("lm_head.weight" in stored(tmp_path / convention)) == (convention == "sglang")
    arrays = stored(tmp_path / "sglang")
    np.testing.assert_array_equal(arrays["lm_head.weight"], arrays["model.embed_tokens.weight"])


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_presharded_files_hold_what_sglangs_loader_takes(
    tmp_path: Path, origin: Path, tp: int
) -> None:
    out = tmp_path / "sg"
    convert(origin, out, "sglang", tp=tp)
    config = json.loads((out / "config.json").read_text())
    assert config["load_presharded_moe"] == (tp > 1)
    assert not (out / INDEX).exists()
    whole = stored(convert_to(origin, tmp_path / "whole", "sglang"))
    loaded: set[str] = set()
    for rank in range(tp):
        own = [*out.glob(f"*-TP-{rank:03d}.safetensors")]
        common = [*out.glob("*-TP-common.safetensors")]
        assert own
        assert common
        arrays = {n: a for p in (*own, *common) for n, a in load_file(p).items()}
        assert set(arrays) == set(whole)
        loaded |= {p.name for p in (*own, *common)}
        for name, array in arrays.items():
            axis = {"w1": 0, "w3": 0, "w2": 1}.get(name.split(".")[-2])
            part = whole[name] if axis is None else np.split(whole[name], tp, axis)[rank]
            np.testing.assert_array_equal(array.astype(np.float32), part, err_msg=name)
    assert loaded == {p.name for p in shards(out)}
    assert "lm_head.weight" in whole


def convert_to(source: Path, out: Path, convention: str) -> Path:
    convert(source, out, "hf", names=convention)
    return out


# The tokenizer


def test_tokenizer_files_beside_the_source_are_carried_along(tmp_path: Path) -> None:
    source = shutil.copytree(GOLDEN, tmp_path / "in")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (source / name).write_text(json.dumps({"of": name}))
    convert(source, tmp_path / "hf", "hf")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "hf" / name).read_bytes() == (source / name).read_bytes()
    target = plan_convert(open_checkpoint(str(source)), "hf").target
    assert not [note for note in target.notes if "tokenizer" in note]
    none = plan_convert(open_checkpoint(str(source)), "hf", ConvertOptions(tokenizer="none")).target
    assert "tokenizer.json" not in none.finals
    assert "no tokenizer here" in none.finals["README.md"].decode()
    (source / "tokenizer.json").unlink()
    (source / "tokenizer.model").write_bytes(sentencepieces(60))
    alone = plan_convert(open_checkpoint(str(source)), "hf").target.finals["README.md"].decode()
    assert "transformers 4.57 needs a `tokenizer.json`" in " ".join(alone.split())
    assert "transformers 4.57 needs" not in target.finals["README.md"].decode()


def test_a_tokenizer_may_be_named_by_file_or_folder(tmp_path: Path, origin: Path) -> None:
    place = tmp_path / "tokenizer"
    place.mkdir()
    pieces, others = sentencepieces(60), sentencepieces(50)
    (place / "tokenizer.model").write_bytes(pieces)
    (tmp_path / "other.model").write_bytes(others)
    checkpoint = open_checkpoint(str(origin))
    for given, held in (
        (place, pieces),
        (place / "tokenizer.model", pieces),
        (tmp_path / "other.model", others),
    ):
        finals = plan_convert(checkpoint, "hf", ConvertOptions(tokenizer=str(given))).target.finals
        assert finals["tokenizer.model"] == held
    for missing in (tmp_path / "nowhere", origin):
        with pytest.raises(GrokpackError) as caught:
            plan_convert(checkpoint, "hf", ConvertOptions(tokenizer=str(missing)))
        assert caught.value.code == "GP306"


def test_xais_tokenizer_alone_is_described_to_transformers(
    tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Llama's class, the usual one for such a file, would cut most texts otherwise."""
    given = tmp_path / "tokenizer.model"
    pieces = sentencepieces(60)
    given.write_bytes(pieces)
    checkpoint, options = open_checkpoint(str(origin)), ConvertOptions(tokenizer=str(given))
    assert (
        tokenizer_files.TOKENIZER_CONFIG
        not in plan_convert(checkpoint, "hf", options).target.finals
    )
    monkeypatch.setattr(tokenizer_files, "_XAI_TOKENIZER", hashlib.sha256(pieces).hexdigest())
    with pytest.raises(GrokpackError, match="another model") as caught:
        plan_convert(checkpoint, "hf", options)
    assert caught.value.code == "GP306"
    monkeypatch.setattr(tokenizer_files, "GROK1", WIDE)
    written = plan_convert(checkpoint, "hf", options).target.finals[
        tokenizer_files.TOKENIZER_CONFIG
    ]
    assert json.loads(written)["tokenizer_class"] == "PreTrainedTokenizerFast"
    (tmp_path / tokenizer_files.TOKENIZER_CONFIG).write_text("{}")
    kept = plan_convert(checkpoint, "hf", options).target.finals[tokenizer_files.TOKENIZER_CONFIG]
    assert kept == b"{}"


# What other people published


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

    source = synthesise(tmp_path / "m", replace(SMALL, layers=11))
    convert(source, tmp_path / "hf", "hf", dtype="f32")
    exact = exact_weights(source)
    found = hf_values(tmp_path / "hf", "hpcai", 11, SMALL.experts)
    assert len(found) == len(grok1.entries(11))
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
