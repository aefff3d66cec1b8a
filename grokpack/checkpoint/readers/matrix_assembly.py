"""Assembly of a model's tensors from stored matrices `[out, in]`, one for each expert.

Hugging Face folders hold such matrices, and chunked stores of families that are released so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.finding import Finding
from grokpack.core.tensors import ArraySpec, DType
from grokpack.transforms.copies import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from grokpack.models.architecture import ModelTensor
    from grokpack.models.tensor_names import Convention, ParsedName
    from grokpack.transforms.protocols import LazyArray

FLOATS = (DType.BF16, DType.F16, DType.F32)
MOST = 1024
"""Most layers, and experts, that a model may have; the releases have 64 and 8."""


@dataclass(frozen=True, slots=True)
class StoredMatrices:
    """Arrays of a store, by their names in it.

    Attributes:
        specs: Shapes and dtypes.
        turned: Makes a lazy array `[in, out]` of a matrix.
        plain: Makes a lazy array of one that is no matrix.
    """

    specs: Mapping[str, ArraySpec]
    turned: Callable[[str], LazyArray]
    plain: Callable[[str], LazyArray]

    def assemble(
        self, entry: ModelTensor, stored: Sequence[str], dtypes: Collection[DType] = FLOATS
    ) -> tuple[ArraySpec, LazyArray] | Finding:
        """Assemble a tensor, or its scales; what is wrong with its arrays is a finding.

        Args:
            entry: The tensor.
            stored: The names of its arrays, one for each expert of a stack. All are there.
            dtypes: Those that it may have.
        """
        spec = self.specs[stored[0]]
        if any(self.specs[name] != spec for name in stored):
            what = "experts differ in shape or dtype"
            return Finding("GP106", what, None, stored[0], None, spec.dtype.label)
        if spec.dtype not in dtypes:
            return Finding("GP106", "dtype is no float", None, stored[0], None, spec.dtype.label)
        axes = 2 if entry.rule.matrix or entry.rule.by_token else 1
        if len(spec.shape) != axes:
            what = "array has another number of axes than its place asks for"
            return Finding("GP105", what, None, stored[0], str(axes), str(spec.shape))
        if not entry.rule.matrix:
            return spec, self.plain(stored[0])
        turned = spec.shape[::-1]
        if entry.rule.stacked:
            experts = ArraySpec((len(stored), *turned), spec.dtype)
            return experts, Stack(tuple(map(self.turned, stored)))
        return ArraySpec(turned, spec.dtype), self.turned(stored[0])


def stored_names(entry: ModelTensor, convention: Convention, experts: int) -> list[str]:
    """Return the names of a tensor's arrays: one, or one for each expert."""
    if not entry.rule.stacked:
        return [convention.of(entry)]
    return [convention.of(entry, expert) for expert in range(max(experts, 1))]


def first_name(convention: Convention, entry: ModelTensor) -> str:
    """Return a tensor's name; for experts, that of the first."""
    return stored_names(entry, convention, 1)[0]


def extent(
    held: Iterable[ParsedName],
    layers: int | None,
    router: ArraySpec | None,
    stated: int | None = None,
) -> tuple[int, int]:
    """Return the number of layers and experts, bounded against hostile names and configs.

    Args:
        held: Meanings of the names that are there.
        layers: Number of layers by a config; None without.
        router: The first layer's router, `[expert, in]`; None if it is missing.
        stated: Number of experts by a config; None without.
    """
    found = list(held)
    routed = router.shape[0] if router is not None and len(router.shape) > 1 else 0
    named = 1 + max((n.expert or 0 for n in found), default=0)
    experts = min(named if named == stated else max(named, routed), MOST)
    claimed = 1 + max((-1 if n.layer is None else n.layer for n in found), default=-1)
    return min(layers or claimed, MOST), experts
