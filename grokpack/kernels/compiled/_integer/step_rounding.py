"""Rounding of steps to the precision in which they are stored."""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._integer.lanes import LANES
from grokpack.kernels.integer_steps import SMALLEST

_INFINITY = 0x7F800000

# For each precision: fraction bits that it drops; bits from which on it is infinite; value below
# which it is subnormal; and a number at which float32 has that spacing.
_DROPPED = np.array([0, 16, 13], np.uint32)
_BEYOND = np.array([_INFINITY, _INFINITY, 0x47800000], np.uint32)  # 65536 in float16
_NORMAL = np.array([0, 0, 2.0**-14], np.float32)
_GRID = np.array([0, 0, 0.75], np.float32)
_SMALLEST = np.array(SMALLEST, np.float32)


@inner
def round_steps(steps: np.ndarray, precision: int) -> None:
    """Round nonnegative steps to nearest even of a precision, and up to its least."""
    u32 = np.uint32
    dropped, beyond, least = _DROPPED[precision], _BEYOND[precision], _SMALLEST[precision]
    normal, grid = _NORMAL[precision], _GRID[precision]
    unit = u32(u32(1) << dropped)
    some = u32(dropped != u32(0))
    half, mask = u32(u32(unit >> u32(1)) - some), u32(~u32(unit - u32(1)))
    for lane in range(LANES):
        step = steps[lane]
        bits = np.float32(step).view(np.uint32)
        odd = u32(u32(bits >> dropped) & some)
        kept = u32(u32(u32(bits + half) + odd) & mask)
        kept = u32(u32(_INFINITY) if kept >= beyond else kept)
        kept = u32(bits if bits > u32(_INFINITY) else kept)
        step = (
            np.float32(np.float32(step + grid) - grid) if step < normal else kept.view(np.float32)
        )
        steps[lane] = least if step < least else step  # noqa: FURB136


@inner
def within(t: np.float32, low: np.float32, high: np.float32) -> np.float32:
    """Clamp to a range; NaN becomes the low end."""
    c = t if t > low else low  # noqa: FURB136
    return c if c < high else high  # noqa: FURB136
