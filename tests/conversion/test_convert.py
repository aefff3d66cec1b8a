"""Any readable source to any writable target: values, losses, crashes, budgets, kernels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, default_suffix, plan_convert
from grokpack.conversion.writers import writer_registry
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.kernels.dispatch import VARIABLE
from grokpack.verification.verify_structure import verify_structure
from tests.faults.crashing import Crash, counted, crash_after, each_or_some, places
from tests.support.checkpoints import reshard, tensor_files, tree
from tests.support.conversions import WIDE, convert, expected, gguf_values, hf_values
from tests.support.weight_formula import exact_weights

CUT: dict[str, tuple[int, str, dict[str, Any]]] = {
    "ckpt-0 for 1": (1, "ckpt-0", {}),
    "ckpt-0 for 4": (4, "ckpt-0", {}),
    "ckpt-0 for 8 on 2 hosts": (8, "ckpt-0", {"hosts": 2, "forward_only": True}),
    "ckpt-0 expanded": (4, "ckpt-0", {"scales": "expanded"}),
    "safetensors for 1": (1, "safetensors", {}),
    "safetensors for 8": (8, "safetensors", {}),
    "safetensors for 16": (16, "safetensors", {}),
}
CONVERTED: dict[str, tuple[str, dict[str, Any]]] = {
    "hf hpcai bf16": ("hf", {}),
    "hf sglang f16": ("hf", {"names": "sglang", "dtype": "f16"}),
    "hf keyfan f32": ("hf", {"names": "keyfan", "dtype": "f32"}),
    "sglang for 1": ("sglang", {"tp": 1}),
    "sglang for 4": ("sglang", {"tp": 4}),
    "gguf f32": ("gguf", {"type": "f32"}),
    "gguf f16 split": ("gguf", {"type": "f16", "shard_bytes": 1 << 19}),
    "gguf bf16": ("gguf", {"type": "bf16"}),
    "gguf q8_0": ("gguf", {"type": "q8_0"}),
    "zarr": ("zarr", {}),
    "zarr bf16": ("zarr", {"dtype": "bf16"}),
    "orbax": ("orbax", {"tp": 4, "compress": "zstd"}),
    "orbax bf16": ("orbax", {"dtype": "bf16"}),
}
CODES = (*CUT, "gguf q8_0", "zarr", "orbax")  # sources that hold the released codes


@pytest.fixture(scope="module")
def sources(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    found = {"ckpt-0": origin}
    for name, (tp, to, options) in CUT.items():
        found[name] = folder / name.replace(" ", "-")
        reshard(origin, found[name], tp, to, **options)
    for name, (to, options) in CONVERTED.items():
        split = "shard_bytes" in options
        found[name] = folder / f"{name.replace(' ', '-')}{'.gguf' * (to == 'gguf' and not split)}"
        convert(origin, found[name], to, **options)
    return found


def options_for(to: str, options: dict[str, Any]) -> ConvertOptions:
    given: dict[str, Any] = {"tokenizer": "none"} if to == "gguf" else {}
    return ConvertOptions(**given, **options)


def held(source: str) -> str:
    """The dtype whose rounding a source has gone through already."""
    return next((d for d in ("bf16", "f16", "f32") if d in source.split()), "f32")


@pytest.mark.parametrize("name", ["ckpt-0", *CUT, *CONVERTED])
def test_every_source_becomes_every_target_with_the_right_values(
    tmp_path: Path, sources: dict[str, Path], origin: Path, name: str
) -> None:
    source, layers = sources[name], WIDE.layers
    exact = exact_weights(origin)
    if name.startswith("sglang"):
        exact = expected(exact, layers, "bf16", "bf16")
    elif name not in ("ckpt-0", *CUT):
        kind = held(name)
        embedding = "f32" if name == "gguf f32" else "bf16" if "gguf" in name else kind
        exact = expected(exact, layers, kind, embedding)
    for names, dtype in (("hpcai", "bf16"), ("keyfan", "f32")):
        out = tmp_path / f"hf-{dtype}"
        convert(source, out, "hf", names=names, dtype=dtype)
        same(hf_values(out, names, layers, WIDE.experts), expected(exact, layers, dtype, dtype))
    for kind in ("f16", "q8_0"):
        out = tmp_path / f"{kind}.gguf"
        if kind == "q8_0" and name not in ("ckpt-0", *CODES):
            with pytest.raises(GrokpackError) as caught:
                convert(source, out, "gguf", type=kind)
            assert caught.value.code == "GP306"
            assert not list(tmp_path.glob("q8_0*"))
            continue
        convert(source, out, "gguf", type=kind)
        wanted = expected(exact, layers, "f32" if kind == "q8_0" else kind, "bf16")
        same(gguf_values(out, layers), wanted)
    convert(source, tmp_path / "ck", "ckpt-0")
    wanted = exact if name in ("ckpt-0", *CODES) else expected(exact, layers, "bf16", "f32")
    same(exact_weights(tmp_path / "ck"), wanted)
    convert(source, tmp_path / "ranks", "safetensors", tp=4)
    convert(tmp_path / "ranks", tmp_path / "ck2", "ckpt-0")
    same(exact_weights(tmp_path / "ck2"), wanted)


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("name", CODES)
def test_where_codes_are_kept_the_way_back_is_exact_to_the_byte(
    tmp_path: Path, sources: dict[str, Path], origin: Path, name: str
) -> None:
    source = sources[name]
    if name == "gguf q8_0":
        source = tmp_path / "x.gguf"
        plan = convert(origin, source, "gguf", type="q8_0", embedding="f32")
        assert plan.target.lossless
    assert convert(source, tmp_path / "back", "ckpt-0").target.lossless
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(origin / "ckpt-0")


@pytest.mark.parametrize(
    ("name", "to", "options", "loss"),
    [
        ("ckpt-0", "hf", {}, "products are rounded once to bf16"),
        ("ckpt-0", "hf", {"dtype": "f32"}, "the codes themselves are not kept"),
        ("ckpt-0", "gguf", {"type": "f16"}, "products are rounded once to f16"),
        ("ckpt-0", "gguf", {"type": "f32"}, "the codes themselves are not kept"),
        ("ckpt-0", "gguf", {"type": "q8_0"}, "the embedding is rounded once from f32 to bf16"),
        ("ckpt-0", "gguf", {"type": "q8_0", "embedding": "f32"}, None),
        ("gguf q8_0", "gguf", {"type": "q8_0"}, None),
        ("hf keyfan f32", "ckpt-0", {}, "weights are rounded once from f32 to bf16"),
        ("hf keyfan f32", "gguf", {"type": "f32"}, None),
        ("hf hpcai bf16", "hf", {"names": "sglang"}, None),
        ("hf hpcai bf16", "ckpt-0", {}, None),
        ("sglang for 4", "hf", {}, None),
        ("ckpt-0", "safetensors", {"tp": 8}, None),
        ("ckpt-0", "zarr", {}, None),
        ("ckpt-0", "zarr", {"dtype": "bf16"}, "products are rounded once to bf16"),
        ("ckpt-0", "orbax", {}, None),
        ("zarr", "orbax", {"dtype": "bf16"}, "the embedding is rounded once from f32 to bf16"),
        ("orbax", "ckpt-0", {}, None),
    ],
)
def test_what_is_lost_is_said_before_it_starts_and_nothing_else(
    sources: dict[str, Path], name: str, to: str, options: dict[str, Any], loss: str | None
) -> None:
    given = options_for(to, options)
    target = plan_convert(open_checkpoint(str(sources[name])), to, given).target
    said = [note for note in target.notes if "not lossless" in note]
    assert target.lossless == (loss is None)
    assert (said == []) if loss is None else any(loss in note for note in said)


def test_a_float_folder_comes_back_through_xais_pickles_to_the_byte(
    tmp_path: Path, sources: dict[str, Path]
) -> None:
    convert(sources["hf hpcai bf16"], tmp_path / "ck", "ckpt-0")
    convert(tmp_path / "ck", tmp_path / "back", "hf")
    weights = [
        {n: d for n, d in tree(f).items() if n.endswith("tensors")}
        for f in (sources["hf hpcai bf16"], tmp_path / "back")
    ]
    assert weights[0] == weights[1]
    assert weights[0]


def test_row_parallel_weights_in_bf16_are_read_with_their_scales_of_one(
    tmp_path: Path, origin: Path
) -> None:
    reshard(origin, tmp_path / "bf16", 4, "ckpt-0", scales="bf16-weights")
    for kind in ("f32", "bf16", "f16"):
        convert(tmp_path / "bf16", tmp_path / f"{kind}.gguf", "gguf", type=kind)
        values, exact = gguf_values(tmp_path / f"{kind}.gguf", 2), exact_weights(tmp_path / "bf16")
        embedding = "f32" if kind == "f32" else "bf16"
        same(values, expected(exact, 2, kind, embedding))
    with pytest.raises(GrokpackError) as caught:
        convert(tmp_path / "bf16", tmp_path / "q.gguf", "gguf", type="q8_0")
    assert caught.value.code == "GP306"


RESUMED = [
    ("ckpt-0", "hf", {"shard_bytes": 1 << 19}),
    ("ckpt-0", "gguf", {"type": "q8_0"}),
    ("hf hpcai bf16", "sglang", {"tp": 2}),
    ("ckpt-0", "zarr", {"tp": 2}),
]


@each_or_some
@pytest.mark.parametrize(("name", "to", "options"), RESUMED)
def test_a_conversion_resumes_after_a_crash_at_any_operation(
    tmp_path: Path,
    sources: dict[str, Path],
    name: str,
    to: str,
    options: dict[str, Any],
    most: int | None,
) -> None:
    given = options_for(to, options)
    plan = plan_convert(open_checkpoint(str(sources[name])), to, given)
    with counted() as operations:
        execute(plan, str(tmp_path / "clean"), RunOptions(workers=1))
    wanted = all_files(tmp_path, "clean")
    for count in places(operations, most):
        crash_after(count)
        with pytest.raises(Crash):
            execute(plan, str(tmp_path / "out"), RunOptions(workers=1))
        storage.faults.hook = None
        published = tmp_path / ("out.grokpack.json" if plan.target.single else "out/grokpack.json")
        assert not published.exists() or all_files(tmp_path, "out") == wanted
        execute(plan, str(tmp_path / "out"), RunOptions(workers=1))
        assert all_files(tmp_path, "out") == wanted, f"crashed at operation {count}"
        for path in tmp_path.glob("out*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def all_files(folder: Path, stem: str) -> dict[str, bytes]:
    """An output, a folder or a file with its manifest, by names that do not tell which it is."""
    found = {n: d for n, d in tree(folder).items() if n.split("/")[0].startswith(stem)}
    return {n.removeprefix(stem): d for n, d in found.items() if ".grokpack/" not in n}


@pytest.mark.parametrize(
    ("name", "to", "options"),
    [
        *RESUMED,
        ("gguf q8_0", "ckpt-0", {}),
        ("ckpt-0 expanded", "hf", {}),
        ("zarr", "hf", {}),
        ("zarr", "zarr", {"compress": "zstd"}),
    ],
)
def test_memory_workers_and_kernels_change_no_byte(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sources: dict[str, Path],
    name: str,
    to: str,
    options: dict[str, Any],
) -> None:
    given = options_for(to, options)
    little = 400 if name == "zarr" else 180  # TensorStore, and chunks that are made whole
    variants = [("numpy", 512, 1), ("numpy", little, 3), ("numba", 512, 2), ("numba", 400, 1)]
    for number, (implementation, memory, workers) in enumerate(variants):
        monkeypatch.setenv(VARIABLE, implementation)
        plan = plan_convert(open_checkpoint(str(sources[name])), to, given)
        limits = RunOptions(memory_bytes=memory << 20, workers=workers)
        execute(plan, str(tmp_path / f"out{number}"), limits)
    first = all_files(tmp_path, "out0")
    assert first
    assert all(all_files(tmp_path, f"out{n}") == first for n in range(1, len(variants)))


def test_every_output_can_be_verified_and_opened(sources: dict[str, Path]) -> None:
    for name, path in sources.items():
        verdict = verify_structure(survey(str(path)))
        assert verdict.whole, (name, verdict.findings)


def test_a_single_file_is_held_against_the_manifest_beside_it(tmp_path: Path, origin: Path) -> None:
    path = tmp_path / "x.gguf"
    convert(origin, path, "gguf", type="q8_0")
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    assert {f.code for f in verify_structure(survey(str(path))).findings} == {"GP110"}


def test_groups_that_a_config_claims_wrongly_are_refused_before_anything_is_written(
    tmp_path: Path, origin: Path
) -> None:
    reshard(origin, tmp_path / "ex", 4, "ckpt-0", scales="expanded")
    config = tmp_path / "ex" / "config.json"
    config.write_text(config.read_text().replace('"scale_groups": 8', '"scale_groups": 4'))
    with pytest.raises(GrokpackError) as caught:
        convert(tmp_path / "ex", tmp_path / "x.gguf", "gguf", type="q8_0")
    assert caught.value.code == "GP215"
    assert not list(tmp_path.glob("x.gguf*"))


def test_targets_and_types_are_listed_where_none_is_named(origin: Path) -> None:
    source = open_checkpoint(str(origin))
    with pytest.raises(GrokpackError) as caught:
        plan_convert(source, "")
    assert [name for name, _ in caught.value.facts] == list(writer_registry.LOSSLESS)
    assert "grokpack convert --help" in (caught.value.hint or "")
    with pytest.raises(GrokpackError) as caught:
        plan_convert(source, "gguf")
    assert all(f"{kind} (" in (caught.value.hint or "") for kind in ("q8_0", "bf16", "f16", "f32"))


@pytest.mark.parametrize(
    ("options", "suffix"),
    [
        (ConvertOptions(), "hf"),
        (ConvertOptions(names="hpcai", dtype="bf16"), "hf"),
        (ConvertOptions(names="keyfan"), "hf-keyfan"),
        (ConvertOptions(dtype="f32"), "hf-f32"),
    ],
)
def test_a_default_name_says_what_is_unusual(options: ConvertOptions, suffix: str) -> None:
    assert default_suffix("hf", options) == suffix
