"""Locations of values that should not be there: the first few of each kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.core.tensors import Shape

FEW = 3  # more of a kind say nothing new

VALUE_KINDS = ("nan", "posinf", "neginf")
SCALE_KINDS = ("nan", "posinf", "neginf", "zero", "negative")
_TESTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "nan": np.isnan,
    "posinf": np.isposinf,
    "neginf": np.isneginf,
    "zero": lambda values: values == 0,
    "negative": lambda values: (values < 0) & ~np.isinf(values),
}


@dataclass(slots=True)
class ValueLocations:
    """Indices of the first few values of each kind, in the order of the array."""

    found: dict[str, list[Shape]] = field(default_factory=dict)

    def search(self, values: np.ndarray, start: Shape, counted: Mapping[str, int]) -> None:
        """Search a part of an array, unless enough locations are known.

        Args:
            values: `f32[...]`.
            start: Index of its first value in the whole array.
            counted: Number of each kind up to and including this part.
        """
        for kind, count in counted.items():
            known = self.found.get(kind, [])
            if len(known) >= min(count, FEW):
                continue
            here = np.argwhere(_TESTS[kind](values))[: FEW - len(known)]
            self.found[kind] = known + [tuple(row) for row in (here + start).tolist()]

    def merge(self, later: ValueLocations) -> None:
        """Add the locations of a part that comes after this one."""
        for kind, locations in later.found.items():
            self.found[kind] = (self.found.get(kind, []) + locations)[:FEW]


def describe_index(index: Shape, *, scales: bool) -> str:
    """Describe an index: `expert 3, group 2, column 517`, or `row 7, column 12`."""
    last = ("group", "column") if scales else ("row", "column")
    if len(index) == 1:
        return f"element {index[0]:,}"
    words = (*("expert",) * (len(index) - 2), *last)
    return ", ".join(f"{word} {at:,}" for word, at in zip(words, index, strict=True))
