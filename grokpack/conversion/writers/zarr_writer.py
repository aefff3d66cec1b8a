"""Writer of zarr 3 folders: an array for each tensor under xAI's name, sharded by rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.readers import zarr_reader
from grokpack.conversion.writers.chunked_store_writer import (
    ChunkedArrays,
    ChunkedStoreOptions,
    rank_cuts,
    refuse_options,
    stored_tensors,
)
from grokpack.conversion.writers.writer import Writer, suffix_unless_usual
from grokpack.core.tensors import ArraySpec, DType, scales_name
from grokpack.formats import zarr_metadata_rendering, zarr_shards
from grokpack.models import partition
from grokpack.transforms.int4_pairs import Nibbles, PackNibbles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import ModelTensor
    from grokpack.planning.target import Target
    from grokpack.transforms.protocols import LazyArray

SCALES = "_scales"  # after the name of a weight, because arrays have no children in zarr 3


def to_zarr(source: Checkpoint, options: ChunkedStoreOptions) -> Target:
    """Make the target.

    Raises:
        GrokpackError: GP346 for options that cannot be, GP307 without a fast checksum.
    """
    refuse_options(options)
    arrays = ChunkedArrays()
    for entry, tensor, ops in stored_tensors(source, options.dtype):
        for name, spec in tensor.arrays().items():
            scales = name != entry.name
            own = _about_scales(entry, tensor) if scales else _about(entry, tensor, source)
            made: tuple[ArraySpec, LazyArray] = spec, ops[name]
            if not scales and _packs(source, entry, tensor):
                *rows, columns = spec.shape
                made = ArraySpec((*rows, columns // 2), DType.U8), PackNibbles(name)
                own["packing"] = zarr_shards.NIBBLES
            arrays.add(
                name,
                entry.name + (SCALES if scales else ""),
                made,
                rank_cuts(entry, made[0], options.tp),
                options,
                attributes=own,
                axes=_axes(entry, scales=scales),
            )
    for group in _groups(arrays):
        arrays.add_file(f"{group}/{zarr_shards.METADATA}", zarr_metadata_rendering.group())
    finals = {zarr_shards.METADATA: zarr_metadata_rendering.group(_about_model(source))}
    return arrays.target(zarr_reader.NAME, source, finals, options)


def _packs(source: Checkpoint, entry: ModelTensor, tensor: TensorSpec) -> bool:
    """Tell whether a weight's codes are known to fit four bits, zero point included."""
    if source.bits.get(entry.name) != _FOUR or tensor.values.dtype is not DType.I8:
        return False
    packing, view = source.packings.get(entry.name), source.views.get(entry.name)
    middle = packing is not None and (packing.zeros is None or packing.symmetric)
    fits = isinstance(view, Nibbles) or middle
    return fits and tensor.values.shape[-1] % 2 == 0


_FOUR = 4  # bits


def _groups(arrays: ChunkedArrays) -> Iterable[str]:
    """List every group between the root and an array."""
    found = set()
    for name in arrays.specs:
        parts = name.split("/")[:-1]
        found |= {"/".join(parts[: n + 1]) for n in range(len(parts))}
    owners = {name for name in arrays.specs if scales_name(name) in arrays.specs}
    return sorted(found - owners)


def _about(entry: ModelTensor, tensor: TensorSpec, source: Checkpoint) -> dict[str, Any]:
    """Return the attributes of a weight or a plain array."""
    axis = partition.cut_axis(entry.rule, "engines")
    about: dict[str, Any] = {
        "name": entry.name,
        "role": entry.rule.role,
        "title": entry.rule.title,
        "tensor_parallel_axis": None if axis is None else axis % len(tensor.values.shape),
    }
    if tensor.scales is not None:
        groups = tensor.scales.shape[-2]
        about["scales"] = entry.name.rpartition("/")[2] + SCALES
        about["scale_groups"] = groups
        about["rows_per_group"] = tensor.values.shape[-2] // groups
    if entry.name in source.bits and tensor.scales is not None:
        about["bits"] = source.bits[entry.name]
    return about


def _about_scales(entry: ModelTensor, tensor: TensorSpec) -> dict[str, Any]:
    """Return the attributes of the scales of a weight."""
    assert tensor.scales is not None  # noqa: S101  # these are its attributes
    groups = tensor.scales.shape[-2]
    return {
        "name": scales_name(entry.name),
        "role": "scales",
        "scales_of": entry.name.rpartition("/")[2],
        "scale_groups": groups,
        "rows_per_group": tensor.values.shape[-2] // groups,
    }


def _axes(entry: ModelTensor, *, scales: bool) -> tuple[str, ...]:
    """Return the names of an array's axes."""
    dims = entry.rule.dims
    return (*dims[:-2], "scale_groups", dims[-1]) if scales else dims


def _about_model(source: Checkpoint) -> dict[str, Any]:
    """Return the attributes of the group: the geometry, and the quantization."""
    about: dict[str, Any] = {
        "schema": zarr_reader.SCHEMA,
        "geometry": source.geometry.document(),
    }
    if source.bits:
        about["bits"] = dict(source.bits)
    return {"grokpack": about}


WRITER = Writer(
    zarr_reader.NAME,
    "zarr 3 folder: TensorStore, zarr-python; sharded by rank, with checksums",
    ChunkedStoreOptions,
    to_zarr,
    lambda o: "-".join(
        [
            zarr_reader.NAME,
            *suffix_unless_usual(o.dtype, None),
            *suffix_unless_usual(o.compress, None),
        ]
    ),
)
