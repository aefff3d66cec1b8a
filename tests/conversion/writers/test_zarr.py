"""zarr folders: what zarr-python and TensorStore find in them, and stores that others wrote."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
import zarr as zarr_python
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import GzipCodec, ZstdCodec
from zarr.storage import LocalStore, StorePath

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.checkpoint.tensorstore.chunk_reader import CACHE_BYTES
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions as Quantizing
from grokpack.conversion.plan_quantize import plan_quantize
from grokpack.conversion.writers import chunked_store_writer
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box, whole
from grokpack.core.tensors import ArraySpec, DType
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.formats import zarr
from grokpack.formats.zarr_metadata import Stored
from grokpack.models import architecture
from grokpack.transforms.copies import Constant
from grokpack.transforms.zarr_chunks import Frames
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.oracle.forward import files, stored
from tests.support.checkpoints import SMALL, synthesise, tensor_files, tree
from tests.support.converting import WIDE, convert
from tests.support.project import ROOT

UNEVEN = architecture.Geometry(
    vocab=331, d_model=72, layers=2, experts=3, ffn=104, q_width=64, kv_width=64, head_dim=8
)
"""Widths that chunks of a few kilobytes do not divide."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("origin") / "m", UNEVEN)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store, for tests that damage copies of it."""
    source = synthesise(tmp_path_factory.mktemp("small") / "m", replace(SMALL, layers=1))
    convert(source, source.parent / "z", "zarr", tp=2)
    return source.parent / "z"


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small, tmp_path / "z")


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and shards of kilobytes, so that small arrays have many of both."""
    monkeypatch.setattr(chunked_store_writer, "CHUNK_BYTES", 1 << 12)


def leaves(source: Path, layers: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a checkpoint by its path in a store, from the pickles."""
    for name, path in files(source / "ckpt-0", layers).items():
        values, scales = stored(path)
        yield name, values
        if scales is not None:
            yield f"{name}_scales", scales


def by_tensorstore(folder: Path) -> np.ndarray:
    spec = {"driver": "zarr3", "kvstore": f"file://{folder}/", "fill_missing_data_reads": False}
    values: np.ndarray = ts.open(spec, read=True, open=True).result().read().result()
    return values


def by_zarr_python(root: Path, path: str) -> np.ndarray:
    described = json.loads((root / path / "zarr.json").read_text())
    if described["data_type"] != "bfloat16":
        return np.asarray(zarr_python.open_group(root, mode="r")[path][...])  # type: ignore[index]
    described |= {"data_type": "uint16", "fill_value": 0}
    array = zarr_python.Array.from_dict(StorePath(LocalStore(root / path)), described)
    return np.asarray(array[...]).view(ml_dtypes.bfloat16)


# What is written


@st.composite
def arrays(draw: st.DrawFn) -> tuple[ArraySpec, tuple[int, ...]]:
    shape = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    spec = ArraySpec(tuple(shape), draw(st.sampled_from([DType.I8, DType.BF16, DType.F32])))
    parts = [draw(st.sampled_from([1, 1, 2, 3, 8])) for _ in shape]
    return spec, tuple(parts)


