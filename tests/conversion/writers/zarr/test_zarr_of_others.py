"""zarr folders that others wrote: read as they are, whatever their chunks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
import zarr as zarr_python
from zarr.codecs import GzipCodec, ZstdCodec

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.tensorstore.chunk_reader import CACHE_BYTES
from grokpack.conversion.plan_convert import plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.execution.run import execute
from grokpack.formats.zarr_metadata_parsing import ZarrArrayMetadata
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import tensor_files
from tests.support.conversions import convert
from tests.support.zarr_stores import UNEVEN, leaves, write_tensorstore


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
    monkeypatch.setattr(ZarrArrayMetadata, "chunk_bytes", 200 << 20)
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
