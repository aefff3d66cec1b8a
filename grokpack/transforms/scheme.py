"""How one weight is to be quantized: bits, group, method, and the dtype of its scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grokpack.core.tensors import DType

Method = Literal["rtn", "mse", "lsq"]
METHODS: dict[str, int] = {"rtn": 0, "mse": 1, "lsq": 2}
"""Numbers by which the kernels know the methods."""
PRECISIONS = {DType.F32: 0, DType.BF16: 1, DType.F16: 2}
"""Numbers by which the kernels know the dtype that a scale is rounded to."""
WORD_BITS = 32


@dataclass(frozen=True, slots=True)
class QuantizationScheme:
    """How a weight becomes integers with a scale for each group.

    Attributes:
        bits: 4 or 8.
        group: Inputs that share a scale; None for all of an output's (per channel).
        method: How a group's scale is found.
        symmetric: Whether zero is always the middle code; otherwise each group has a zero point.
        scales: Dtype of the scales.
    """

    bits: int
    group: int | None
    method: Method
    symmetric: bool = True
    scales: DType = DType.BF16

    def inputs_per_group(self, inputs: int) -> int:
        """Inputs that share a scale, in a weight of so many inputs."""
        return inputs if self.group is None else self.group

    @property
    def per_word(self) -> int:
        """Codes in 32 bits."""
        return WORD_BITS // self.bits

    def describe(self) -> list[object]:
        """The recipe as JSON, for the plan's digest."""
        return [self.bits, self.group, self.method, self.symmetric, self.scales.value]
