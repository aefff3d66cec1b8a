"""Layout of rank folders of safetensors, cut for tensor parallelism."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grokpack.core.layout import ArraySlice, Box, FileLayout, Layout, whole_box
from grokpack.core.tensors import ArraySpec, Packing, TensorSpec
from grokpack.formats import safetensors
from grokpack.models import partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.models.architecture import Geometry
    from grokpack.models.family import Family, Model


NAME = "safetensors"


INDEX = "grokpack.index.json"


COMMON = "common"


SCHEMA = "grokpack/index/1"


SHARD_BYTES = 5_000_000_000
"""Approximate size of a rank's files, which hold whole layers, as Hugging Face's shards do."""


def rank_folder(rank: int, ranks: int) -> str:
    """Return the folder of a rank's files."""
    return f"rank-{rank:03d}-of-{ranks:03d}"


StoredTensor = TensorSpec | Packing
"""A tensor as it is stored."""


def lay_out(model: Model, tensors: Iterable[StoredTensor], ranks: int) -> Layout:
    """Lay out the files of all ranks and the common ones.

    Args:
        model: The model; its head size must be known.
        tensors: Whole tensors as they are stored.
        ranks: Tensor-parallel width; it divides the bytes of packed inputs.
    """
    arrays: dict[str, ArraySpec] = {}
    cut: dict[str, tuple[Box, ...]] = {}
    common: dict[str, tuple[Box, ...]] = {}
    family, by_name = model.family, model.by_name()
    for tensor in sorted(tensors, key=lambda t: _reading_order(family, t.name)):
        stored = tensor.arrays()
        arrays |= stored
        shares = partition.shares(model.geometry, by_name[tensor.name], stored, ranks, "engines")
        for name, share in shares.items():
            if share is None:
                common[name] = (whole_box(arrays[name].shape),)
            else:
                cut[name] = share
    folders = [rank_folder(r, ranks) for r in range(ranks)]
    file_groups = [
        *_file_groups(family, folders, cut, arrays),
        *_file_groups(family, [COMMON], common, arrays),
    ]
    return Layout(arrays, tuple(file_groups))


def _reading_order(family: Family, name: str) -> tuple[int, str]:
    layer = family.layer_of(name)
    return (-1 if layer is None else layer, name)


def _file_groups(
    family: Family,
    folders: list[str],
    boxes: Mapping[str, tuple[Box, ...]],
    arrays: Mapping[str, ArraySpec],
) -> Iterator[tuple[FileLayout, ...]]:
    shards = _shards(family, {name: row[0] for name, row in boxes.items()}, arrays)
    for file, names in safetensors.named(shards):
        own = [{name: boxes[name][rank] for name in names} for rank in range(len(folders))]
        first = safetensors.lay_out(f"{folders[0]}/{file}", own[0], arrays)
        others = zip(folders[1:], own[1:], strict=True)
        yield (
            first,
            *(safetensors.lay_out_like(first, f"{folder}/{file}", held) for folder, held in others),
        )


def _shards(
    family: Family, boxes: Mapping[str, Box], arrays: Mapping[str, ArraySpec]
) -> Iterator[list[str]]:
    """Yield the array names of each file: whole layers, aligned dtypes first within a file."""
    shard: list[str] = []
    nbytes, layer = 0, None
    for name, box in boxes.items():
        if nbytes >= SHARD_BYTES and family.layer_of(name) != layer:
            yield safetensors.aligned(shard, arrays)
            shard, nbytes = [], 0
        shard.append(name)
        nbytes += box.elements * arrays[name].dtype.itemsize
        layer = family.layer_of(name)
    if shard:
        yield safetensors.aligned(shard, arrays)


def index(
    geometry: Geometry, layout: Layout, ranks: int, bits: Mapping[str, int] | None = None
) -> bytes:
    """Render the index: geometry, width, and each array's shape, dtype and slice per file.

    Args:
        geometry: The model.
        layout: The files.
        ranks: Tensor-parallel width.
        bits: Bit width of each re-quantized tensor, by name.
    """
    arrays: dict[str, Any] = {
        name: {"shape": spec.shape, "dtype": spec.dtype.value, "parts": []}
        for name, spec in layout.arrays.items()
    }
    for file in layout.files():
        for segment in file.segments:
            if isinstance(segment, ArraySlice):
                row = {"file": file.path, "start": segment.box.start, "shape": segment.box.shape}
                arrays[segment.array]["parts"].append(row)
    document = {
        "schema": SCHEMA,
        "ranks": ranks,
        "geometry": geometry.document(),
        "arrays": arrays,
        **({"bits": dict(bits)} if bits else {}),
    }
    return (json.dumps(document, sort_keys=True) + "\n").encode()
