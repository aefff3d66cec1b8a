"""Bytes that a transform handles at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokpack.kernels.dispatch import Implementation


@dataclass(frozen=True, slots=True)
class StepSizes:
    """Bytes per step and per block, and the kernel implementation.

    Attributes:
        step_bytes: Bytes of a piece that is made and written.
        block_bytes: Bytes of a block that is read once for many pieces.
        implementation: The implementation of each kernel, numpy or compiled.
    """

    step_bytes: int
    block_bytes: int
    implementation: Implementation = "numpy"
