"""Resharding: every width, both formats, there and back to the byte."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.writers.scale_groups import probe_groups
from grokpack.core.errors import GrokpackError
from grokpack.models.architecture import Geometry, ModelTensor
from grokpack.models.grok1 import GROK1
from grokpack.verification.verify_structure import verify_structure
from tests.support.checkpoints import GOLDEN, SMALL, reshard, synthesize, tensor_files, tree

ORIGINAL = tensor_files(GOLDEN / "ckpt-0")


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("to", ["safetensors", "ckpt-0"])
def test_the_golden_checkpoint_comes_back_to_the_byte(tmp_path: Path, tp: int, to: str) -> None:
    reshard(GOLDEN, tmp_path / "there", tp, to)
    reshard(tmp_path / "there", tmp_path / "back", 8, "ckpt-0")
    assert tensor_files(tmp_path / "back" / "ckpt-0") == ORIGINAL


@pytest.mark.parametrize("options", [{}, {"scales": "bf16-weights"}, {"hosts": 2}])
def test_one_checkpoint_has_one_kind_of_bfloat16(tmp_path: Path, options: dict[str, Any]) -> None:
    """jax refuses a bfloat16 whose flags are not those of the ml_dtypes that it runs with."""
    old, new = (b"NNNK\x02K\x02K" + flags for flags in (b"\x50", b"\x40"))
    reshard(GOLDEN, tmp_path / "there", 4, "ckpt-0", **options)
    files = tensor_files(tmp_path / "there" / "ckpt-0").values()
    assert any(new in data for data in files)
    assert not any(old in data for data in files)


def test_framing_of_another_numpy_returns_from_a_width_that_it_does_not_fit(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(GOLDEN, source)
    for path in (source / "ckpt-0").iterdir():
        path.write_bytes(_as_numpy_2_writes(path.read_bytes()))
    original = tensor_files(source / "ckpt-0")
    reshard(source, tmp_path / "there", 4, "ckpt-0")
    reshard(tmp_path / "there", tmp_path / "back", 8, "ckpt-0")
    assert tensor_files(tmp_path / "back" / "ckpt-0") == original


def _as_numpy_2_writes(data: bytes) -> bytes:
    old, new = b"\x8c\x15numpy.core.multiarray", b"\x8c\x16numpy._core.multiarray"
    assert data.count(old) == 1
    (frame,) = struct.unpack("<Q", data[3:11])
    return data[:3] + struct.pack("<Q", frame + 1) + data[11:].replace(old, new)


def test_a_long_way_round_comes_back_to_the_byte(tmp_path: Path) -> None:
    reshard(GOLDEN, tmp_path / "a", 4, "ckpt-0", hosts=2)
    reshard(tmp_path / "a", tmp_path / "b", 2)
    reshard(tmp_path / "b", tmp_path / "c", 1, "ckpt-0")
    reshard(tmp_path / "c", tmp_path / "d", 8)
    reshard(tmp_path / "d", tmp_path / "e", 8, "ckpt-0", hosts=8)
    reshard(tmp_path / "e", tmp_path / "f", 8, "ckpt-0")
    assert tensor_files(tmp_path / "f" / "ckpt-0") == ORIGINAL


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    groups = draw(st.sampled_from([1, 2, 4, 8]))
    head_dim, kv = draw(st.sampled_from([4, 12])), draw(st.sampled_from([4, 8]))
    return Geometry(
        vocab=16 * draw(st.integers(1, 3)),
        d_model=16 * draw(st.integers(1, 2)),
        layers=draw(st.sampled_from([1, 2, 11])),
        experts=draw(st.integers(1, 3)),
        ffn=16 * draw(st.integers(1, 3)),
        q_width=16 * head_dim,
        kv_width=kv * head_dim,
        head_dim=head_dim,
        scale_groups=groups,
    )


@settings(max_examples=8)  # of a few hundred files each
@given(geometries(), st.data())
def test_any_model_returns_from_any_width_in_any_format(
    tmp_path_factory: pytest.TempPathFactory, geometry: Geometry, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("model")
    source = synthesize(root / "source", geometry)
    here = source
    for step in range(data.draw(st.integers(1, 3))):
        tp = data.draw(st.sampled_from([1, 2, 4, 8, 16]))
        to = data.draw(st.sampled_from(["safetensors", "ckpt-0"]))
        options = {"forward_only": True} if to == "ckpt-0" else {}
        reshard(here, root / f"step{step}", tp, to, **options)
        here = root / f"step{step}"
    groups = geometry.scale_groups or 1
    reshard(here, root / "back", groups, "ckpt-0", forward_only=True)
    assert tensor_files(root / "back" / "ckpt-0") == tensor_files(source / "ckpt-0")


@pytest.mark.parametrize("tp", [2, 8, 16])
def test_each_rank_loads_its_slices_with_the_safetensors_library(tmp_path: Path, tp: int) -> None:
    source = synthesize(tmp_path / "source")
    reshard(source, tmp_path / "out", tp)
    checkpoint = open_checkpoint(str(source))
    whole_box = ArrayReader(checkpoint)
    for entry in GROK1.tensors(SMALL.layers):
        for name, spec in checkpoint.tensors[entry.name].arrays().items():
            from grokpack.core.layout import whole_box as all_of

            expected = whole_box.read(name, all_of(spec.shape))
            for rank in range(tp):
                found = _load(tmp_path / "out", name, rank, tp)
                assert np.array_equal(found, _slice(expected, entry, rank, tp)), name


def _load(out: Path, name: str, rank: int, tp: int) -> np.ndarray:
    for folder in (f"rank-{rank:03d}-of-{tp:03d}", "common"):
        for file in sorted((out / folder).glob("*.safetensors")):
            with safe_open(file, "np") as tensors:
                if name in tensors.keys():  # noqa: SIM118  # safe_open is no dict
                    value: np.ndarray = tensors.get_tensor(name)
                    return np.asarray(value.view(f"u{value.dtype.itemsize}"))
    raise KeyError(name)


def _slice(array: np.ndarray, entry: ModelTensor, rank: int, tp: int) -> np.ndarray:
    """What a rank holds, written down a second time and more plainly."""
    path = entry.rule.path
    if "norm" in path or "router" in path:
        return array
    if path.endswith("embeddings"):
        return np.asarray(np.split(array, tp, axis=0)[rank])
    if "linear_1" in path or "attention/linear/" in path:
        rows = array.shape[-2]
        parts = min(tp, rows)
        return np.asarray(np.split(array, parts, axis=-2)[rank * parts // tp])
    if "key" in path or "value" in path:
        heads = min(tp, 8)
        return np.asarray(np.split(array, heads, axis=-1)[rank * heads // tp])
    return np.asarray(np.split(array, tp, axis=-1)[rank])


def test_expanded_scales_repeat_each_group_row(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    reshard(source, tmp_path / "out", 2, "ckpt-0")
    name = "transformer/decoder_layer_1/moe/linear_1/w/scales"
    before, after = (_array(p, name) for p in (source, tmp_path / "out"))
    assert after.shape == (2, 64, 32)
    assert np.array_equal(after, np.repeat(before, 8, axis=1))


def test_bf16_weights_are_rounded_once_to_nearest_even(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    outcome = plan_reshard(open_checkpoint(str(source)), 4, "ckpt-0", scales="bf16-weights")
    assert not outcome.target.lossless
    reshard(source, tmp_path / "out", 4, "ckpt-0", scales="bf16-weights")
    name = "transformer/decoder_layer_0/multi_head_attention/linear/w"
    codes = _array(source, name).view(np.int8).astype(np.float32)
    scales = _array(source, f"{name}/scales").view(ml_dtypes.bfloat16).astype(np.float32)
    expected = (codes * np.repeat(scales, codes.shape[0] // 8, axis=0)).astype(ml_dtypes.bfloat16)
    assert np.array_equal(_array(tmp_path / "out", name), expected.view(np.uint16))
    ones = _array(tmp_path / "out", f"{name}/scales")
    assert ones.shape == (4, 32)
    assert (ones.view(ml_dtypes.bfloat16) == 1).all()


def _array(path: Path, name: str) -> np.ndarray:
    from grokpack.core.layout import whole_box

    checkpoint = open_checkpoint(str(path))
    return ArrayReader(checkpoint).read(name, whole_box(checkpoint.layout.arrays[name].shape))


def test_host_files_follow_the_partition_rules_of_xais_code(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    reshard(source, tmp_path / "out", 4, "ckpt-0", hosts=2)
    from grokpack.formats import pickle
    from grokpack.storage import FileBytes

    def shape(index: int, host: int) -> tuple[int, ...]:
        path = str(tmp_path / "out" / "ckpt-0" / f"tensor{index:05d}_{host:03d}")
        return pickle.read(FileBytes(path), path).values.spec.shape

    assert shape(0, 1) == (64, 16)  # the embedding by features: P(None, ("data", "model"))
    assert shape(2, 1) == (2, 32, 32)  # experts, gate: columns
    assert shape(3, 1) == (2, 32, 32)  # experts, down: rows
    assert shape(9, 1) == (32,)  # norms are whole on every host


def test_more_hosts_than_key_value_heads_cut_keys_by_columns_and_come_back(tmp_path: Path) -> None:
    geometry = replace(SMALL, kv_width=32)  # four heads of eight columns
    source = synthesize(tmp_path / "source", geometry)
    reshard(source, tmp_path / "out", 16, "ckpt-0", hosts=16, forward_only=True)
    assert open_checkpoint(str(tmp_path / "out")).geometry.kv_width == 32
    reshard(tmp_path / "out", tmp_path / "back", 8, "ckpt-0", forward_only=True)
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(source / "ckpt-0")


def test_hosts_that_do_not_share_the_keys_evenly_are_refused(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source", replace(SMALL, kv_width=8))
    with pytest.raises(GrokpackError) as caught:
        reshard(source, tmp_path / "out", 16, "ckpt-0", hosts=16, forward_only=True)
    assert caught.value.code == "GP303"


def test_xais_layout_needs_no_vocabulary_or_groups_that_its_ranks_divide(tmp_path: Path) -> None:
    geometry = replace(SMALL, vocab=33, ffn=72, q_width=96, kv_width=48, scale_groups=3)
    source = synthesize(tmp_path / "source", geometry)
    reshard(source, tmp_path / "out", 2, "ckpt-0", hosts=2)
    assert verify_structure(survey(str(tmp_path / "out"))).findings == ()
    with pytest.raises(GrokpackError) as caught:
        reshard(source, tmp_path / "ranks", 2)
    assert [text for _, text in caught.value.facts] == ["vocabulary 33 / 2", "3 scale groups / 2"]
    assert caught.value.hint == "--tp 1, 3"


@pytest.mark.parametrize(
    "odd",
    [
        {"vocab": 33},
        {"d_model": 36},
        {"kv_width": 24, "q_width": 96, "head_dim": 6},
        {"kv_width": 24, "q_width": 96, "head_dim": 8},
    ],
)
def test_any_model_returns_to_the_width_that_it_was_written_for(
    tmp_path: Path, odd: dict[str, int]
) -> None:
    source = synthesize(tmp_path / "source", replace(SMALL, **odd))
    reshard(source, tmp_path / "one", 1)
    reshard(tmp_path / "one", tmp_path / "back", 8, "ckpt-0")
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(source / "ckpt-0")
    notes = plan_reshard(open_checkpoint(str(source)), 8, "ckpt-0").target.notes
    assert len(notes) == ("vocab" not in odd)


def test_expanded_scales_without_a_config_tell_their_groups(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    reshard(source, tmp_path / "out", 4, "ckpt-0")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    del config["scale_groups"]
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    checkpoint = open_checkpoint(str(tmp_path / "out"))
    name = "transformer/decoder_layer_0/multi_head_attention/linear/w"
    assert checkpoint.geometry.scale_groups is None
    assert probe_groups(checkpoint, checkpoint.tensors[name]) == 8
    reshard(tmp_path / "out", tmp_path / "back", 8, "ckpt-0")
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(source / "ckpt-0")


def test_groups_that_a_config_claims_wrongly_are_refused_and_nothing_is_published(
    tmp_path: Path,
) -> None:
    source = synthesize(tmp_path / "source")
    reshard(source, tmp_path / "out", 4, "ckpt-0")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    (tmp_path / "out" / "config.json").write_text(json.dumps(config | {"scale_groups": 4}))
    with pytest.raises(GrokpackError) as caught:
        reshard(tmp_path / "out", tmp_path / "back", 4)
    assert caught.value.code == "GP215"
    assert not list((tmp_path / "back").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("tp", "to", "options", "code"),
    [
        (3, "safetensors", {}, "GP301"),
        (0, "safetensors", {}, "GP301"),
        (16, "ckpt-0", {}, "GP302"),
        (4, "ckpt-0", {"hosts": 3}, "GP303"),
        (4, "safetensors", {"hosts": 2}, "GP304"),
        (4, "safetensors", {"scales": "bf16-weights"}, "GP304"),
        (4, "gguf", {}, "GP346"),
    ],
)
def test_what_cannot_be_is_refused_with_its_code(
    tmp_path: Path, tp: int, to: str, options: dict[str, object], code: str
) -> None:
    source = synthesize(tmp_path / "source")
    with pytest.raises(GrokpackError) as caught:
        reshard(source, tmp_path / "out", tp, to, **options)
    assert caught.value.code == code
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_known_head_size_is_refused(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source")
    (source / "config.json").unlink()
    with pytest.raises(GrokpackError) as caught:
        reshard(source, tmp_path / "out", 2)
    assert caught.value.code == "GP211"
    opened = open_checkpoint(str(source), head_dim=8)
    assert opened.geometry.kv_heads == 8


def test_memory_workers_and_place_do_not_change_a_byte(tmp_path: Path) -> None:
    from grokpack.execution.run import execute
    from grokpack.execution.run_options import RunOptions

    geometry = replace(SMALL, vocab=16384, d_model=512)  # an embedding of 32 MiB: several tiles
    source = synthesize(tmp_path / "source", geometry)
    reshard(source, tmp_path / "a", 4)
    moved = tmp_path / "elsewhere"
    source.rename(moved)
    plan = plan_reshard(open_checkpoint(str(moved / "ckpt-0")), 4)
    execute(plan, str(tmp_path / "b"), RunOptions(memory_bytes=140 << 20, workers=5))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
