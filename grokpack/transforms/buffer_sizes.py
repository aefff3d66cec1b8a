"""Sizes of the buffers that a transform fills, and the implementation of its kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokpack.kernels.dispatch import Implementation


@dataclass(frozen=True, slots=True)
class BufferSizes:
    """Bytes per step and per column band, and the kernel implementation.

    Attributes:
        step_bytes: Bytes that a thread makes and writes at a time.
        band_bytes: Bytes of a column band, which is read once for many steps.
        implementation: The implementation of each kernel, numpy or compiled.
    """

    step_bytes: int
    band_bytes: int
    implementation: Implementation = "numpy"
