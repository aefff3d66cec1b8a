"""`grokpack.open`: the arrays of every kind of source as TensorStore arrays, values exact."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given
from hypothesis import strategies as st

import grokpack
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.checkpoint.tensorstore.open_arrays import MemoryIndex
from grokpack.checkpoint.virtual_store import chunk_grid
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.core.tensors import ArraySpec, DType, scales_name
from grokpack.execution.run import execute
from grokpack.formats import ocdbt, zarr_metadata_rendering
from grokpack.models.grok1 import GROK1
from grokpack.transforms.dequantize import Dequantize
from tests.support.checkpoints import GOLDEN, reshard, synthesize, tree
from tests.support.conversions import WIDE, attach, convert, expected, rounded
from tests.support.weight_formula import exact_weights, unpickled

DOWN = "transformer/decoder_layer_0/moe/linear_1/w"
EMBEDDING = "language_model/in_out_embed/embeddings"
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "ranks": ("safetensors", {"tp": 4}),
    "hf": ("hf", {}),
    "hf f32": ("hf", {"names": "keyfan", "dtype": "f32"}),
    "sglang": ("sglang", {"tp": 2}),
    "gguf q8_0": ("gguf", {"type": "q8_0"}),
    "gguf f16 split": ("gguf", {"type": "f16", "shard_bytes": 1 << 19}),
    "view": ("view", {}),
    "view of hf": ("hf", {}),
}


@pytest.fixture(autouse=True)
def _many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_grid, "CHUNK_BYTES", 4096)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", WIDE)


def made(origin: Path, folder: Path, kind: str) -> Path:
    """A source of that kind, of the origin's weights."""
    to, options = SOURCES[kind]
    if to == "view":
        out = origin / "ckpt-0.view"
        shutil.rmtree(out, ignore_errors=True)
        return attach(origin, out)
    out = folder / (f"{kind}.gguf" if kind == "gguf q8_0" else kind)
    convert(origin, out, to, **options)
    if kind.startswith("view"):
        return attach(out, folder / "v")
    return out


def value(array: ts.TensorStore) -> np.ndarray:
    found: np.ndarray = array.read().result()
    return found


@pytest.mark.parametrize("kind", ["ckpt-0", "golden", "ranks", "gguf q8_0", "view"])
def test_codes_and_scales_are_those_that_python_unpickles(
    tmp_path: Path, origin: Path, kind: str
) -> None:
    path = {"ckpt-0": origin, "golden": GOLDEN}.get(kind) or made(origin, tmp_path, kind)
    before = tree(path) if path.is_dir() else {}
    opened = grokpack.open(str(path))
    wanted = unpickled(GOLDEN if kind == "golden" else origin)
    if kind == "gguf q8_0":
        wanted[EMBEDDING] = wanted[EMBEDDING].astype(ml_dtypes.bfloat16)
    assert sorted(opened) == sorted(wanted)
    assert len(opened) == len(wanted)
    for name, values in wanted.items():
        array = opened[name]
        assert isinstance(array, ts.TensorStore)
        assert array.shape == values.shape
        assert value(array).tobytes() == values.tobytes(), name
    assert before == (tree(path) if path.is_dir() else {})


@pytest.mark.parametrize("kind", ["hf", "hf f32", "sglang", "gguf f16 split", "view of hf"])
def test_arrays_that_files_hold_turned_are_computed_in_the_models_form(
    tmp_path: Path, origin: Path, kind: str
) -> None:
    opened = grokpack.open(str(made(origin, tmp_path, kind)))
    dtype = next((d for d in ("f16", "f32") if d in kind.split()), "bf16")
    embedding = "bf16" if "gguf" in kind else dtype
    wanted = expected(exact_weights(origin), WIDE.layers, dtype, embedding)
    assert sorted(opened) == sorted(wanted)
    for name, values in wanted.items():
        assert (value(opened[name]).astype(np.float32) == values).all(), name


