"""Quantised folders, decoded by a second formula: values, bounds, the account, interruptions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from grokpack import storage
from grokpack.convert import Options as ConvertOptions
from grokpack.convert import plan_convert
from grokpack.errors import GrokpackError
from grokpack.layout import Box, whole
from grokpack.models import grok1
from grokpack.models.grok1 import Entry, Geometry
from grokpack.ops.source_weight import SourceWeight
from grokpack.ops.weights import to_f32
from grokpack.preflight import Limits
from grokpack.quantize import Options, plan_quantize
from grokpack.reading import ArrayReader
from grokpack.reshard import plan_reshard
from grokpack.run import execute
from grokpack.stores.locate import open_checkpoint, survey
from tests import packed
from tests.checkpoints import GOLDEN, synthesise, tensor_files, tree
from tests.weights import exact_weights

WIDE = Geometry(
    vocab=64, d_model=256, layers=2, experts=2, ffn=512, q_width=256, kv_width=64, head_dim=32
)
"""Groups of 256 divide it; its scale groups of 32 and 64 inputs lie within those of 128."""
BLOCKY = Geometry(
    vocab=64, d_model=128, layers=1, experts=2, ffn=1024, q_width=1024, kv_width=128, head_dim=32
)
"""Its own groups have 128 inputs, so that 8 bits are the released codes."""

Decode = Callable[[dict[str, np.ndarray], str, int], np.ndarray]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("wide") / "in", WIDE)


@pytest.fixture(scope="module")
def blocky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("blocky") / "in", BLOCKY)


def quantise(source: Path, out: Path, limits: Limits | None = None, **options: Any) -> Path:
    checkpoint = open_checkpoint(str(source))
    execute(plan_quantize(checkpoint, Options(**options)), str(out), limits)
    return out


def weights(source: Path, layers: int) -> Iterator[tuple[Entry, int | None, np.ndarray]]:
    """Every weight that can be quantised, `f64[out, in]`, one for each expert."""
    exact = exact_weights(source)
    for entry in grok1.entries(layers):
        if entry.rule.role == "expert":
            for expert, values in enumerate(exact[entry.name]):
                yield entry, expert, values.T.astype(np.float64)
        elif entry.rule.role == "attention":
            yield entry, None, exact[entry.name].T.astype(np.float64)


@pytest.mark.parametrize("group", ["32", "64", "128", "256", "channel"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_compressed_tensors_are_near_the_weights_and_the_account_says_how_near(
    wide: Path, tmp_path: Path, group: str, bits: int, symmetric: bool
) -> None:
    out = quantise(
        wide, tmp_path / "out", bits=bits, to="compressed-tensors", group=group, symmetric=symmetric
    )
    found = packed.arrays(out)
    check_account(out, wide, 2, lambda base: packed.compressed_tensors(found, base, bits))
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    scheme = config["config_groups"]["group_0"]["weights"]
    assert scheme["num_bits"] == bits
    assert scheme["group_size"] == (-1 if group == "channel" else int(group))
    assert scheme["symmetric"] is symmetric


@pytest.mark.parametrize("group", ["32", "128", "256"])
@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_is_near_the_weights_and_the_account_says_how_near(
    wide: Path, tmp_path: Path, group: str, bits: int
) -> None:
    out = quantise(wide, tmp_path / "out", bits=bits, to="gptq", group=group)
    found = packed.arrays(out)
    check_account(out, wide, 2, lambda base: packed.gptq(found, base, bits))


def check_account(
    out: Path, source: Path, layers: int, decode: Callable[[str], np.ndarray]
) -> None:
    """Compare decoded weights with the source's, and the account with what that gives."""
    manifest = json.loads((out / "grokpack.json").read_text())
    account = manifest.get("account", {}).get("tensors", {})
    sums: dict[str, np.ndarray] = {}
    for entry, expert, exact in weights(source, layers):
        made = decode(packed.module("hpcai", entry, expert))
        error = exact - made
        assert np.abs(error).max() <= np.abs(exact).max() / 2  # a search cuts outliers
        row = np.array([(exact**2).sum(), (error**2).sum(), (exact * made).sum(), (made**2).sum()])
        sums[entry.name] = sums.get(entry.name, 0) + row
    for name, (squares, errors, both, made_squares) in sums.items():
        if name not in account:
            assert errors == 0, name
            continue
        figures = account[name]
        assert figures["relative_error"] == pytest.approx(np.sqrt(errors / squares), rel=1e-4)
        assert figures["sqnr_db"] == pytest.approx(10 * np.log10(squares / errors), abs=1e-3)
        assert figures["cosine"] == pytest.approx(both / np.sqrt(squares * made_squares), abs=1e-6)
    assert account or manifest["parameters"]["bits"] == 8


