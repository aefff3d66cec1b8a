"""Scale groups of a source: their number, and tensors with another number of scale rows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.core.tensors import ArraySpec, DType, TensorSpec, scales_name
from grokpack.transforms import copies, dequantize

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.models.architecture import Geometry, ModelTensor
    from grokpack.models.family import ReleaseLayout
    from grokpack.transforms.protocols import LazyArray

Scales = Literal["auto", "expanded", "bf16-weights"]
"""`auto`: as few scale rows as the target can hold exactly; `expanded`: one scale row per weight
row; `bf16-weights`: row-parallel weights as bf16 with scales of one, rounded once."""

NO_CODES = (
    "the source has no int8 codes: weights are written as bf16 with scales of one, "
    "not as the release's int8"
)
"""Note on a plan that stores floating-point weights in xAI's layout."""


def with_groups(source: Checkpoint) -> Checkpoint:
    """Find the scale groups of a source; if scales are expanded, one tensor is read for it.

    Raises:
        GrokpackError: GP215 if a config declares groups that this tensor does not have.
    """
    if source.bits:
        return source
    first = next(e for e in source.model.tensors() if e.rule.part == "attention_output")
    tensor, told = source.tensors[first.name], source.geometry.scale_groups
    if tensor.scales is None or tensor.scales.shape[-2] == told:
        return source
    found = probe_groups(source, tensor)
    if told is None:
        return replace(source, model=source.model.sized(scale_groups=found))
    if found is None or told % found:
        what = f"scales of {tensor.name} do not fall into {told} groups, as config.json has it"
        raise GrokpackError("GP215", what, hint="correct `scale_groups` there, or remove it")
    return source


def collapsed_groups(geometry: Geometry, entry: ModelTensor, tensor: TensorSpec) -> int | None:
    """Return the number of groups that a tensor's scale rows collapse to, or None."""
    groups = geometry.scale_groups
    if entry.rule.cut != "rows" or tensor.scales is None or groups is None:
        return None
    rows = tensor.scales.shape[-2]
    return groups if rows > groups and rows % groups == 0 else None


def has_int8_codes(source: Checkpoint) -> bool:
    """Return whether the source has int8 codes with scales."""
    return any(tensor.values.dtype is DType.I8 for tensor in source.tensors.values())


def row_parallel_codes(source: Checkpoint) -> bool:
    """Return whether row-parallel weights are int8 codes; if not, their scales are all one."""
    return any(
        source.tensors[e.name].values.dtype is DType.I8
        for e in source.model.tensors()
        if e.rule.cut == "rows"
    )


def probe_groups(source: Checkpoint, tensor: TensorSpec) -> int | None:
    """Find the smallest number of groups of equal scale rows in a tensor; None if all rows differ.

    The scales of every other tensor are checked against it when they are collapsed.
    """
    if tensor.scales is None:
        return None
    rows, columns = tensor.scales.shape[-2:]
    reader, step = ArrayReader(source), max(1, (4 << 20) // (2 * columns))
    common, last = rows, None
    for first in range(0, rows, step):
        count = min(step, rows - first)
        values = reader.read(scales_name(tensor.name), Box((first, 0), (count, columns)))
        for offset in range(count):
            if last is not None and (values[offset] != last).any():
                common = math.gcd(common, first + offset)
            last = values[offset]
    return None if common == 1 else rows // common


def requantized_rows(entry: ModelTensor, scales: ArraySpec, tp: int) -> int:
    """Return the scale rows of a requantized weight, which it keeps if ranks can share them.

    Raises:
        GrokpackError: GP301 where they cannot.
    """
    rows = scales.shape[-2]
    if entry.rule.cut == "rows" and rows % tp and tp % rows:
        what = f"{tp} ranks do not share the {rows} scale groups of {entry.name}"
        raise GrokpackError("GP301", what, hint="choose a width that divides them")
    return rows


def in_release_form(
    tensor: TensorSpec, entry: ModelTensor, rows: int | None, released: ReleaseLayout
) -> tuple[TensorSpec, dict[str, LazyArray]]:
    """Return a tensor as the release stores it, with its ops.

    int8 codes are kept. Where the release has some, floating-point weights become bfloat16 with
    scales of one, which xAI's code loads as well, and other tensors float32. A family released in
    floating point keeps every tensor as it is.

    Args:
        tensor: The source's tensor.
        entry: The tensor in the model.
        rows: Scale rows of row-parallel weights; None for one per weight row.
        released: The form of the family's release.
    """
    if tensor.scales is None and released.weights is not DType.I8:
        return tensor, {tensor.name: copies.Copy(tensor.name)}
    if not entry.rule.quantized:
        return _as_f32(tensor)
    if tensor.scales is None:
        wanted = (rows or tensor.values.shape[-2]) if entry.rule.cut == "rows" else 1
        return _with_unit_scales(tensor, wanted)
    return with_scale_rows(tensor, entry, rows)


def _as_f32(tensor: TensorSpec) -> tuple[TensorSpec, dict[str, LazyArray]]:
    if tensor.values.dtype is DType.F32:
        return tensor, {tensor.name: copies.Copy(tensor.name)}
    spec = TensorSpec(tensor.name, ArraySpec(tensor.values.shape, DType.F32))
    return spec, {tensor.name: dequantize.Cast(tensor.name, tensor.values.dtype, DType.F32)}


def _with_unit_scales(tensor: TensorSpec, rows: int) -> tuple[TensorSpec, dict[str, LazyArray]]:
    shape = tensor.values.shape
    values = ArraySpec(shape, DType.BF16)
    scales = ArraySpec((*shape[:-2], rows, shape[-1]), DType.BF16)
    made: dict[str, LazyArray] = {
        tensor.name: dequantize.Cast(tensor.name, tensor.values.dtype, DType.BF16),
        scales_name(tensor.name): copies.Constant(copies.BF16_ONE, DType.BF16.itemsize),
    }
    return TensorSpec(tensor.name, values, scales), made


def with_scale_rows(
    tensor: TensorSpec, entry: ModelTensor, rows: int | None
) -> tuple[TensorSpec, dict[str, LazyArray]]:
    """Return a tensor with `rows` scale rows (None: one per weight row), with its ops."""
    made: dict[str, LazyArray] = {name: copies.Copy(name) for name in tensor.arrays()}
    if tensor.scales is None or entry.rule.cut != "rows":
        return tensor, made
    scales, wanted = tensor.scales, rows or tensor.values.shape[-2]
    if scales.shape[-2] == wanted:
        return tensor, made
    name = scales_name(tensor.name)
    made[name] = copies.Regroup(name, scales.shape[-2], wanted)
    shape = (*scales.shape[:-2], wanted, scales.shape[-1])
    return replace(tensor, scales=ArraySpec(shape, scales.dtype)), made
