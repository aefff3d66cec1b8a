"""Ops that quantise weights anew and leave them lying as xAI stores them, `int8[..., in, out]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.ops.fitting import Fitter
from grokpack.ops.measured import Measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.budget import Pace
    from grokpack.layout import Box
    from grokpack.ops.fitting import Fit
    from grokpack.ops.source_weight import SourceWeight
    from grokpack.reading import ArrayReader
    from grokpack.recipe import Recipe


@dataclass(frozen=True, slots=True)
class CodesInPlace:
    """Codes, `i8[..., in, out]`, whatever their bits; less their zero points.

    Attributes:
        weight: The source's weight.
        recipe: How it is quantised, in groups of inputs.
    """

    weight: SourceWeight
    recipe: Recipe

    def stream(self, box: Box, reader: ArrayReader, pace: Pace) -> Iterator[Measured]:
        """Rows of the box, in order; the groups of its first and last row are fitted whole.

        Raises:
            GrokpackError: GP407 where a value is not finite, GP405 where a scale does not fit.
        """
        fitter = fitter_of(self.weight, self.recipe, box)
        group = fitter.per_group
        low, high = box.start[-2] // group, -(-box.stop[-2] // group)
        for first, fit in fitter.rows(low, high, reader, pace):
            skip = max(0, box.start[-2] - first * group)
            codes = _codes(fit, group)[skip : box.stop[-2] - first * group]
            yield Measured(
                codes,
                self.weight.name,
                fit.sums,
                fit.counts,
                group,
                by_group=True,
                rows_each=group,
                first_row=-skip,
            )

    def describe(self) -> list[object]:
        """`["codes in place", tensor, recipe]`."""
        return ["codes in place", self.weight.name, self.recipe.describe()]


@dataclass(frozen=True, slots=True)
class StepsInPlace:
    """Scales, `[..., group, out]`.

    Attributes:
        weight: The source's weight.
        recipe: How it is quantised, in groups of inputs.
    """

    weight: SourceWeight
    recipe: Recipe

    def stream(self, box: Box, reader: ArrayReader, pace: Pace) -> Iterator[np.ndarray]:
        """Rows of the box, in order."""
        fitter = fitter_of(self.weight, self.recipe, box)
        yield from fitter.found_rows(box.start[-2], box.stop[-2], reader, pace)

    def describe(self) -> list[object]:
        """`["steps in place", tensor, recipe]`."""
        return ["steps in place", self.weight.name, self.recipe.describe()]


def fitter_of(weight: SourceWeight, recipe: Recipe, box: Box) -> Fitter:
    """What quantises the matrix that a box lies in."""
    lead = box.start[:-2]
    return Fitter(weight, lead[0] if lead else None, recipe)


def _codes(fit: Fit, group: int) -> np.ndarray:
    """Codes less their zero points, as bits of int8 `u8[in, out]`."""
    words = fit.words
    if words.dtype == np.uint32:
        shifts = np.arange(8, dtype=np.uint32) * np.uint32(4)
        lanes = (words[:, None, :] >> shifts[:, None]) & np.uint32(15)
        words = lanes.astype(np.uint8).reshape(-1, words.shape[1])
    codes: np.ndarray = words - np.repeat(fit.zeros, group, axis=0)
    return codes