@given(arrays(), st.integers(4, 600), st.integers(4, 4000))
def test_chunks_cover_an_array_once_and_no_shard_straddles_the_slices_of_two_ranks(
    drawn: tuple[ArraySpec, tuple[int, ...]], chunk_bytes: int, shard_bytes: int
) -> None:
    spec, cuts = drawn
    grid = zarr.choose_grid(spec, cuts, chunk_bytes, shard_bytes)
    size = spec.dtype.itemsize
    assert math.prod(grid.chunk) * size <= max(chunk_bytes, size)
    assert math.prod(grid.shard) * size <= max(shard_bytes, math.prod(grid.chunk) * size)
    seen = np.zeros(spec.shape, int)
    rows, frame = zarr.frames_spec(spec, grid).shape
    assert frame == math.prod(grid.chunk) * size + 4
    for row in range(rows):
        inside = grid.box(row).intersect(whole(spec.shape))
        assert inside is not None, "a chunk lies wholly beyond the array"
        seen[tuple(slice(a, b) for a, b in zip(inside.start, inside.stop, strict=True))] += 1
    assert (seen == 1).all()
    for n, cut, shard, chunk in zip(spec.shape, cuts, grid.shard, grid.chunk, strict=True):
        assert shard % chunk == 0
        aligned = n % cut == 0 and (n // cut) % chunk == 0
        assert not aligned or (n // cut) % shard == 0


@pytest.mark.usefixtures("fine")
@pytest.mark.parametrize(("dtype", "compress"), [(None, None), ("bf16", None), (None, "zstd")])
def test_every_value_is_found_by_zarr_python_and_by_tensorstore(
    tmp_path: Path, origin: Path, dtype: str | None, compress: str | None
) -> None:
    out = tmp_path / "z"
    plan = convert(origin, out, "zarr", tp=4, shard_bytes=1 << 13, dtype=dtype, compress=compress)
    grids = [op.grid for op in plan.target.ops.values()]  # type: ignore[union-attr]
    assert any(math.prod(g.shards) > 4 and g.per_shard > 1 for g in grids)
    assert any(n % c for g in grids for n, c in zip(g.shape, g.chunk, strict=True)), "padded"
    wanted = dict(leaves(origin, UNEVEN.layers))
    if dtype:
        wanted = dequantized(wanted)
    for path, values in wanted.items():
        for found in (by_tensorstore(out / path), by_zarr_python(out, path)):
            assert (found.dtype, found.shape) == (values.dtype, values.shape), path
            assert found.tobytes() == values.tobytes(), path
    assert len([*out.rglob("c")]) == len(wanted)


def dequantized(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = {}
    for name, values in arrays.items():
        scales = arrays.get(f"{name}_scales")
        if scales is not None:
            rows = values.shape[-2] // scales.shape[-2]
            factors = np.repeat(scales.astype(np.float32), rows, axis=-2)
            made[name] = (values.astype(np.float32) * factors).astype(ml_dtypes.bfloat16)
        elif not name.endswith("_scales"):
            made[name] = values.astype(ml_dtypes.bfloat16) if "embed" in name else values
    return made


def test_what_lies_beyond_an_array_is_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = zarr.ShardGrid((5, 6), (6, 6), (3, 3))
    op = Frames(Constant(0xFF, 1), grid, 1)
    monkeypatch.setattr(np, "empty", lambda shape, dtype: np.full(shape, 0xAA, dtype))
    made = op.make(Box((0, 0), (4, 13)), ArrayReader(None))
    padded = made[2, :9].reshape(3, 3)
    assert (padded[:2] == 0xFF).all()
    assert (padded[2] == 0).all()


def test_metadata_says_what_an_array_is(small: Path) -> None:
    group = zarr_python.open_group(small, mode="r")
    model: Any = group.attrs["grokpack"]
    assert model["geometry"]["d_model"] == SMALL.d_model
    array = group["transformer/decoder_layer_0/moe/linear_1/w"]
    assert dict(array.attrs) == {
        "name": "transformer/decoder_layer_0/moe/linear_1/w",
        "role": "expert",
        "title": "experts, down projection",
        "tensor_parallel_axis": 1,
        "scales": "w_scales",
        "scale_groups": 8,
        "rows_per_group": 8,
    }
    assert array.metadata.dimension_names == ("experts", "ffn", "d_model")  # type: ignore[union-attr]
    names = {name for name, _ in group["transformer/decoder_layer_0"].groups()}  # type: ignore[union-attr]
    assert {"moe", "multi_head_attention", "rms_norm", "router"} <= names


def test_the_group_is_published_last_so_that_half_a_store_is_none(
    origin: Path,
) -> None:
    plan = plan_convert(open_checkpoint(str(origin)), "zarr")
    assert [*plan.target.finals][-1] == "zarr.json"


def test_scales_that_stand_expanded_are_written_in_their_groups(
    tmp_path: Path, origin: Path
) -> None:
    from tests.support.checkpoints import reshard

    reshard(origin, tmp_path / "ex", 4, "ckpt-0", scales="expanded")
    convert(tmp_path / "ex", tmp_path / "one", "zarr")
    convert(origin, tmp_path / "two", "zarr")
    arrays_of = [
        {n: d for n, d in tree(tmp_path / f).items() if "/c/" in n} for f in ("one", "two")
    ]
    assert arrays_of[0] == arrays_of[1]


def test_without_the_package_of_checksums_it_is_named(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "crc32c", None)
    with pytest.raises(GrokpackError) as caught:
        plan_convert(open_checkpoint(str(origin)), "zarr")
    assert caught.value.code == "GP307"
    assert "grokpack[zarr]" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "f16"},
        {"tp": 0},
        {"shard_bytes": 100},
        {"names": "hpcai"},
        {"compress": "blosc"},
    ],
)
def test_options_that_cannot_be_are_refused(origin: Path, options: dict[str, Any]) -> None:
    for target in ("zarr", "orbax"):
        with pytest.raises(GrokpackError) as caught:
            plan_convert(open_checkpoint(str(origin)), target, ConvertOptions(**options))
        assert caught.value.code == "GP304"


