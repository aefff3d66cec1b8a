"""Quantization scheme of a weight: bits, group, method, and dtype of its scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grokpack.core.tensors import DType

Method = Literal["rtn", "mse", "lsq"]
METHODS: dict[str, int] = {"rtn": 0, "mse": 1, "lsq": 2}
"""Numbers of the methods in the kernels."""
PRECISIONS = {DType.F32: 0, DType.BF16: 1, DType.F16: 2}
"""Numbers, in the kernels, of the dtypes to which scales are rounded."""
WORD_BITS = 32
Numbers = Literal["int", "mxfp4", "nvfp4", "fp8"]
_SEARCH = "search 2"
"""Part of the digest of plans that search for scales of integers: a run that an older search began
cannot be continued by another."""


@dataclass(frozen=True, slots=True)
class QuantizationScheme:
    """Choices by which a weight becomes codes with a scale for each group.

    Attributes:
        bits: 4 or 8.
        group: Inputs that share a scale; None for all of an output's (per channel).
        method: How a group's scale is found.
        symmetric: True if zero is always the middle code; otherwise each group has a zero point.
        scales: Dtype of the scales.
        numbers: What codes stand for: integers, levels of a four-bit float, or values of E4M3.
        outputs: Outputs that share a scale.
    """

    bits: int
    group: int | None
    method: Method
    symmetric: bool = True
    scales: DType = DType.BF16
    numbers: Numbers = "int"
    outputs: int = 1

    def inputs_per_group(self, inputs: int) -> int:
        """Return the inputs that share a scale, in a weight of so many inputs."""
        return inputs if self.group is None else self.group

    @property
    def per_word(self) -> int:
        """Number of codes in 32 bits."""
        return WORD_BITS // self.bits

    def describe(self) -> list[object]:
        """Return the scheme as JSON, for the plan's digest."""
        searched = self.numbers == "int" and self.method != "rtn"
        other: list[object] = [_SEARCH] if searched else []
        other += [] if self.numbers == "int" else [self.numbers]
        other += [] if self.outputs == 1 else [self.outputs]
        return [self.bits, self.group, self.method, self.symmetric, self.scales.value, *other]