def test_eight_bits_of_gptq_are_the_released_codes_and_scales(blocky: Path, tmp_path: Path) -> None:
    out = quantise(blocky, tmp_path / "out", bits=8)
    found = packed.arrays(out)
    for entry, expert, exact in weights(blocky, 1):
        made = packed.gptq(found, packed.module("hpcai", entry, expert), 8)
        np.testing.assert_array_equal(made, exact, err_msg=entry.name)
    assert "account" not in json.loads((out / "grokpack.json").read_text())


def test_experts_presharded_for_sglang_are_exact(blocky: Path, tmp_path: Path) -> None:
    found = packed.arrays(quantise(blocky, tmp_path / "out", bits=8, to="w8a8-int8"))
    for entry, expert, exact in weights(blocky, 1):
        base = packed.module("sglang", entry, expert)
        made = packed.w8a8(found, base)
        if entry.rule.path == "multi_head_attention/linear/w":
            assert np.abs(made - exact).max() <= np.abs(exact).max() / 127
        else:
            np.testing.assert_array_equal(made, exact, err_msg=entry.name)


def test_router_and_norms_stay_float32_and_the_embedding_becomes_bf16(
    wide: Path, tmp_path: Path
) -> None:
    found = packed.arrays(quantise(wide, tmp_path / "out"))
    exact = exact_weights(wide)
    router = found["model.layers.1.moe_block.gate.weight"]
    np.testing.assert_array_equal(router, exact["transformer/decoder_layer_1/router/w"].T)
    assert router.dtype == np.float32
    assert found["model.norm.scale"].dtype == np.float32
    embedding = found["model.embed_tokens.weight"]
    wanted = exact["language_model/in_out_embed/embeddings"].astype(embedding.dtype)
    assert embedding.tobytes() == wanted.tobytes()
    assert embedding.dtype.name == "bfloat16"


@pytest.mark.parametrize("to", ["compressed-tensors", "gptq"])
def test_memory_and_threads_change_nothing(wide: Path, tmp_path: Path, to: str) -> None:
    first = tree(quantise(wide, tmp_path / "a", Limits(workers=1), to=to))
    small = Limits(memory_bytes=200 << 20, workers=2)
    assert tree(quantise(wide, tmp_path / "b", small, to=to)) == first


