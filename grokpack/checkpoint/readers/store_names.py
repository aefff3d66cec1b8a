"""Names of arrays in chunked stores: those of a family's tensors, or of its merged folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.checkpoint.readers.matrix_assembly import stored_names
from grokpack.core.tensors import scales_name
from grokpack.models import tensor_names
from grokpack.models.tensor_names import ParsedName

if TYPE_CHECKING:
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Family

_VALUES = ("", "/weight", "/0")
_SCALES = ("_scales", "/scales", "/1")
"""Endings after a tensor's name: in grokpack's zarr, and in pytrees as Orbax names their leaves."""


@dataclass(frozen=True, slots=True)
class StoreName:
    """The meaning of a name in a store.

    Attributes:
        owner: The weight or plain array, without an ending.
        of_scales: True for its scales.
        named: The tensor of the model that it is, or is a part of.
    """

    owner: str
    of_scales: bool
    named: ParsedName

    @property
    def array(self) -> str:
        """Name of the array, whatever ending it has in the store."""
        return scales_name(self.owner) if self.of_scales else self.owner


def parse(family: Family, path: str) -> StoreName | None:
    """Find the array that a path in a store means; None if it is none of the model's."""
    place = family.located(path)
    if place is None:
        return None
    for of_scales, endings in ((False, _VALUES), (True, _SCALES)):
        for ending in endings:
            owner = place.removesuffix(ending)
            named = _named(family, owner) if place.endswith(ending) else None
            if named is not None:
                return StoreName(owner, of_scales, named)
    return None


def stored_in(family: Family, entry: ModelTensor, experts: int) -> list[str]:
    """Return the names under which stores have a tensor: one, or one for each expert."""
    if family.merged is None:
        return [entry.name]
    return stored_names(entry, family.merged, experts)


def first(family: Family, entry: ModelTensor) -> str:
    """Return the name under which stores have a tensor, or the first expert of it."""
    return stored_in(family, entry, 1)[0]


def _named(family: Family, name: str) -> ParsedName | None:
    if family.merged is not None:
        return tensor_names.parse(family.merged, name)
    try:
        rule, layer = family.rule_of(name), family.layer_of(name)
    except LookupError:
        return None
    exact = family.name_of(rule, layer) == name  # a layer's number may have zeros in front
    return ParsedName(rule.part, layer, None) if exact else None
