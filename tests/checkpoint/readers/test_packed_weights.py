"""Packed weights as sources: read, cut for ranks and put together, by a second formula."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box, whole_box
from grokpack.core.tensors import DType
from grokpack.execution.run import execute
from grokpack.kernels import dispatch
from grokpack.kernels.float_casts import to_f32
from grokpack.verification.verify_values import statistics
from tests.support import packed_formula
from tests.support.checkpoints import synthesize, tree
from tests.support.quantized_checkpoints import WIDE, quantize, weights

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("wide") / "in", WIDE)


PACKED: dict[str, dict[str, Any]] = {
    "symmetric": {"to": "compressed-tensors"},
    "zero points": {"to": "compressed-tensors", "symmetric": False},
    "eight bits": {"to": "compressed-tensors", "symmetric": False, "bits": 8},
    "gptq": {"to": "gptq"},
    "plain": {"to": "safetensors", "symmetric": False},
}


@pytest.mark.parametrize(
    "options",
    [
        {"group": "32"},
        {"group": "channel", "symmetric": False},
        {"group": "64", "symmetric": False},
        {"bits": 8, "to": "compressed-tensors"},
        {"bits": 8, "to": "compressed-tensors", "symmetric": False},
        {"bits": 8, "to": "compressed-tensors", "symmetric": False, "group": "channel"},
        {"to": "gptq"},
        {"bits": 8, "to": "gptq", "group": "32"},
        {"bits": 8, "to": "gptq", "group": "channel"},
        {"bits": 8, "to": "w8a8-int8"},
        {"bits": 8, "to": "w8a8-int8", "tp": 1},
    ],
)
def test_what_is_packed_is_read_back_as_it_is(
    wide: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    out = quantize(wide, tmp_path / "out", **options)
    checkpoint = open_checkpoint(str(out))
    found = packed_formula.arrays(out)
    reader = ArrayReader(checkpoint)
    convention = "sglang" if options.get("to") == "w8a8-int8" else "hpcai"
    for entry, expert, _ in weights(wide, 1):
        tensor = checkpoint.tensors[entry.name]
        made = products(reader, tensor).swapaxes(-1, -2)
        base = packed_formula.module(convention, entry, expert)
        wanted = packed_formula.decoded(found, base, options.get("bits", 4))
        np.testing.assert_array_equal(made if expert is None else made[expert], wanted)


def products(reader: ArrayReader, tensor: TensorSpec) -> np.ndarray:
    """A weight as it is read, `f64[..., in, out]`."""
    values = np.ascontiguousarray(reader.read(tensor.name, whole_box(tensor.values.shape)))
    if tensor.scales is None:
        return to_f32(values, tensor.values.dtype).astype(np.float64)
    bits = reader.read(f"{tensor.name}/scales", whole_box(tensor.scales.shape))
    scales = to_f32(np.ascontiguousarray(bits), tensor.scales.dtype).astype(np.float64)
    per_group = values.shape[-2] // scales.shape[-2]
    dtype = tensor.values.dtype
    codes = values.view(np.int8) if dtype is DType.I8 else to_f32(values, dtype)
    return codes * np.repeat(scales, per_group, axis=-2)


@given(st.data())
def test_any_box_of_packed_codes_is_that_of_the_whole(wide_packed: Path, data: Any) -> None:
    checkpoint = open_checkpoint(str(wide_packed))
    reader = ArrayReader(checkpoint)
    weight = "transformer/decoder_layer_0/multi_head_attention/key/w"
    arrays = {weight: checkpoint.tensors[weight].values, **checkpoint.packings[weight].arrays()}
    name = data.draw(st.sampled_from(sorted(arrays)))
    shape = arrays[name].shape
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    size = tuple(data.draw(st.integers(1, n - a)) for n, a in zip(shape, start, strict=True))
    box = Box(start, size)
    all_of_it = reader.read(name, whole_box(shape))
    np.testing.assert_array_equal(
        reader.read(name, box), all_of_it[box.slices_in(whole_box(shape))]
    )


@pytest.fixture(scope="module", params=PACKED)
def wide_packed(
    wide: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    out = tmp_path_factory.mktemp("packed") / "out"
    return quantize(wide, out, group="64", **PACKED[request.param])


def test_four_bits_are_not_quantized_again(wide: Path, tmp_path: Path) -> None:
    out = quantize(wide, tmp_path / "out")
    with pytest.raises(GrokpackError, match="already int4") as caught:
        plan_quantize(open_checkpoint(str(out)), QuantizeOptions())
    assert caught.value.code == "GP309"


@pytest.mark.parametrize("part", ["weight_scale", "weight_shape", "weight_zero_point"])
def test_a_packed_weight_of_which_a_part_is_missing_or_unfit_is_named(
    wide: Path, tmp_path: Path, part: str
) -> None:
    out = quantize(wide, tmp_path / "out", symmetric=False)
    (file,) = out.glob("*.safetensors")
    name = f"model.layers.0.attn.k_proj.{part}"
    kept = load_file(file)
    kept[name] = np.ascontiguousarray(kept[name][:1])
    save_file(kept, file)
    assert "model.layers.0.attn.k_proj.weight" in {f.tensor for f in survey(str(out)).findings}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_plain_arrays_hold_the_codes_that_packed_ones_do(
    wide: Path, tmp_path: Path, bits: int, symmetric: bool
) -> None:
    options: dict[str, Any] = {"bits": bits, "symmetric": symmetric, "group": "64"}
    plain = open_checkpoint(str(quantize(wide, tmp_path / "a", to="safetensors", **options)))
    other = open_checkpoint(str(quantize(wide, tmp_path / "b", to="compressed-tensors", **options)))
    assert_same_weights(plain, other)
    error_stats = [
        json.loads((tmp_path / n / "grokpack.json").read_text())["account"] for n in ("a", "b")
    ]
    assert error_stats[0] == error_stats[1]


def assert_same_weights(one: Checkpoint, other: Checkpoint) -> None:
    """The same codes, scales and zero points of everything that was quantized."""
    assert dict(one.bits) == dict(other.bits)
    assert one.bits
    assert one.packings == other.packings
    for name in one.bits:
        arrays = one.tensors[name].arrays()
        arrays |= one.packings[name].arrays() if name in one.packings else {}
        for array, spec in arrays.items():
            mine, theirs = (ArrayReader(c).read(array, whole_box(spec.shape)) for c in (one, other))
            np.testing.assert_array_equal(mine, theirs, err_msg=array)


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_quantized_folders_are_cut_for_ranks_as_they_are(
    wide_packed: Path, tmp_path: Path, tp: int
) -> None:
    source = open_checkpoint(str(wide_packed))
    plan = plan_reshard(source, tp)
    assert plan.target.lossless
    execute(plan, str(tmp_path / "cut"))
    cut = open_checkpoint(str(tmp_path / "cut"))
    assert cut.ranks == tp
    assert_same_weights(source, cut)


@pytest.mark.parametrize("form", PACKED)
def test_what_is_packed_stays_packed_through_ranks_and_back(
    wide: Path, tmp_path: Path, form: str
) -> None:
    source = quantize(wide, tmp_path / "source", group="32", **PACKED[form])
    options: dict[str, Any] = {"tp": 2}
    execute(plan_reshard(open_checkpoint(str(source)), **options), str(tmp_path / "two"))
    execute(plan_reshard(open_checkpoint(str(tmp_path / "two")), 4), str(tmp_path / "four"))
    execute(plan_reshard(open_checkpoint(str(tmp_path / "four")), 1), str(tmp_path / "one"))
    execute(plan_reshard(open_checkpoint(str(source)), 1), str(tmp_path / "direct"))
    trees = [tree(tmp_path / name) for name in ("one", "direct")]
    for files in trees:
        del files["grokpack.json"]  # it tells where they came from
    assert trees[0] == trees[1]
    opened = {n: open_checkpoint(str(tmp_path / n)) for n in ("source", "four", "one")}
    assert_same_weights(opened["source"], opened["four"])
    sizes = {name: _weight_bytes(checkpoint) for name, checkpoint in opened.items()}
    assert sizes["four"] == sizes["one"]
    assert sizes["one"] <= 1.03 * sizes["source"]  # a zero point has a byte of its own


def _weight_bytes(checkpoint: Checkpoint) -> int:
    """Bytes of everything that was quantized, as the files hold it."""
    arrays = {
        stored
        for packing in checkpoint.packings.values()
        for name in packing.arrays()
        for stored in checkpoint.stored(name)
    }
    return sum(checkpoint.layout.arrays[name].nbytes for name in arrays)


def test_the_bytes_of_packed_ranks_are_those_that_the_docs_describe(
    wide: Path, tmp_path: Path
) -> None:
    source = quantize(wide, tmp_path / "source", group="64", symmetric=False)
    execute(plan_reshard(open_checkpoint(str(source)), 2), str(tmp_path / "cut"))
    found = packed_formula.arrays(source)
    for rank in range(2):
        (file,) = (tmp_path / "cut" / f"rank-{rank:03d}-of-002").glob("*.safetensors")
        held = load_file(file)
        for entry, expert, _ in weights(wide, 1):
            octets, zeros = held[f"{entry.name}/codes"], held[f"{entry.name}/zeros"]
            scales = held[f"{entry.name}/scales"].astype(np.float64)
            if expert is not None:
                octets, zeros, scales = octets[expert], zeros[expert], scales[expert]
            codes = np.empty((2 * len(octets), octets.shape[1]))
            codes[::2], codes[1::2] = octets % 16, octets // 16
            per_group = len(codes) // len(scales)
            made = (codes - np.repeat(zeros, per_group, axis=0)) * np.repeat(
                scales, per_group, axis=0
            )
            full = packed_formula.compressed_tensors(
                found, packed_formula.module("hpcai", entry, expert), 4
            ).T
            axis = 0 if entry.rule.cut == "rows" else 1
            np.testing.assert_array_equal(made, np.split(full, 2, axis)[rank])


def test_ranks_that_would_cut_a_group_or_a_byte_are_refused(wide: Path, tmp_path: Path) -> None:
    out = quantize(wide, tmp_path / "out", group="64")  # 4 groups
    source = open_checkpoint(str(out))
    name = "transformer/decoder_layer_0/moe/linear_1/w"
    whole_one = source.packings[name]
    odd = replace(whole_one, codes=replace(whole_one.codes, shape=(4, 2, 96)))
    with pytest.raises(GrokpackError, match="would cut bytes") as caught:
        plan_reshard(replace(source, packings={**source.packings, name: odd}), 4)
    assert caught.value.code == "GP301"
    three = replace(whole_one, scales=replace(whole_one.scales, shape=(4, 3, 96)))
    with pytest.raises(GrokpackError, match="do not share the 3 scale groups"):
        plan_reshard(replace(source, packings={**source.packings, name: three}), 4)


def test_eight_bits_with_zero_points_are_products_elsewhere(wide: Path, tmp_path: Path) -> None:
    out = quantize(wide, tmp_path / "in", bits=8, to="compressed-tensors", symmetric=False)
    source, found = open_checkpoint(str(out)), packed_formula.arrays(out)
    plan = plan_convert(source, "hf", ConvertOptions(dtype="f32"))
    assert not plan.target.lossless
    assert "the codes themselves are not kept" in " ".join(plan.target.notes)
    execute(plan, str(tmp_path / "out"))
    made = packed_formula.arrays(tmp_path / "out")
    for entry, expert, _ in weights(wide, 1):
        base = packed_formula.module("hpcai", entry, expert)
        wanted = packed_formula.compressed_tensors(found, base, 8)
        np.testing.assert_array_equal(made[f"{base}.weight"], wanted.astype(np.float32))


def test_eight_bits_of_gptq_whose_zero_points_are_not_in_the_middle(
    wide: Path, tmp_path: Path
) -> None:
    out = quantize(wide, tmp_path / "out", bits=8, to="gptq")
    (file,) = out.glob("*.safetensors")
    kept = load_file(file)
    base = "model.layers.0.attn.k_proj"
    kept[f"{base}.qzeros"] -= np.int32(0x01010101)
    save_file(kept, file)
    name = "transformer/decoder_layer_0/multi_head_attention/key/w"
    opened = open_checkpoint(str(out))
    with pytest.raises(GrokpackError, match="not in the middle") as caught:
        products(ArrayReader(opened), opened.tensors[name])
    assert caught.value.code == "GP208"
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"]["sym"] = False
    (out / "config.json").write_text(json.dumps(config))
    opened = open_checkpoint(str(out))
    made = products(ArrayReader(opened), opened.tensors[name])
    np.testing.assert_array_equal(made.T, packed_formula.gptq(kept, base, 8))


@pytest.mark.parametrize(
    ("to", "options"),
    [
        ("ckpt-0", {}),
        ("ckpt-0", {"tp": 2}),
        ("hf", {"dtype": "f32"}),
        ("sglang", {"tp": 2, "dtype": "f32"}),
        ("gguf", {"type": "q8_0", "tokenizer": "none"}),
        ("safetensors", {"tp": 2}),
    ],
)
def test_quantized_folders_become_every_target(
    wide_packed: Path, tmp_path: Path, to: str, options: dict[str, Any]
) -> None:
    source = open_checkpoint(str(wide_packed))
    if to == "gguf" and not all(packing.centred for packing in source.packings.values()):
        with pytest.raises(GrokpackError, match="re-packages int8 codes"):
            plan_convert(source, to, ConvertOptions(**options))
        options = {**options, "type": "f32"}
    out = tmp_path / ("x.gguf" if to == "gguf" else "out")
    execute(plan_convert(source, to, ConvertOptions(**options)), str(out))
    found = open_checkpoint(str(out))
    for name in source.bits:
        wanted = products(ArrayReader(source), source.tensors[name])
        made = products(ArrayReader(found), found.tensors[name])
        if to == "ckpt-0":  # one rounding to bfloat16
            np.testing.assert_allclose(made, wanted, rtol=2**-8)
        else:
            np.testing.assert_array_equal(made.astype(np.float32), wanted.astype(np.float32))


@pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
def test_statistics_of_packed_weights_do_not_depend_on_the_kernels(
    wide_packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for implementation in ("numpy", "numba"):
        monkeypatch.setenv(dispatch.VARIABLE, implementation)
        found.append(statistics(open_checkpoint(str(wide_packed))))
    assert found[0] == found[1]
