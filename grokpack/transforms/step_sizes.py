"""Bytes that a transform handles at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokpack.kernels.dispatch import Engine


@dataclass(frozen=True, slots=True)
class StepSizes:
    """How much a thread handles at a time.

    Attributes:
        step_bytes: Of a piece that is made and written.
        block_bytes: Of a block that is read once for many pieces.
        engine: Which twin of each kernel runs.
    """

    step_bytes: int
    block_bytes: int
    engine: Engine = "numpy"