def test_a_budget_counts_the_chunks_that_are_made_together(origin: Path) -> None:
    plan = plan_convert(open_checkpoint(str(origin)), "zarr")
    assert plan.target.thread_bytes > 0
    with pytest.raises(GrokpackError) as caught:
        execute(plan, "unused", RunOptions(memory_bytes=133 << 20, workers=1))
    assert caught.value.code == "GP312"


def test_a_compressed_store_is_smaller_and_comes_back(tmp_path: Path, origin: Path) -> None:
    plan = convert(origin, tmp_path / "z", "zarr", compress="zstd", tp=2)
    written = sum(len(data) for name, data in tree(tmp_path / "z").items() if "/c/" in name)
    plain = plan_convert(open_checkpoint(str(origin)), "zarr", ConvertOptions(tp=2))
    files_of = plain.target.layout.files()
    assert written < 0.99 * sum(file.nbytes for file in files_of if "/c/" in file.path)
    assert plan.target.lossless
    convert(tmp_path / "z", tmp_path / "back", "ckpt-0")
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(origin / "ckpt-0")
    assert verify_structure(survey(str(tmp_path / "z"))).whole
    flip(tmp_path / "z" / QUERY / "c" / "0" / "0", 5)
    verdict = verify_values(verify_structure(survey(str(tmp_path / "z"))))
    assert {"GP110", "GP115"} == {f.code for f in verdict.findings}


@pytest.mark.parametrize("target", ["zarr", "orbax"])
def test_a_store_is_not_archived_because_its_files_have_to_be_as_they_are(
    tmp_path: Path, origin: Path, target: str
) -> None:
    convert(origin, tmp_path / "z", target)
    with pytest.raises(GrokpackError) as caught:
        convert(tmp_path / "z", tmp_path / "a", "archive")
    assert caught.value.code == "GP306"
    assert "--compress zstd" in (caught.value.hint or "")


# Codes of four bits


@pytest.mark.parametrize("target", ["compressed-tensors", "gptq"])
def test_codes_of_four_bits_stay_packed_and_come_back(tmp_path: Path, target: str) -> None:
    source = synthesise(tmp_path / "m", WIDE)
    plan = plan_quantize(open_checkpoint(str(source)), Quantizing(bits=4, to=target, group="32"))
    execute(plan, str(tmp_path / "q"))
    convert(tmp_path / "q", tmp_path / "z", "zarr")
    name = "transformer/decoder_layer_0/moe/linear/w"
    packed = by_zarr_python(tmp_path / "z", name)
    assert packed.dtype == np.uint8
    assert packed.shape == (4, 96, 128)
    again = open_checkpoint(str(tmp_path / "z"))
    assert again.bits[name] == 4
    for folder in ("q", "z"):
        convert(tmp_path / folder, tmp_path / f"{folder}-hf", "hf")
        convert(tmp_path / folder, tmp_path / f"{folder}-orbax", "orbax")
    for end in ("hf", "orbax"):
        one, two = (tree(tmp_path / f"{folder}-{end}") for folder in ("q", "z"))
        kept = [n for n in one if n.endswith("safetensors") or "/c/" in n]
        assert kept
        assert all(one[n] == two[n] for n in kept)
    convert(tmp_path / "z", tmp_path / "zz", "zarr")
    one, two = tree(tmp_path / "z"), tree(tmp_path / "zz")
    assert all(one[n] == two[n] for n in one if "/c/" in n)


