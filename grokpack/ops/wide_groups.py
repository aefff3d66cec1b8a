"""int8 quantised anew in groups so large that none is held at once, lying as xAI stores it.

xAI's code takes one scale for each output and model shard: thousands of inputs share one. So the
scales of a matrix are fitted first, column by column, and the codes then made row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.layout import Box
from grokpack.ops.in_place import fitter_of
from grokpack.ops.measured import Measured
from grokpack.ops.weights import to_f32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.budget import Pace
    from grokpack.ops.fitting import Fitter
    from grokpack.ops.source_weight import SourceWeight
    from grokpack.reading import ArrayReader
    from grokpack.recipe import Recipe

_LOWEST, _HIGHEST = -128, 127
_MOST_ROWS = 64  # in a part of a group whose error is measured on its own
_WIDE_BYTES = 4


@dataclass(frozen=True, slots=True)
class WideCodes:
    """Codes, `i8[..., in, out]`.

    Attributes:
        weight: The source's weight.
        recipe: 8 bits, symmetric.
    """

    weight: SourceWeight
    recipe: Recipe

    def stream(self, box: Box, reader: ArrayReader, pace: Pace) -> Iterator[Measured]:
        """Rows of the box, in order.

        Raises:
            GrokpackError: GP407 where a value is not finite, GP405 where a scale does not fit.
        """
        fitter = fitter_of(self.weight, self.recipe, box)
        outputs, unit = fitter.shape[1], unit_rows(fitter.per_group)
        steps = wide_steps(fitter, Box((0, 0), (fitter.groups, outputs)), reader, pace)
        count = max(1, pace.step_bytes // (_WIDE_BYTES * unit * outputs)) * unit
        first, last = box.start[-2] // unit * unit, -(-box.stop[-2] // unit) * unit
        for begin in range(first, last, count):
            end = min(begin + count, last)
            own = steps[np.arange(begin, end) // fitter.per_group]
            codes, sums, counts = self._piece(box.start[:-2], (begin, end), own, reader)
            skip = max(0, box.start[-2] - begin)
            yield Measured(
                codes[skip : box.stop[-2] - begin],
                self.weight.name,
                sums.reshape(3, -1, unit, outputs).sum(2),
                counts.reshape(2, -1, unit, outputs).sum(2, dtype=np.int32),
                unit,
                by_group=True,
                rows_each=unit,
                first_row=-skip,
            )

    def _piece(
        self,
        lead: tuple[int, ...],
        rows: tuple[int, int],
        steps: np.ndarray,
        reader: ArrayReader,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes `u8[row, out]` of some rows, and what each contributes to sums and counts."""
        box = Box((rows[0], 0), (rows[1] - rows[0], steps.shape[1]))
        values = self.weight.exact(lead, box, reader)
        rounded = np.clip(np.rint(values / steps), _LOWEST, _HIGHEST)
        errors = values - rounded * steps
        sums = np.stack([values * values, errors * errors, values * errors])
        ends = (rounded == _LOWEST) | (rounded == _HIGHEST)
        counts = np.stack([ends, (values != 0) & (rounded == 0)])
        return rounded.astype(np.int8).view(np.uint8), sums, counts

    def describe(self) -> list[object]:
        """`["wide codes", tensor, recipe]`."""
        return ["wide codes", self.weight.name, self.recipe.describe()]


@dataclass(frozen=True, slots=True)
class WideSteps:
    """Scales, `[..., group, out]`.

    Attributes:
        weight: The source's weight.
        recipe: 8 bits, symmetric.
    """

    weight: SourceWeight
    recipe: Recipe

    def stream(self, box: Box, reader: ArrayReader, pace: Pace) -> Iterator[np.ndarray]:
        """Rows of the box, in order."""
        fitter = fitter_of(self.weight, self.recipe, box)
        part = Box(box.start[-2:], box.shape[-2:])
        yield fitter.bits_of(wide_steps(fitter, part, reader, pace))

    def describe(self) -> list[object]:
        """`["wide steps", tensor, recipe]`."""
        return ["wide steps", self.weight.name, self.recipe.describe()]


def wide_steps(fitter: Fitter, box: Box, reader: ArrayReader, pace: Pace) -> np.ndarray:
    """Scales `f32[group, out]` of a part of a matrix, fitted or remembered."""
    found = [bits for bits, _ in fitter.found(box.start[-1], box.stop[-1], reader, pace)]
    bits = np.ascontiguousarray(np.concatenate(found).T[box.start[-2] : box.stop[-2]])
    return to_f32(bits, fitter.recipe.scales)


def unit_rows(per_group: int) -> int:
    """Rows of a part of a group that is measured on its own: the most that divide it."""
    return next(rows for rows in range(_MOST_ROWS, 0, -1) if per_group % rows == 0)
