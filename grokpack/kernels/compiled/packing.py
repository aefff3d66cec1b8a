"""Codes packed into words, compiled: the twin of `grokpack.kernels.packing`."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import compiled


@compiled
def interleave(codes: np.ndarray, flip: int, out: np.ndarray) -> None:
    """Compiled twin of `packing.interleave`."""
    u32 = np.uint32
    mask = u32(flip) * u32(0x01010101)
    for row in range(len(out)):
        first, second, third, fourth = (
            codes[4 * row],
            codes[4 * row + 1],
            codes[4 * row + 2],
            codes[4 * row + 3],
        )
        line = out[row]
        for c in range(len(line)):
            low = u32(first[c]) | u32(u32(second[c]) << u32(8))
            high = u32(u32(third[c]) << u32(16)) | u32(u32(fourth[c]) << u32(24))
            line[c] = u32(low | high) ^ mask
