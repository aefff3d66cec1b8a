"""Rows of quantized arrays with the errors of their groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class GroupErrors:
    """Errors of some groups.

    Attributes:
        sums: Sums of x^2, e^2 and x * e of each group, `f32[3, group, out]`.
        counts: Codes at an end, and values that became zero, of each group, `i32[2, group, out]`.
        weights: Weights in all of them.
    """

    sums: np.ndarray
    counts: np.ndarray
    weights: int


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """Rows of an output array, and the errors of the groups that they hold.

    A group belongs to the row in which it begins, so that each is counted once however the array is
    cut.

    Attributes:
        values: The rows.
        tensor: xAI's name of the weight from which they are made.
        sums: Sums of x^2, e^2 and x * e of each group, `f32[3, group, out]`.
        counts: Codes at an end, and values that became zero, of each group, `i32[2, group, out]`.
        per_group: Weights in a group; in each, `i64[group, out]`, where they are not equally many.
        by_group: True if rows run along the groups instead of the outputs.
        rows_each: Rows of each group, if they run along the groups.
        first_row: Row of `values` in which the first group begins; negative if that row was made
            before.
    """

    values: np.ndarray
    tensor: str
    sums: np.ndarray
    counts: np.ndarray
    per_group: int | np.ndarray
    by_group: bool = False
    rows_each: int = 1
    first_row: int = 0

    def cut(self, first: int, last: int) -> GroupErrors:
        """Return the errors of the groups that begin in rows `first` to `last`."""
        low, high = self._index(first), self._index(last)
        part = (slice(low, high),) if self.by_group else (slice(None), slice(low, high))
        sums, counts = (array[:, *part] for array in (self.sums, self.counts))
        if isinstance(self.per_group, int):
            return GroupErrors(sums, counts, self.per_group * sums[0].size)
        return GroupErrors(sums, counts, int(self.per_group[part].sum()))

    def _index(self, row: int) -> int:
        """Return the number of groups that begin before a row."""
        count: int = self.sums.shape[1 if self.by_group else 2]
        return min(max(-(-(row - self.first_row) // self.rows_each), 0), count)
