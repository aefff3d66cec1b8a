"""Safetensors shards in which some weights are several arrays each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.core.layout import Layout, whole_box
from grokpack.formats import safetensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grokpack.core.tensors import ArraySpec
    from grokpack.transforms.protocols import Op

    WeightArrays = Mapping[str, tuple[ArraySpec, Op]]
    """All arrays of one weight, by name."""


@dataclass(slots=True)
class QuantizedArrays:
    """Arrays of an output with their ops, added weight by weight."""

    specs: dict[str, ArraySpec] = field(default_factory=dict)
    ops: dict[str, Op] = field(default_factory=dict)
    units: list[list[str]] = field(default_factory=list)

    def add(self, unit: WeightArrays) -> None:
        """Add the arrays of a weight."""
        for name, (spec, op) in unit.items():
            self.specs[name], self.ops[name] = spec, op
        self.units.append(list(unit))

    def layout(self, shard_bytes: int) -> Layout:
        """Lay out shards of whole weights, of at most `shard_bytes` if the weights allow it."""
        sizes = {str(i): self._bytes(unit) for i, unit in enumerate(self.units)}
        files = []
        for path, shard in safetensors.named(safetensors.shards(sizes, shard_bytes)):
            names = [name for key in shard for name in self.units[int(key)]]
            boxes = {name: whole_box(self.specs[name].shape) for name in self._ordered(names)}
            files.append(safetensors.lay_out(path, boxes, self.specs))
        return Layout(self.specs, tuple((file,) for file in files))

    def _bytes(self, unit: Iterable[str]) -> int:
        return sum(self.specs[name].nbytes for name in unit)

    def _ordered(self, names: list[str]) -> list[str]:
        """Order arrays so that scales follow their codes and are computed once for both.

        Wider elements come first only where arrays would otherwise be unaligned.
        """
        offset = 0
        for name in names:
            if offset % self.specs[name].dtype.itemsize:
                return safetensors.aligned(names, self.specs)
            offset += self.specs[name].nbytes
        return names
