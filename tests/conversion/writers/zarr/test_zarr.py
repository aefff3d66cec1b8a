"""zarr folders: what zarr-python and TensorStore find in them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import zarr as zarr_python
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import LocalStore, StorePath

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions as Quantizing
from grokpack.conversion.plan_quantize import plan_quantize
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box, whole_box
from grokpack.core.tensors import ArraySpec, DType
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.formats import zarr_shards
from grokpack.transforms.copies import Constant
from grokpack.transforms.zarr_chunks import ChecksummedChunks
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import SMALL, synthesize, tensor_files, tree
from tests.support.conversions import WIDE, convert
from tests.support.project import ROOT
from tests.support.zarr_stores import QUERY, UNEVEN, by_tensorstore, flip, leaves


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
    dimensions = draw(st.integers(1, 3))
    longest = 40 if dimensions < 3 else 13  # chunks of two values: some thousands of them
    shape = draw(st.lists(st.integers(1, longest), min_size=dimensions, max_size=dimensions))
    spec = ArraySpec(tuple(shape), draw(st.sampled_from([DType.I8, DType.BF16, DType.F32])))
    parts = [draw(st.sampled_from([1, 1, 2, 3, 8])) for _ in shape]
    return spec, tuple(parts)


@given(arrays(), st.integers(4, 600), st.integers(4, 4000))
def test_chunks_cover_an_array_once_and_no_shard_straddles_the_slices_of_two_ranks(
    drawn: tuple[ArraySpec, tuple[int, ...]], chunk_bytes: int, shard_bytes: int
) -> None:
    spec, cuts = drawn
    grid = zarr_shards.choose_grid(spec, cuts, chunk_bytes, shard_bytes)
    size = spec.dtype.itemsize
    assert math.prod(grid.chunk) * size <= max(chunk_bytes, size)
    assert math.prod(grid.shard) * size <= max(shard_bytes, math.prod(grid.chunk) * size)
    seen = np.zeros(spec.shape, int)
    rows, frame = zarr_shards.frames_spec(spec, grid).shape
    assert frame == math.prod(grid.chunk) * size + 4
    for row in range(rows):
        inside = grid.box(row).intersect(whole_box(spec.shape))
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
    grid = zarr_shards.ShardGrid((5, 6), (6, 6), (3, 3))
    op = ChecksummedChunks(Constant(0xFF, 1), grid, 1)
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
        assert caught.value.code in ("GP304", "GP346")


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
    source = synthesize(tmp_path / "m", WIDE)
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


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(synthesize(tmp_path / "m", WIDE), tmp_path / "tiny-zarr", "zarr")
    monkeypatch.chdir(tmp_path)
    guide = ROOT / "docs" / "how-to" / "convert-to-zarr.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, guide.name, "exec"), {})  # noqa: S102  # the guide's own words
