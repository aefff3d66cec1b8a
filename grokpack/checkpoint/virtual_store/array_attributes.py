"""Attributes of arrays in a chunked store: role, scale groups, tensor-parallel axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.core.tensors import scales_name
from grokpack.models import partition

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import ModelTensor


def of_arrays(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Return the attributes of the arrays in the files, by name; only of arrays that are used.

    `name` is the family's own. Arrays in the model's own form (`[in, out]`, experts stacked) also
    have the axis that tensor-parallel ranks cut, counted from 0, or null if replicated, and their
    scale groups.
    """
    by_name = checkpoint.model.by_name()
    found: dict[str, dict[str, Any]] = {}
    for tensor in checkpoint.tensors.values():
        entry = by_name[tensor.name]
        for array in tensor.arrays():
            said = _said(entry, tensor, array)
            for stored in checkpoint.stored(array):
                found[stored] = said | (_own_form(entry, tensor, array) if stored == array else {})
    return found


def _said(entry: ModelTensor, tensor: TensorSpec, array: str) -> dict[str, Any]:
    if array == tensor.name:
        return {"name": array, "role": entry.rule.role, "title": entry.rule.title}
    return {"name": array, "role": "scales", "scales_of": tensor.name}


def _own_form(entry: ModelTensor, tensor: TensorSpec, array: str) -> dict[str, Any]:
    axis = partition.cut_axis(entry.rule, "engines")
    said: dict[str, Any] = {"tensor_parallel_axis": axis}
    if axis is not None:
        said["tensor_parallel_axis"] = axis % len(tensor.arrays()[array].shape)
    if tensor.scales is not None:
        groups = tensor.scales.shape[-2]
        said |= {"scale_groups": groups, "rows_per_group": tensor.values.shape[-2] // groups}
        if array == tensor.name:
            said["scales"] = scales_name(tensor.name)
        elif groups == 1 and entry.rule.cut == "rows":
            said["tensor_parallel_axis"] = None  # the only row of scales serves every rank
    return said
