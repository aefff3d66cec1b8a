"""Precision of arithmetic: float32, or rounded to bfloat16 wherever xAI's code rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from grokpack.kernels.float_casts import narrow_bf16, widen_bf16

if TYPE_CHECKING:
    from collections.abc import Iterator

Name = Literal["f32", "bf16"]
_ROWS = 64  # rounded at a time, so that they stay in the cache


@dataclass(frozen=True, slots=True)
class Precision:
    """Precision of a run.

    Attributes:
        name: `f32` for float32 throughout, or `bf16` for the reference's precision, which is
            `fprop_dtype = bfloat16` in xAI's run.py. Sums are computed in float32 and rounded
            once, as matrix units do. xAI's own results vary with the order of such sums.
    """

    name: Name = "f32"

    @property
    def rounds(self) -> bool:
        """True if anything is rounded."""
        return self.name == "bf16"

    def settle(self, values: np.ndarray) -> np.ndarray:
        """Round `f32[...]` in place to the dtype of activations, and return it."""
        if self.rounds:
            for part in _parts(values):
                part[...] = widen_bf16(narrow_bf16(part))
        return values

    def constant(self, value: float) -> np.float32:
        """Round a constant as the reference does: jax casts it to the other factor's dtype."""
        return np.float32(self.settle(np.array([value], np.float32))[0])


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    if values.ndim < 2:  # noqa: PLR2004  # no rows
        yield values
        return
    for first in range(0, len(values), _ROWS):
        yield values[first : first + _ROWS]
