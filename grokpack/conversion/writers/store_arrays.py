"""Arrays that a chunked store holds: the model's tensors, or each matrix of a merged folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.conversion.writers.scale_groups import with_scale_rows
from grokpack.core.tensors import ArraySpec, DType, TensorSpec, scales_name
from grokpack.models import partition
from grokpack.transforms.copies import Copy, TurnedMatrix
from grokpack.transforms.dequantize import Cast, Dequantize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.models.architecture import ModelTensor
    from grokpack.transforms.protocols import LazyArray

_TURNED = slice(None, -3, -1)  # the last two axes, the last first


@dataclass(frozen=True, slots=True)
class TargetArray:
    """Array of a store to write: a tensor or its scales, or one matrix of these.

    Attributes:
        owner: Name in the store of the weight or plain array.
        entry: The tensor of the model.
        tensor: The same with all experts, `[..., in, out]`, in the store's dtypes.
        of_scales: True for the scales of `owner`.
        whole: Makes the array with all experts.
        merged: True for a matrix `[out, in]`, as merged folders have them, or its scales.
        expert: The one expert of a stack that it holds; None for all, or without a stack.
    """

    owner: str
    entry: ModelTensor
    tensor: TensorSpec
    of_scales: bool
    whole: LazyArray
    merged: bool
    expert: int | None

    @property
    def name(self) -> str:
        """Name of the array: that of the weight, or of its scales."""
        return scales_name(self.owner) if self.of_scales else self.owner

    @property
    def spec(self) -> ArraySpec:
        """Shape and dtype."""
        own = self.tensor.scales if self.of_scales else self.tensor.values
        assert own is not None  # noqa: S101  # arrays of scales are made of tensors with scales
        return ArraySpec(own.shape[_TURNED], own.dtype) if self.merged else own

    @property
    def op(self) -> LazyArray:
        """Makes the array."""
        return TurnedMatrix(self.whole, self.expert) if self.merged else self.whole

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes."""
        dims = self.entry.rule.dims
        if self.of_scales:
            dims = (*dims[:-2], "scale_groups", dims[-1])
        return dims[_TURNED] if self.merged else dims

    @property
    def rank_axis(self) -> int | None:
        """Axis of the values that ranks cut, from 0; None if every rank holds all."""
        axis = partition.cut_axis(self.entry.rule, "engines")
        if axis is None:
            return None
        return (-3 - axis if self.merged else axis) % len(self.spec.shape)

    def rank_cuts(self, ranks: int) -> tuple[int, ...]:
        """Return the number of equal parts along each axis into which ranks cut the array."""
        cut = self.rank_axis
        return tuple(ranks if axis == cut else 1 for axis in range(len(self.spec.shape)))


def store_arrays(source: Checkpoint, dtype: str | None) -> Iterator[TargetArray]:
    """Yield every array of a store, in the order of the model's tensors.

    Args:
        source: What is converted.
        dtype: `bf16` for matrices and embedding in bfloat16; None to keep all dtypes.
    """
    merged = source.model.family.merged is not None
    for entry in source.model.tensors():
        tensor, ops = _stored(source, entry, dtype)
        turned = merged and entry.rule.matrix
        for owner, expert in _owners(source, entry):
            for name, op in ops.items():
                yield TargetArray(owner, entry, tensor, name != entry.name, op, turned, expert)


def _owners(source: Checkpoint, entry: ModelTensor) -> Iterator[tuple[str, int | None]]:
    """Yield the names under which a tensor is stored, with the only expert of each."""
    names = source.model.family.merged
    if names is None:
        yield entry.name, None
    elif entry.rule.stacked:
        for expert in range(source.geometry.experts):
            yield names.of(entry, expert), expert
    else:
        yield names.of(entry), None


def _stored(
    source: Checkpoint, entry: ModelTensor, dtype: str | None
) -> tuple[TensorSpec, Mapping[str, LazyArray]]:
    """Return a tensor in the store's dtypes, with the ops of its arrays."""
    tensor = source.tensors[entry.name]
    if dtype == "bf16":
        return _as_bf16(tensor, entry)
    rows = tensor.scales.shape[-2] if tensor.scales else None
    if entry.name not in source.bits:
        rows = source.geometry.scale_groups or rows
    return with_scale_rows(tensor, entry, rows)


def _as_bf16(tensor: TensorSpec, entry: ModelTensor) -> tuple[TensorSpec, Mapping[str, LazyArray]]:
    """Dequantize a weight, rounding once; leave router and norms unchanged."""
    kind = tensor.values.dtype
    kept = {name: Copy(name) for name in tensor.arrays()}
    if entry.rule.role in ("router", "norm") or kind is DType.BF16:
        return tensor, kept  # bfloat16 with scales of one, as xAI's code takes it, keeps these
    values = ArraySpec(tensor.values.shape, DType.BF16)
    op = Dequantize(tensor) if tensor.scales else Cast(tensor.name, kind, DType.BF16)
    return TensorSpec(tensor.name, values), {tensor.name: op}