EXACT = ("ckpt-0", "golden", "gguf q8_0", "view")  # each dtype; of the others the usual one


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, "bf16") for kind in ("ckpt-0", "golden", *SOURCES)]
    + [(kind, dtype) for kind in EXACT for dtype in ("f32", "f16")],
)
def test_tensors_are_dequantized_on_read_with_one_rounding_at_most(
    tmp_path: Path, origin: Path, kind: str, dtype: str
) -> None:
    path = {"ckpt-0": origin, "golden": GOLDEN}.get(kind) or made(origin, tmp_path, kind)
    source = GOLDEN if kind == "golden" else origin
    layers = 3 if kind == "golden" else WIDE.layers
    exact = exact_weights(source)
    if kind in ("hf", "sglang", "gguf f16 split", "view of hf"):
        first = "f16" if "f16" in kind else "bf16"
        exact = expected(exact, layers, first, "bf16")
    elif kind == "gguf q8_0":
        exact = expected(exact, layers, "f32", "bf16")
    lazy = grokpack.open(str(path)).dequantized(dtype)
    assert sorted(lazy) == sorted(exact)
    kinds = {"bf16": ml_dtypes.bfloat16, "f32": np.float32, "f16": np.float16}
    for name, values in exact.items():
        found = value(lazy[name])
        assert found.dtype == kinds[dtype]
        assert found.tobytes() == values.astype(kinds[dtype]).tobytes(), name


