"""What arrays of sources and targets say of themselves: inputs, files, work and cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import get_protocol_members

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.transforms.protocols import LazyArray, StreamedArray, is_streamed
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert
from tests.support.quantized_checkpoints import WIDE, quantize

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint

CONVERTED: dict[str, dict[str, Any]] = {
    "ckpt-0": {"tp": 2},
    "gguf": {"type": "q8_0", "tokenizer": "none"},
    "hf": {},
    "orbax": {},
    "safetensors": {"tp": 2},
    "sglang": {},
    "zarr": {"dtype": "bf16"},
}
QUANTIZED: dict[str, dict[str, Any]] = {
    "ckpt-0": {"bits": 8},
    "compressed-tensors": {"symmetric": False},
    "gguf": {"type": "q4_k", "tokenizer": "none"},
    "gptq": {"bits": 8},
    "safetensors": {"symmetric": False},
    "w8a8-int8": {"bits": 8},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(str(synthesize(tmp_path_factory.mktemp("source"), WIDE)))


@pytest.mark.parametrize("to", CONVERTED)
def test_ops_of_a_conversion_name_every_array_of_the_source(source: Checkpoint, to: str) -> None:
    plan = plan_convert(source, to, ConvertOptions(**CONVERTED[to]))
    named = {name for op in plan.target.ops.values() for name in op.inputs}
    assert named == {name for tensor in source.tensors.values() for name in tensor.arrays()}


@pytest.mark.parametrize("to", QUANTIZED)
def test_ops_of_a_quantization_name_every_array_of_the_source(source: Checkpoint, to: str) -> None:
    plan = plan_quantize(source, QuantizeOptions(to=to, **QUANTIZED[to]))
    named = {name for op in plan.target.ops.values() for name in op.inputs}
    assert named == {name for tensor in source.tensors.values() for name in tensor.arrays()}


def test_the_method_that_marks_an_array_comes_with_all_of_its_protocol(source: Checkpoint) -> None:
    plans = [plan_convert(source, to, ConvertOptions(**CONVERTED[to])) for to in CONVERTED]
    plans += [plan_quantize(source, QuantizeOptions(to=to, **QUANTIZED[to])) for to in QUANTIZED]
    ops = [op for plan in plans for op in plan.target.ops.values()]
    assert {is_streamed(op) for op in ops} == {False, True}
    for op in ops:
        protocols = {kind for kind in (LazyArray, StreamedArray) if _has_all_of(op, kind)}
        assert protocols == {StreamedArray if is_streamed(op) else LazyArray}


def _has_all_of(op: object, protocol: type) -> bool:
    return all(hasattr(op, member) for member in get_protocol_members(protocol))


@pytest.mark.parametrize("to", ["hf", "gguf", "compressed-tensors", "zarr"])
def test_lazy_arrays_of_a_source_name_every_array_of_its_files(
    tmp_path: Path, source: Checkpoint, to: str
) -> None:
    out = tmp_path / "x.gguf" if to == "gguf" else tmp_path / "out"
    if to in CONVERTED:
        convert(Path(source.folder), out, to, **CONVERTED[to])
    else:
        quantize(Path(source.folder), out, to=to, **QUANTIZED[to])
    read = open_checkpoint(str(out))
    named = {name for view in read.views.values() for name in view.inputs}
    shapes = {name for name in read.layout.arrays if name.endswith("weight_shape")}
    assert named == read.layout.arrays.keys() - shapes
    assert {view.decodes for view in read.views.values()} == {to == "zarr"}


def test_an_element_of_a_chunked_array_is_located_in_its_file(
    tmp_path: Path, source: Checkpoint
) -> None:
    packed = quantize(Path(source.folder), tmp_path / "packed", to="safetensors")
    convert(packed, tmp_path / "zarr", "zarr")
    read = open_checkpoint(str(tmp_path / "zarr"))
    for name, view in read.views.items():
        shape = (
            (read.tensors.get(name) or read.tensors[name.removesuffix("/scales")])
            .arrays()[name]
            .shape
        )
        found = view.locate(tuple(n - 1 for n in shape))
        assert found is not None
        assert (Path(read.folder) / found).is_file(), name
    assert {view.describe()[0] for view in read.views.values()} == {"chunked", "nibbles"}


@pytest.mark.parametrize("to", QUANTIZED)
def test_targets_of_a_quantization_count_its_work_and_its_cache(
    source: Checkpoint, to: str
) -> None:
    target = plan_quantize(source, QuantizeOptions(to=to, **QUANTIZED[to])).target
    assert target.quantizes
    assert target.caches_scales == (to != "gguf")
