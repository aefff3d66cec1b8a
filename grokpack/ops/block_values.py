"""Views of weights in blocks of 4 bits: exact float32 products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.formats.gguf import BLOCKS, GGMLType
from grokpack.kernels import ggml
from grokpack.layout import Box

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.ops.array_source import ArraySource

_PRODUCTS: dict[str, Callable[[np.ndarray, np.ndarray], None]] = {
    "q4_0": ggml.products_q4_0,
    "q4_1": ggml.products_q4_1,
    "q4_k": ggml.products_q4_k,
}


@dataclass(frozen=True, slots=True)
class BlockValues:
    """Products of blocks `u8[..., out, in / block * bytes]`.

    Attributes:
        array: The blocks.
        kind: Their type.
        turned: Whether the tensor is `[..., in, out]`; else it lies as the blocks do.
    """

    array: str
    kind: str
    turned: bool = True

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the blocks that the box meets, and multiply."""
        *lead, rows, columns = range(len(box.start))
        if self.turned:
            rows, columns = columns, rows
        weights, nbytes = BLOCKS[GGMLType[self.kind.upper()]]
        first, last = box.start[columns], box.stop[columns]
        low, high = first // weights, -(-last // weights)
        start = (*(box.start[a] for a in lead), box.start[rows], low * nbytes)
        shape = (*(box.shape[a] for a in lead), box.shape[rows], (high - low) * nbytes)
        octets = np.ascontiguousarray(reader.read_ahead(self.array, Box(start, shape)))
        flat = octets.reshape(-1, shape[-1])
        values = np.empty((len(flat), (high - low) * weights), np.float32)
        _PRODUCTS[self.kind](flat, values)
        skip = first - low * weights
        kept = values[:, skip : skip + last - first]
        made = kept.reshape(*shape[:-1], last - first).view(np.uint32)
        return made.swapaxes(-1, -2) if self.turned else made

    def describe(self) -> list[object]:
        """`["block values", array, type, turned]`."""
        return ["block values", self.array, self.kind, self.turned]
