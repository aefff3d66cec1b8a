"""Products of a line of codes with the scales of its groups."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner


@inner
def scaled(
    codes: np.ndarray, scales: np.ndarray, column: int, start: int, per_group: int, out: np.ndarray
) -> None:
    """Multiply codes of one output by their scales `[group, column]`, in float32.

    `start` counts inputs from the beginning of the first group.
    """
    r, height = 0, len(codes)
    while r < height:
        group = (start + r) // per_group
        end = min(height, (group + 1) * per_group - start)
        _times(codes[r:end], scales[group, column], out[r:end])
        r = end


@inner
def _times(codes: np.ndarray, scale: float, out: np.ndarray) -> None:
    for i in range(len(codes)):
        out[i] = np.float32(codes[i]) * scale
