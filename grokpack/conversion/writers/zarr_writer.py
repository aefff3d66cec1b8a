"""Writer of zarr 3 folders: an array for each tensor under the family's name, sharded by rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.readers import zarr_reader
from grokpack.conversion.writers.chunked_store_writer import (
    ChunkedArrays,
    ChunkedStoreOptions,
    refuse_options,
)
from grokpack.conversion.writers.store_arrays import store_arrays
from grokpack.conversion.writers.writer_row import Writer, suffix_unless_usual
from grokpack.core.tensors import ArraySpec, DType, scales_name
from grokpack.formats import zarr_metadata_rendering, zarr_shards
from grokpack.transforms.int4_pairs import Nibbles, PackNibbles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.store_arrays import TargetArray
    from grokpack.core.tensors import TensorSpec
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
    for own in store_arrays(source, options.dtype):
        attributes = _about_scales(own) if own.of_scales else _about(own, source)
        made: tuple[ArraySpec, LazyArray] = own.spec, own.op
        if _packs(source, own):
            *rows, columns = own.spec.shape
            made = ArraySpec((*rows, columns // 2), DType.U8), PackNibbles(own.op)
            attributes["packing"] = zarr_shards.NIBBLES
        folder = own.owner + (SCALES if own.of_scales else "")
        cuts = own.rank_cuts(options.tp)
        arrays.add(own.name, folder, made, cuts, options, attributes=attributes, axes=own.axes)
    for group in _groups(arrays):
        arrays.add_file(f"{group}/{zarr_shards.METADATA}", zarr_metadata_rendering.group())
    finals = {zarr_shards.METADATA: zarr_metadata_rendering.group(_about_model(source))}
    return arrays.target(zarr_reader.NAME, source, finals, options)


def _packs(source: Checkpoint, own: TargetArray) -> bool:
    """Return whether a weight's codes are known to fit four bits, zero point included."""
    name = own.entry.name
    if own.of_scales or source.bits.get(name) != _FOUR:
        return False
    packing, view = source.packings.get(name), source.views.get(name)
    middle = packing is not None and (packing.zeros is None or packing.symmetric)
    fits = isinstance(view, Nibbles) or middle
    return own.spec.dtype is DType.I8 and fits and own.spec.shape[-1] % 2 == 0


_FOUR = 4  # bits


def _groups(arrays: ChunkedArrays) -> Iterable[str]:
    """List every group between the root and an array."""
    found = set()
    for name in arrays.specs:
        parts = name.split("/")[:-1]
        found |= {"/".join(parts[: n + 1]) for n in range(len(parts))}
    owners = {name for name in arrays.specs if scales_name(name) in arrays.specs}
    return sorted(found - owners)


def _about(own: TargetArray, source: Checkpoint) -> dict[str, Any]:
    """Return the attributes of a weight or a plain array."""
    about: dict[str, Any] = {
        "name": own.entry.name,
        "role": own.entry.rule.role,
        "title": own.entry.rule.title,
        "tensor_parallel_axis": own.rank_axis,
    }
    if own.expert is not None:
        about["expert"] = own.expert
    if own.tensor.scales is not None:
        about["scales"] = own.owner.rpartition("/")[2] + SCALES
        about |= _groups_of(own.tensor)
        if own.entry.name in source.bits:
            about["bits"] = source.bits[own.entry.name]
    return about


def _about_scales(own: TargetArray) -> dict[str, Any]:
    """Return the attributes of the scales of a weight."""
    about = {
        "name": scales_name(own.entry.name),
        "role": "scales",
        "scales_of": own.owner.rpartition("/")[2],
    }
    return about | _groups_of(own.tensor)


def _groups_of(tensor: TensorSpec) -> dict[str, int]:
    """Return the scale groups of a weight."""
    assert tensor.scales is not None  # noqa: S101  # the caller has looked
    groups = tensor.scales.shape[-2]
    return {"scale_groups": groups, "rows_per_group": tensor.values.shape[-2] // groups}


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