class Crash(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("to", ["compressed-tensors", "gptq"])
def test_a_run_that_was_cut_short_ends_with_the_same_bytes_and_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """Tiles are made small, so that tasks end within matrices and within groups."""
    for module in ("tiling", "task", "run", "plan", "account", "manifest"):
        monkeypatch.setattr(f"grokpack.{module}.TILE_BYTES", 5000)
    monkeypatch.setattr("grokpack.plan.TASK_BYTES", 20_000)
    source = synthesise(tmp_path / "in", BLOCKY)
    clean = tree(quantise(source, tmp_path / "clean", Limits(workers=1), to=to))
    for count in (15, 60, 151):
        left = [count]

        def hook(_operation: str, _path: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        out = tmp_path / f"crash{count}"
        storage.faults.hook = hook
        try:
            with pytest.raises(Crash):
                quantise(source, out, Limits(workers=1), to=to)
        finally:
            storage.faults.hook = None
        assert tree(quantise(source, out, Limits(workers=2), to=to)) == clean


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"bits": 3}, "GP304", "--bits takes 4, 8"),
        ({"to": "zarr"}, "GP304", "--to takes"),
        ({"to": "w8a8-int8"}, "GP304", "has 8 bits"),
        ({"group": "100"}, "GP304", "--group takes"),
        ({"method": "best"}, "GP304", "--method takes"),
        ({"to": "gptq", "symmetric": False}, "GP304", "--asymmetric does not belong"),
        ({"to": "gptq", "group": "channel"}, "GP309", "groups of inputs"),
        ({"bits": 8, "to": "w8a8-int8", "tp": 4}, "GP309", "8 groups of inputs"),
        ({"to": "safetensors", "group": "channel"}, "GP309", "groups of inputs"),
        ({"to": "safetensors", "bits": 8, "symmetric": False}, "GP309", "do not fit int8"),
        ({"engine": "ollama"}, "GP304", "--for takes"),
        ({"engine": "sglang"}, "GP313", "does not read this format"),
        ({"engine": "llama.cpp", "to": "gptq"}, "GP313", "does not read this format"),
        ({"engine": "vllm", "group": "256"}, "GP313", "no groups of 256"),
        (
            {
                "engine": "vllm",
                "bits": 8,
                "to": "compressed-tensors",
                "group": "channel",
                "symmetric": False,
            },
            "GP313",
            "zero points of 4 bits only",
        ),
        ({"engine": "vllm", "keep": ("linear_v",)}, "GP313", "those of layer 0 are not alike"),
        ({"engine": "vllm", "keep": ("key",)}, "GP313", "those of layer 0 are not alike"),
        (
            {"engine": "vllm", "bits": 8, "to": "compressed-tensors"},
            "GP313",
            "one scale per output",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    wide: Path, options: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(GrokpackError, match=words) as caught:
        plan_quantize(open_checkpoint(str(wide)), Options(**options))
    assert caught.value.code == code


def test_groups_that_do_not_divide_are_refused_with_those_that_do() -> None:
    with pytest.raises(GrokpackError, match="do not divide the 96 inputs") as caught:
        plan_quantize(open_checkpoint(str(GOLDEN)), Options(group="64"))
    assert caught.value.code == "GP309"
    assert caught.value.hint is not None
    assert "--group 32" in caught.value.hint


def test_a_policy_decides_by_role_name_and_layer(wide: Path, tmp_path: Path) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text(
        '[[tensors]]\nrole = "attention"\nbits = 8\n'
        '[[tensors]]\nname = "*/moe/linear_1/w"\nlayers = [-1]\ngroup = 32\n'
        '[[tensors]]\nname = "*/value/w"\nbits = 16\n'
    )
    out = quantise(wide, tmp_path / "out", policy=str(rules))
    found = packed.arrays(out)
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    schemes = {
        tuple(row["targets"]): (row["weights"]["num_bits"], row["weights"]["group_size"])
        for row in config["config_groups"].values()
    }
    assert schemes[("Linear",)] == (4, 128)
    (attention,) = (targets for targets, scheme in schemes.items() if scheme == (8, 128))
    assert r"re:model\.layers\.\d+\.attn\.(q_proj|qkv_proj)$" in attention  # vLLM asks for qkv_proj
    down = r"re:model\.layers\.(1)\.moe_block\.experts\.\d+\.(linear_1|down_proj)$"
    assert schemes[(down,)] == (4, 32)
    assert r"re:model\.layers\.\d+\.attn\.v_proj$" in config["ignore"]
    assert found["model.layers.0.attn.v_proj.weight"].dtype.name == "bfloat16"
    assert found["model.layers.0.attn.q_proj.weight_packed"].shape == (256, 64)
    assert found["model.layers.1.moe_block.experts.0.linear_1.weight_scale"].shape == (256, 16)
    assert found["model.layers.0.moe_block.experts.0.linear_1.weight_scale"].shape == (256, 4)


@pytest.mark.parametrize(
    ("to", "asked"),
    [
        ("compressed-tensors", "model.layers.1.moe_block.experts.0.gate_proj"),
        ("compressed-tensors", "model.layers.1.moe_block.experts.0.up_proj"),
        ("compressed-tensors", "model.layers.1.moe_block.experts.0.down_proj"),
        ("gptq", "model.layers.1.moe_block.experts"),
    ],
)
def test_experts_that_are_kept_are_so_by_the_names_that_vllm_asks_for(
    wide: Path, tmp_path: Path, to: str, asked: str
) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text('[[tensors]]\nrole = "expert"\nlayers = [1]\nbits = 16\n')
    out = quantise(wide, tmp_path / "out", to=to, policy=str(rules), engine="vllm")
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    patterns = [*config.get("ignore", []), *config.get("dynamic", [])]
    bare = [pattern.removeprefix("re:").removeprefix("-:") for pattern in patterns]
    assert any(re.match(pattern, asked) for pattern in bare)
    assert not any(re.match(pattern, asked.replace("layers.1", "layers.0")) for pattern in bare)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[tensors", "not TOML"),
        ("a = 1", r"tables \[\[tensors\]\] and nothing else"),
        ("[[tensors]]\nbit = 4", "`bit` is no key"),
        ("[[tensors]]\nrole = 'router'\nbits = 4", "role takes attention, expert"),
        ("[[tensors]]\nbits = 5", "bits takes 4, 8, 16"),
        ("[[tensors]]\nbits = true", "bits takes 4, 8, 16"),
        ("[[tensors]]\nbits = 4\nlayers = [2]", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nbits = 4\nlayers = 'all'", "layers takes numbers from 0 to 1"),
        ("[[tensors]]\nlayers = [0]", "nothing is changed"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(
    wide: Path, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(GrokpackError, match=words) as caught:
        plan_quantize(open_checkpoint(str(wide)), Options(policy=str(tmp_path / "policy.toml")))
    assert caught.value.code == "GP310"


def test_kept_weights_are_bf16(wide: Path, tmp_path: Path) -> None:
    found = packed.arrays(quantise(wide, tmp_path / "out", keep=("experts", "key")))
    assert "model.layers.0.moe_block.experts.0.linear.weight" in found
    assert "model.layers.0.attn.k_proj.weight" in found
    assert "model.layers.0.attn.q_proj.weight_packed" in found


@pytest.mark.parametrize(
    "options",
    [
        {"group": "32"},
        {"group": "channel", "symmetric": False},
        {"group": "64", "symmetric": False},
        {"bits": 8, "to": "compressed-tensors"},
        {"to": "gptq"},
        {"bits": 8, "to": "gptq", "group": "32"},
        {"bits": 8, "to": "w8a8-int8"},
        {"bits": 8, "to": "w8a8-int8", "tp": 1},
    ],
)
def test_what_is_packed_is_read_back_as_it_is(
    wide: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    out = quantise(wide, tmp_path / "out", **options)
    checkpoint = open_checkpoint(str(out))
    found = packed.arrays(out)
    reader = ArrayReader(checkpoint)
    convention = "sglang" if options.get("to") == "w8a8-int8" else "hpcai"
    for entry, expert, _ in weights(wide, 2):
        tensor = checkpoint.tensors[entry.name]
        whole_box = whole(tensor.values.shape)
        assert tensor.scales is not None
        codes = reader.read(entry.name, whole_box).view(np.int8).astype(np.float64)
        bits = reader.read(f"{entry.name}/scales", whole(tensor.scales.shape))
        scales = to_f32(np.ascontiguousarray(bits), tensor.scales.dtype).astype(np.float64)
        per_group = codes.shape[-2] // scales.shape[-2]
        made = (codes * np.repeat(scales, per_group, axis=-2)).swapaxes(-1, -2)
        base = packed.module(convention, entry, expert)
        wanted = packed.decoded(found, base, options.get("bits", 4))
        np.testing.assert_array_equal(made if expert is None else made[expert], wanted)


@given(st.data())
def test_any_box_of_packed_codes_is_that_of_the_whole(wide_packed: Path, data: Any) -> None:
    checkpoint = open_checkpoint(str(wide_packed))
    reader = ArrayReader(checkpoint)
    name = "transformer/decoder_layer_0/multi_head_attention/key/w"
    shape = checkpoint.tensors[name].values.shape
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    size = tuple(data.draw(st.integers(1, n - a)) for n, a in zip(shape, start, strict=True))
    box = Box(start, size)
    all_of_it = reader.read(name, whole(shape))
    np.testing.assert_array_equal(reader.read(name, box), all_of_it[box.slices_in(whole(shape))])


@pytest.fixture(scope="module", params=["compressed-tensors", "gptq"])
def wide_packed(
    wide: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    options: dict[str, Any] = {"symmetric": False} if request.param == "compressed-tensors" else {}
    out = tmp_path_factory.mktemp("packed") / "out"
    return quantise(wide, out, to=request.param, group="64", **options)


def test_four_bits_are_not_quantised_again(wide_packed: Path) -> None:
    with pytest.raises(GrokpackError, match="already int4") as caught:
        plan_quantize(open_checkpoint(str(wide_packed)), Options())
    assert caught.value.code == "GP309"


@pytest.mark.parametrize("change", [{"desc_act": True}, {"checkpoint_format": "gptq_v2"}])
def test_other_forms_of_gptq_are_refused(
    wide: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    out = quantise(wide, tmp_path / "out", to="gptq")
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"] |= change
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(GrokpackError, match="GPTQ weights") as caught:
        survey(str(out))
    assert caught.value.code == "GP208"


@pytest.mark.parametrize("part", ["weight_scale", "weight_shape", "weight_zero_point"])
def test_a_packed_weight_of_which_a_part_is_missing_or_unfit_is_named(
    wide: Path, tmp_path: Path, part: str
) -> None:
    out = quantise(wide, tmp_path / "out", symmetric=False)
    (file,) = out.glob("*.safetensors")
    name = f"model.layers.0.attn.k_proj.{part}"
    kept = load_file(file)
    kept[name] = np.ascontiguousarray(kept[name][:1])
    save_file(kept, file)
    assert "model.layers.0.attn.k_proj.weight" in {f.tensor for f in survey(str(out)).findings}


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, True)])
def test_plain_arrays_hold_the_codes_that_packed_ones_do(
    wide: Path, tmp_path: Path, bits: int, symmetric: bool
) -> None:
    options: dict[str, Any] = {"bits": bits, "symmetric": symmetric, "group": "64"}
    plain = open_checkpoint(str(quantise(wide, tmp_path / "a", to="safetensors", **options)))
    other = open_checkpoint(str(quantise(wide, tmp_path / "b", to="compressed-tensors", **options)))
    assert dict(plain.bits) == dict(other.bits)
    for name, tensor in other.tensors.items():
        for array, spec in tensor.arrays().items():
            if name in plain.bits:
                one, two = (ArrayReader(c).read(array, whole(spec.shape)) for c in (plain, other))
                np.testing.assert_array_equal(one, two, err_msg=array)
    accounts = [
        json.loads((tmp_path / n / "grokpack.json").read_text())["account"] for n in ("a", "b")
    ]
    assert accounts[0] == accounts[1]


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_quantised_folders_are_cut_for_ranks_as_they_are(
    wide_packed: Path, tmp_path: Path, tp: int
) -> None:
    source = open_checkpoint(str(wide_packed))
    execute(plan_reshard(source, tp), str(tmp_path / "cut"))
    cut = open_checkpoint(str(tmp_path / "cut"))
    assert cut.ranks == tp
    assert dict(cut.bits) == dict(source.bits)
    for tensor in source.tensors.values():
        for array, spec in tensor.arrays().items():
            if tensor.name in source.bits:
                one, two = (ArrayReader(c).read(array, whole(spec.shape)) for c in (source, cut))
                np.testing.assert_array_equal(one, two, err_msg=array)


@pytest.mark.parametrize(("tp", "workers"), [(1, 1), (2, 2)])
def test_int8_in_other_groups_is_near_the_weights(
    wide: Path, tmp_path: Path, tp: int, workers: int
) -> None:
    out = quantise(wide, tmp_path / "out", Limits(workers=workers), bits=8, to="ckpt-0", tp=tp)
    found, exact = exact_weights(out), exact_weights(wide)
    checkpoint = open_checkpoint(str(out))
    account = json.loads((out / "grokpack.json").read_text())["account"]["tensors"]
    assert checkpoint.geometry.scale_groups == tp
    for entry in grok1.entries(2):
        error = found[entry.name].astype(np.float64) - exact[entry.name]
        if entry.rule.cut != "rows":
            assert not error.any(), entry.name
            continue
        scales = checkpoint.tensors[entry.name].scales
        assert scales is not None
        assert scales.shape[-2] == tp
        ratio = np.sqrt((error**2).sum() / (exact[entry.name].astype(np.float64) ** 2).sum())
        assert 0 < ratio < 0.02
        assert account[entry.name]["relative_error"] == pytest.approx(ratio, rel=1e-3)


def test_int8_in_the_groups_that_it_has_is_the_source(tmp_path: Path) -> None:
    out = quantise(GOLDEN, tmp_path / "out", bits=8, to="ckpt-0", tp=8)
    assert tensor_files(out / "ckpt-0") == tensor_files(GOLDEN / "ckpt-0")


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
def test_quantised_folders_become_every_target(
    wide: Path, wide_packed: Path, tmp_path: Path, to: str, options: dict[str, Any]
) -> None:
    source = open_checkpoint(str(wide_packed))
    out = tmp_path / ("x.gguf" if to == "gguf" else "out")
    execute(plan_convert(source, to, ConvertOptions(**options)), str(out))
    found = open_checkpoint(str(out))
    decoded_arrays = packed.arrays(wide_packed)
    for entry, expert, _ in weights(wide, 2):
        base = packed.module("hpcai", entry, expert)
        wanted = packed.decoded(decoded_arrays, base, 4)
        tensor = found.tensors[entry.name]
        box = whole(tensor.values.shape)
        made = SourceWeight(tensor).exact(
            () if expert is None else (expert,),
            Box((0, 0), box.shape[-2:]),
            ArrayReader(found),
        )
        if to == "ckpt-0":  # one rounding to bfloat16
            np.testing.assert_allclose(made.T, wanted, rtol=2**-8)
        else:
            np.testing.assert_array_equal(made.T, wanted.astype(np.float32))


@pytest.mark.parametrize("to", ["compressed-tensors", "gptq", "gguf"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused_with_its_tensor(
    wide: Path, tmp_path: Path, to: str, bad: float
) -> None:
    plan = plan_convert(open_checkpoint(str(wide)), "hf", ConvertOptions(dtype="f32"))
    execute(plan, str(tmp_path / "in"))
    (file,) = (tmp_path / "in").glob("*.safetensors")
    kept = load_file(file)
    kept["model.layers.1.attn.q_proj.weight"][3, 5] = bad
    save_file(kept, file)
    with pytest.raises(GrokpackError) as caught:
        quantise(tmp_path / "in", tmp_path / "out", to=to, tokenizer="none")
    assert caught.value.code == "GP407"
    assert "decoder_layer_1/multi_head_attention/query/w" in str(caught.value.where)