# Stores that others wrote


def write_python(root: Path, path: str, values: np.ndarray, number: int) -> None:
    """By zarr-python: compressed, in chunks that divide nothing, some in shards."""
    chunks = tuple(max(1, 7 * n // 16) for n in values.shape)
    if values.dtype == ml_dtypes.bfloat16:
        write_tensorstore(root, path, values, "zarr3")
        return
    zarr_python.open_group(root, mode="a").create_array(
        path,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=tuple(2 * n for n in chunks) if number % 2 else None,
        compressors=(ZstdCodec(), GzipCodec())[number % 3 > 0],
        config={"write_empty_chunks": True},
    )[...] = values


def write_tensorstore(root: Path, path: str, values: np.ndarray, driver: str) -> None:
    chunks = tuple(max(1, 5 * n // 8) for n in values.shape)
    kinds = {"bfloat16": "bfloat16", "int8": "|i1", "float32": "<f4"}
    described: dict[str, Any] = {"shape": values.shape}
    if driver == "zarr":
        kind = kinds[values.dtype.name]
        described |= {"chunks": chunks, "dtype": kind, "compressor": {"id": "zstd"}}
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
        described |= {"chunk_grid": grid, "data_type": values.dtype.name}
    spec = {
        "driver": driver,
        "kvstore": f"file://{root / path}/",
        "metadata": described,
        "store_data_equal_to_fill_value": True,
    }
    ts.open(spec, create=True).result().write(values).result()


WRITERS: dict[str, Callable[[Path, str, np.ndarray, int], None]] = {
    "zarr-python": write_python,
    "zarr 3": lambda root, path, values, _: write_tensorstore(root, path, values, "zarr3"),
    "zarr 2": lambda root, path, values, _: write_tensorstore(root, path, values, "zarr"),
    "scales below": lambda root, path, values, _: write_tensorstore(
        root, path.replace("_scales", "/scales"), values, "zarr3"
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_stores_that_others_wrote_become_the_same_pickles(
    tmp_path: Path, origin: Path, writer: str
) -> None:
    for number, (path, values) in enumerate(leaves(origin, UNEVEN.layers)):
        WRITERS[writer](tmp_path / "z", path, values, number)
    assert survey(str(tmp_path / "z"), 8).whole
    plan = plan_convert(open_checkpoint(str(tmp_path / "z"), 8), "ckpt-0")
    execute(plan, str(tmp_path / "back"))
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(origin / "ckpt-0")


@pytest.mark.usefixtures("fine")
@pytest.mark.parametrize("window", [None, 1, 10_000])
def test_a_box_of_any_shape_is_read_from_padded_chunks(
    tmp_path: Path, origin: Path, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few chunks are decoded at a time, and where a single one is too many."""
    if window is not None:
        monkeypatch.setattr("grokpack.checkpoint.tensorstore.chunk_reader.WINDOW_BYTES", window)
        monkeypatch.setattr("grokpack.checkpoint.tensorstore.chunked_array.WINDOW_BYTES", window)
    convert(origin, tmp_path / "z", "zarr", tp=1)
    name = "language_model/in_out_embed/embeddings"
    values = next(values for path, values in leaves(origin, 2) if path == name)
    reader = ArrayReader(open_checkpoint(str(tmp_path / "z")))
    for start, stop in (((0, 0), (331, 72)), ((330, 71), (331, 72)), ((17, 3), (300, 4))):
        box = Box(start, (stop[0] - start[0], stop[1] - start[1]))
        found = reader.read(name, box).view(np.float32)
        np.testing.assert_array_equal(found, values[start[0] : stop[0], start[1] : stop[1]])


def test_chunks_too_large_for_the_memory_are_refused_before_anything_is_written(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write a tensor in one chunk, which has to be decoded whole."""
    assert CACHE_BYTES < open_checkpoint(str(small)).cache_bytes < 4 * CACHE_BYTES
    monkeypatch.setattr(Stored, "chunk_bytes", 200 << 20)
    plan = plan_convert(open_checkpoint(str(small)), "ckpt-0")
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"))
    assert caught.value.code == "GP312"
    assert not (tmp_path / "out").exists()


def test_the_file_of_an_odd_value_is_named(folder: Path) -> None:
    path = "transformer/decoder_layer_0/moe/linear/w_scales"
    spec = {"driver": "zarr3", "kvstore": f"file://{folder / path}/"}
    array = ts.open(spec, open=True).result()
    array[1, 0, 40] = np.array(np.nan, ml_dtypes.bfloat16)
    verdict = verify_values(verify_structure(survey(str(folder))))
    (found,) = [f for f in verdict.findings if f.code == "GP120"]
    assert found.file == f"{path}/c/0/0/1"
    assert "expert 1, group 0, column 40" in (found.found or "")


# Damage


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def describe(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


SHARD = "transformer/decoder_layer_0/moe/linear/w/c/0/0/1"
QUERY = "transformer/decoder_layer_0/multi_head_attention/query/w"
NORM = "transformer/decoder_layer_0/rms_norm/scale"
STRUCTURE: dict[str, tuple[Callable[[Path], Any], str, str | None]] = {
    "a shard is missing": (lambda f: (f / SHARD).unlink(), "GP101", SHARD),
    "a shard is cut short": (
        lambda f: (f / SHARD).write_bytes((f / SHARD).read_bytes()[:9]),
        "GP103",
        SHARD,
    ),
    "an index points beyond the file": (lambda f: flip(f / SHARD, -6), "GP103", SHARD),
    "an array is missing": (lambda f: shutil.rmtree(f / QUERY), "GP101", None),
    "scales are missing": (lambda f: shutil.rmtree(f / f"{QUERY}_scales"), "GP101", None),
    "an array has another shape": (
        lambda f: describe(f, QUERY, shape=[32, 64]),
        "GP105",
        f"{QUERY}/zarr.json",
    ),
    "metadata breaks off": (
        lambda f: (f / QUERY / "zarr.json").write_text('{"zarr_format": 3'),
        "GP111",
        f"{QUERY}/zarr.json",
    ),
    "an array is of words": (
        lambda f: describe(f, NORM, data_type="string"),
        "GP106",
        f"{NORM}/zarr.json",
    ),
    "a norm is of integers": (
        lambda f: describe(f, NORM, data_type="int32"),
        "GP106",
        f"{NORM}/zarr.json",
    ),
    "a chunk grid is not regular": (
        lambda f: describe(f, NORM, chunk_grid={"name": "rectilinear"}),
        "GP106",
        f"{NORM}/zarr.json",
    ),
    "scales have another shape": (
        lambda f: describe(f, f"{QUERY}_scales", shape=[3, 128]),
        "GP107",
        f"{QUERY}_scales/zarr.json",
    ),
    "the config is of another model": (
        lambda f: (f / "config.json").write_text('{"emb_size": 7, "key_size": 8}'),
        "GP130",
        "config.json",
    ),
}


@pytest.mark.parametrize("case", STRUCTURE)
def test_what_is_wrong_is_found_without_reading_values(
    tmp_path: Path, folder: Path, case: str
) -> None:
    damage, code, file = STRUCTURE[case]
    damage(folder)
    (folder / "grokpack.json").unlink()  # which would know as well
    found = survey(str(folder)).findings
    assert (code, file) in {(f.code, f.file) for f in found}
    with pytest.raises(GrokpackError) as caught:
        convert(folder, tmp_path / "out", "ckpt-0")
    assert caught.value.code == "GP202"
    assert not (tmp_path / "out").exists()


def test_a_damaged_chunk_is_found_among_the_values_and_the_others_are_counted(
    tmp_path: Path, folder: Path
) -> None:
    flip(folder / SHARD, 5)
    bad = f"{NORM}/c/0"
    flip(folder / bad, 5)
    verdict = verify_values(verify_structure(survey(str(folder))))
    assert {(f.code, f.file) for f in verdict.findings if f.code == "GP115"} == {
        ("GP115", SHARD),
        ("GP115", bad),
    }
    assert verdict.checks["values"] == "failed"
    with pytest.raises(GrokpackError) as caught:
        convert(folder, tmp_path / "out", "ckpt-0")
    assert caught.value.code == "GP225"
    assert caught.value.where is not None
    assert caught.value.where.path.endswith((SHARD, bad))
    assert not (tmp_path / "out" / "grokpack.json").exists()


def test_the_manifest_tells_a_changed_shard_without_decoding(folder: Path) -> None:
    assert verify_structure(survey(str(folder))).whole
    flip(folder / SHARD, 5)
    found = verify_structure(survey(str(folder))).findings
    assert {(f.code, f.file) for f in found} == {("GP110", SHARD)}


def test_a_shard_that_goes_while_it_is_read_is_not_read_as_zeros(folder: Path) -> None:
    reader = ArrayReader(open_checkpoint(str(folder)))
    (folder / SHARD).unlink()
    name = "transformer/decoder_layer_0/moe/linear/w"
    with pytest.raises(GrokpackError, match="missing") as caught:
        reader.read(name, Box((0, 0, 0), (2, 4, 64)))
    assert caught.value.code == "GP225"
    assert caught.value.where is not None
    assert caught.value.where.path == str(folder / SHARD)


def test_arrays_that_are_no_tensors_are_left_alone_and_named(folder: Path) -> None:
    write_tensorstore(folder, "optimizer/mu", np.ones((3, 4), np.float32), "zarr3")
    found = survey(str(folder))
    assert found.whole
    assert [(f.code, f.severity, f.tensor) for f in found.findings] == [
        ("GP102", "warning", "optimizer/mu")
    ]


def test_a_chunk_of_zeros_that_was_left_out_is_not_read_as_zeros(
    folder: Path,
) -> None:
    path = folder / NORM
    values = by_tensorstore(path)
    shutil.rmtree(path)
    write_tensorstore(folder, NORM, values, "zarr3")
    min((path / "c").iterdir()).unlink()
    assert "GP101" in {f.code for f in survey(str(folder)).findings}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{" * 5000,
        '{"zarr_format": 3, "node_type": "array"}',
        '{"zarr_format": 3, "node_type": "array", "shape": [1e9], "data_type": "int8"}',
        '{"zarr_format": 2, "shape": [4], "chunks": [0], "dtype": "|i1"}',
        '{"zarr_format": 2, "shape": [4], "chunks": [4, 4], "dtype": "|i1"}',
        '{"zarr_format": 2, "shape": [4398046511104, 9999], "chunks": [1, 1], "dtype": "|i1"}',
        '{"zarr_format": 2, "shape": [4398046511104], "chunks": [1], "dtype": "|i1"}',
    ],
)
def test_hostile_metadata_ends_in_a_finding(folder: Path, text: str) -> None:
    (folder / QUERY / "zarr.json").write_text(text)
    found = survey(str(folder)).findings
    assert {"GP111", "GP101"} & {f.code for f in found}


def test_a_group_without_tensors_is_no_checkpoint(tmp_path: Path) -> None:
    zarr_python.open_group(tmp_path / "z", mode="w")
    with pytest.raises(GrokpackError) as caught:
        survey(str(tmp_path / "z"))
    assert caught.value.code == "GP210"


def test_inspect_counts_the_bytes_of_the_files(small: Path) -> None:
    data = document(survey(str(small)))
    sizes = {p: p.stat().st_size for p in small.rglob("*") if p.is_file()}
    own = [p for p in sizes if p.name not in ("config.json", "grokpack.json")]
    assert data["bytes"] == sum(sizes[p] for p in own)
    (tensor,) = [t for t in data["tensors"] if t["name"] == QUERY]
    assert {row["file"] for row in tensor["pieces"]["values"]} == {
        f"{QUERY}/c/0/0",
        f"{QUERY}/c/0/1",
    }
    assert sum(row["share"] for row in data["parts"]) == pytest.approx(1)


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(synthesise(tmp_path / "m", WIDE), tmp_path / "tiny-zarr", "zarr")
    monkeypatch.chdir(tmp_path)
    guide = ROOT / "docs" / "how-to" / "convert-to-zarr.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, guide.name, "exec"), {})  # noqa: S102  # the guide's own words
