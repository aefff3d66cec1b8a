"""Tensors of a model, assembled from the arrays of a chunked store, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.checkpoint.readers import matrix_assembly, shape_checks, store_names
from grokpack.checkpoint.readers.matrix_assembly import FLOATS, MOST, StoredMatrices
from grokpack.core.finding import Finding
from grokpack.core.tensors import ArraySpec, DType, TensorSpec, scales_name
from grokpack.transforms.copies import TurnedMatrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Family, Model
    from grokpack.models.tensor_names import ParsedName
    from grokpack.transforms.protocols import LazyArray


@dataclass(frozen=True, slots=True)
class DecodedArray:
    """Array of a store.

    Attributes:
        spec: Shape and dtype of its values.
        view: Decodes them.
        document: File of its metadata; None if that lies in a database.
    """

    spec: ArraySpec
    view: LazyArray
    document: str | None


@dataclass(slots=True)
class StoreTensors:
    """Tensors of a store, and the lazy arrays that make them.

    Attributes:
        family: Their family.
        arrays: The store's arrays, by weight or plain array, and by scales.
        tensors: The tensors.
        views: Lazy arrays by the model's names.
        findings: What is missing, or cannot be put together.
    """

    family: Family
    arrays: Mapping[str, DecodedArray]
    tensors: dict[ModelTensor, TensorSpec] = field(default_factory=dict)
    views: dict[str, LazyArray] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def extent(self, held: Iterable[ParsedName], least: int) -> tuple[int, int]:
        """Return the number of layers, at least so many, and of experts that have arrays."""
        names = self.family.merged
        router = self.arrays.get(names.full("router", 0)) if names else None
        layers, experts = matrix_assembly.extent(held, None, router.spec if router else None)
        return max(layers, min(least, MOST)), experts

    def assemble(self, layers: int, experts: int) -> None:
        """Assemble every tensor; those that are not whole become findings."""
        for entry in self.family.tensors(layers):
            stored = store_names.stored_in(self.family, entry, experts)
            found = self._absent(stored) or self._assembled(entry, stored)
            if isinstance(found, Finding):
                self.findings.append(found)
            else:
                self.tensors[entry] = found

    def _absent(self, stored: list[str]) -> Finding | None:
        """Return the finding for the first of a tensor's arrays that is missing."""
        scaled = any(scales_name(name) in self.arrays for name in stored)
        for name in stored:
            array = self.arrays.get(name)
            if array is None:
                return Finding("GP101", "tensor is missing", None, name)
            coded = array.spec.dtype is DType.I8
            if (coded or scaled) and scales_name(name) not in self.arrays:
                what = f"scales of {'an int8' if coded else 'a'} weight are missing"
                return Finding("GP101", what, None, scales_name(name))
        return None

    def _assembled(self, entry: ModelTensor, stored: list[str]) -> TensorSpec | Finding:
        """Add the lazy arrays of a tensor all of whose arrays are there."""
        names = {entry.name: stored}
        if scales_name(stored[0]) in self.arrays:
            names[scales_name(entry.name)] = [scales_name(name) for name in stored]
        specs = {}
        for array, own in names.items():
            made = self._made(entry, own)
            if isinstance(made, Finding):
                return made
            specs[array], self.views[array] = made
        return TensorSpec(entry.name, specs[entry.name], specs.get(scales_name(entry.name)))

    def _made(self, entry: ModelTensor, stored: list[str]) -> tuple[ArraySpec, LazyArray] | Finding:
        """Return one of a tensor's arrays: as the store has it, or put together from matrices."""
        if self.family.merged is None:
            only = self.arrays[stored[0]]
            return only.spec, only.view
        matrices = StoredMatrices(
            {name: self.arrays[name].spec for name in stored},
            turned=lambda name: TurnedMatrix(self.arrays[name].view),
            plain=lambda name: self.arrays[name].view,
        )
        return matrices.assemble(entry, stored, _dtypes(entry))

    def misfits(self, model: Model) -> Iterator[Finding]:
        """Yield findings for tensors that do not fit their place in the model."""
        for entry, tensor in self.tensors.items():
            name = store_names.first(self.family, entry)
            file = self.arrays[name].document
            shape, wanted = tensor.values.shape, model.geometry.shape(entry.rule)
            if shape != wanted:
                yield shape_checks.other_shape(wanted, shape, name, file)
            elif tensor.values.dtype not in _dtypes(entry):
                yield shape_checks.other_dtype(None, tensor.values.dtype, name, file)
            elif tensor.scales is not None:
                yield from _misfit_scales(name, tensor, self.arrays[scales_name(name)].document)


def _dtypes(entry: ModelTensor) -> tuple[DType, ...]:
    """Return the dtypes that a tensor may have."""
    return (DType.I8, *FLOATS) if entry.rule.quantized else FLOATS


def _misfit_scales(name: str, tensor: TensorSpec, file: str | None) -> Iterator[Finding]:
    assert tensor.scales is not None  # noqa: S101  # the caller has looked
    (*lead, rows, out), scales = tensor.values.shape, tensor.scales.shape
    fits = len(scales) == len(lead) + 2 and (*scales[:-2], scales[-1]) == (*lead, out)
    if not fits or rows % scales[-2]:
        wanted = str((*lead, "groups", out))
        yield shape_checks.other_groups(wanted, scales, name, file)
    elif tensor.scales.dtype not in FLOATS:
        what = "scales are no floats"
        yield Finding("GP106", what, file, name, None, tensor.scales.dtype.label)
