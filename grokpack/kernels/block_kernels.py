"""The kernels of each type of GGUF's blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.kernels import ggml

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class BlockKernels:
    """Kernels of one type of blocks: functions of `kernels.ggml`; see there for their arguments.

    Attributes:
        quantize: Leaves ggml's own bytes.
        dequantize: Leaves the products of codes and scales.
        search: As `quantize`, with less error; None where the format leaves no choice of scale.
    """

    quantize: Callable[..., None]
    dequantize: Callable[..., None]
    search: Callable[..., None] | None = None


KERNELS = {
    "q8_0": BlockKernels(ggml.quantize_q8_0, ggml.products_q8_0),
    "q4_0": BlockKernels(ggml.quantize_q4_0, ggml.products_q4_0, ggml.search_q4_0),
    "q4_1": BlockKernels(ggml.quantize_q4_1, ggml.products_q4_1, ggml.search_q4_1),
    "q4_k": BlockKernels(ggml.quantize_q4_k, ggml.products_q4_k),
}
"""Kernels by the type's name, in lower case."""