@pytest.mark.parametrize("kind", ["expanded", "bf16-weights", "packed"])
def test_weights_with_other_scales_than_the_releases_are_multiplied_with_their_own(
    tmp_path: Path, origin: Path, kind: str
) -> None:
    if kind == "packed":
        options = QuantizeOptions(bits=4, group="32", symmetric=False)
        execute(plan_quantize(open_checkpoint(str(origin)), options), str(tmp_path / "m"))
    else:
        reshard(origin, tmp_path / "m", 4, "ckpt-0", scales=kind)
    opened = grokpack.open(str(tmp_path / "m"))
    lazy = opened.dequantized("f32")
    for name, tensor in opened.tensors.items():
        values = value(opened[name]).astype(np.float32)
        if tensor.scales is not None:
            scales = value(opened[scales_name(name)]).astype(np.float32)
            values *= np.repeat(scales, values.shape[-2] // scales.shape[-2], axis=-2)
        assert (value(lazy[name]) == values).all(), name
    assert any(tensor.scales is not None for tensor in opened.tensors.values())
    if kind != "packed":
        dtype = "f32" if kind == "expanded" else "bf16"
        by_name = {e.name: e for e in GROK1.tensors(WIDE.layers)}
        for name, values in exact_weights(origin).items():
            rounds = dtype if by_name[name].rule.cut == "rows" else "f32"
            assert (value(lazy[name]) == rounded(values, rounds)).all(), name


@given(st.data())
def test_any_box_is_what_the_programs_own_dequantization_makes(
    origin: Path, data: st.DataObject
) -> None:
    checkpoint = open_checkpoint(str(origin))
    tensor = checkpoint.tensors[
        data.draw(
            st.sampled_from([n for n in checkpoint.tensors if n[-1] == "w" and "router" not in n])
        )
    ]
    start = [data.draw(st.integers(0, n - 1)) for n in tensor.values.shape]
    stop = [
        data.draw(st.integers(a + 1, n)) for a, n in zip(start, tensor.values.shape, strict=True)
    ]
    index = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    shape = tuple(b - a for a, b in zip(start, stop, strict=True))
    lazy = grokpack.open(str(origin)).dequantized()[tensor.name]
    made = Dequantize(tensor).make(Box(tuple(start), shape), ArrayReader(checkpoint))
    assert (value(lazy[index]).view(np.uint16) == made).all()


def test_tiles_are_computed_only_where_they_are_read(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = grokpack.open(str(origin)).dequantized("bf16")[DOWN]
    read: list[Box] = []
    original = ArrayReader.read

    def counted(self: ArrayReader, array: str, box: Box) -> np.ndarray:
        if array == DOWN:
            read.append(box)
        return original(self, array, box)

    monkeypatch.setattr(ArrayReader, "read", counted)
    assert read == []
    value(lazy[1, 40:50])
    chunk = lazy.chunk_layout.read_chunk.shape or ()
    assert chunk[0] == 1
    assert sum(box.elements for box in read) <= 3 * math.prod(n or 0 for n in chunk)


@pytest.mark.parametrize(
    "dtype",
    ["bf16", "bfloat16", ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16), ts.bfloat16],
    ids=["label", "name", "class", "numpy", "TensorStore"],
)
def test_a_dtype_can_be_named_in_many_ways(origin: Path, dtype: object) -> None:
    lazy = grokpack.open(str(origin)).dequantized(dtype)
    assert lazy[DOWN].dtype == ts.bfloat16


@pytest.mark.parametrize("dtype", ["int8", "f64", 3, None, np.uint8])
def test_another_dtype_is_refused(origin: Path, dtype: object) -> None:
    with pytest.raises(GrokpackError) as caught:
        grokpack.open(str(origin)).dequantized(dtype)
    assert caught.value.code == "GP346"


def test_a_value_too_large_for_float16_is_an_error_not_an_infinity(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m", WIDE)
    (path,) = (source / "ckpt-0").glob("tensor00001_000")
    raw = bytearray(path.read_bytes())
    raw[-9:-5] = np.float32(1e9).tobytes()  # the last value of the final norm
    path.write_bytes(raw)
    norm = grokpack.open(str(source)).dequantized("f16")["language_model/rms_norm/scale"]
    with pytest.raises((GrokpackError, ValueError), match=r"GP405|too large"):
        value(norm)


def test_it_is_a_mapping_that_knows_the_model(origin: Path, tmp_path: Path) -> None:
    for path in (origin, made(origin, tmp_path, "view")):
        opened = grokpack.open(str(path))
        assert opened.geometry == WIDE
        assert opened.tensors[DOWN].scales is not None
        assert DOWN in opened
        assert scales_name(DOWN) in opened
        assert "nonsense" not in opened
        short = DOWN.removeprefix("transformer/")
        assert short in opened
        assert opened[short] is not None
        assert short in opened.dequantized()
        assert 3 not in opened  # type: ignore[comparison-overlap]
        with pytest.raises(KeyError, match="3 is none"):
            opened[3]  # type: ignore[index]  # as a list would take it
        assert opened.get("nonsense") is None
        assert opened[DOWN] is opened[DOWN]
        with pytest.raises(KeyError):
            opened["transformer/decoder_layer_0/moe"]
        with pytest.raises(KeyError):
            opened.dequantized()[scales_name(DOWN)]
        assert len(opened.dequantized()) == len(opened.tensors)


def test_a_path_object_and_names_with_spaces_do(origin: Path, tmp_path: Path) -> None:
    shutil.copytree(origin, tmp_path / "a 50% größe")
    opened = grokpack.open(tmp_path / "a 50% größe")
    assert value(opened[DOWN]).tobytes() == unpickled(origin)[DOWN].tobytes()


def test_a_file_that_shrinks_after_opening_is_an_error_not_zeros(
    origin: Path, tmp_path: Path
) -> None:
    shutil.copytree(origin, tmp_path / "m")
    opened = grokpack.open(str(tmp_path / "m"))
    files = {file.segments[1].array: file for file in opened.checkpoint.layout.files()}  # type: ignore[union-attr]
    path = tmp_path / "m" / "ckpt-0" / files[DOWN].path
    array = opened[DOWN]
    path.write_bytes(path.read_bytes()[:5000])
    for broken in (array, opened.dequantized()[DOWN]):
        with pytest.raises((GrokpackError, ValueError)):
            value(broken)
    path.unlink()
    for broken in (array, opened.dequantized()[DOWN]):
        with pytest.raises((GrokpackError, ValueError)):
            value(broken)


def test_what_does_not_lie_in_local_files_is_read_all_the_same(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.storage.is_url", lambda _: True)
    opened = grokpack.open(str(origin))
    for name, values in unpickled(origin).items():
        assert value(opened[name]).tobytes() == values.tobytes(), name


def test_a_chunk_that_the_index_lacks_is_an_error_not_a_fill_value(tmp_path: Path) -> None:
    spec = ArraySpec((4,), DType.I8)
    metadata = zarr_metadata_rendering.inline_array(spec, (4,))
    database = ocdbt.database([ocdbt.Inline(b"a/zarr.json", metadata)], MemoryIndex.nodes_path)
    array = MemoryIndex(str(tmp_path)).open_array(database, "a")
    with pytest.raises(ValueError, match="missing"):
        value(array)


def test_several_threads_of_tensorstore_read_at_once(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m", WIDE)
    reshard(source, tmp_path / "t", 4)
    opened = grokpack.open(str(tmp_path / "t"))
    lazy, wanted = opened.dequantized("f32"), exact_weights(source)
    futures = {name: lazy[name].read() for name in lazy for _ in range(3)}
    for name, future in futures.items():
        assert (future.result() == wanted[name]).all()


def test_a_star_import_leaves_pythons_own_open_alone() -> None:
    names: dict[str, Any] = {}
    exec("from grokpack import *", names)  # noqa: S102  # what users write
    assert "open" not in names
    assert names["open_checkpoint"] is open_checkpoint
    assert "open" in dir(grokpack)


def test_what_was_opened_is_taken_as_its_path_is() -> None:
    checkpoint = open_checkpoint(str(GOLDEN))
    assert list(grokpack.open(checkpoint)) == list(grokpack.open(str(GOLDEN)))


def test_a_name_that_is_near_is_told_once() -> None:
    with pytest.raises(KeyError, match="near: router'"):
        grokpack.open(str(GOLDEN))["rooter"]
