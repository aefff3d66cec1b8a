"""Passes over a block of values, 64 columns at a time, for `tile_distances.least_distances`.

The values of a block lie row after row in one array; `_integer.lanes` has the form of loops.
"""

from __future__ import annotations

import numpy as np

from grokpack.kernels.compiled import inner
from grokpack.kernels.tile_distances import OFF_STEP

LANES = 64
HEIGHT = 8
BLOCK = HEIGHT * LANES

DISTANCES = 0
"""Place of the row of least distances among those of a block."""
DOUBT = LANES
"""Place of the row that marks where the least distance from one value may not be that of all."""
_CENTER, _INVERSE = 2 * LANES, 3 * LANES
SIZE = 4 * LANES

_NIL, _ONE, _INFINITE = np.float32(0), np.float32(1), np.float32(np.inf)


@inner
def find_steps(values: np.ndarray, found: np.ndarray) -> None:
    """Fill the least distance of a value from the one that is nearest zero, and doubts.

    Args:
        values: The block, `f32[row * LANES]`; rows are a multiple of `HEIGHT`.
        found: Filled, `f32[SIZE]`.
    """
    for lane in range(LANES):
        found[_CENTER + lane], found[DISTANCES + lane] = values[lane], _INFINITE
    for at in range(0, len(values), BLOCK):
        _nearer_zero(values[at : at + BLOCK], found)
    for at in range(0, len(values), BLOCK):
        _nearest(values[at : at + BLOCK], found)
    for lane in range(LANES):
        found[_INVERSE + lane] = np.divide(_ONE, found[DISTANCES + lane])
        found[DOUBT + lane] = _NIL
    for at in range(0, len(values), BLOCK):
        _doubt(values[at : at + BLOCK], found)


@inner
def _nearer_zero(block: np.ndarray, found: np.ndarray) -> None:
    """Keep the first value of the least magnitude; NaN comes before all."""
    for lane in range(LANES):
        center = found[_CENTER + lane]
        for i in range(HEIGHT):
            value = block[i * LANES + lane]
            nearer = (np.abs(value) < np.abs(center)) | np.isnan(value)
            center = value if nearer else center
        found[_CENTER + lane] = center


@inner
def _nearest(block: np.ndarray, found: np.ndarray) -> None:
    """Keep the least distance from the center."""
    for lane in range(LANES):
        center, least = found[_CENTER + lane], found[DISTANCES + lane]
        for i in range(HEIGHT):
            distance = np.abs(block[i * LANES + lane] - center)
            nearer = (distance > _NIL) & (distance < least)
            least = distance if nearer else least
        found[DISTANCES + lane] = least


@inner
def _doubt(block: np.ndarray, found: np.ndarray) -> None:
    """Mark where a distance is no multiple of the least."""
    for lane in range(LANES):
        center, inverse = found[_CENTER + lane], found[_INVERSE + lane]
        doubt = found[DOUBT + lane]
        for i in range(HEIGHT):
            ratio = np.abs(block[i * LANES + lane] - center) * inverse
            multiple = np.abs(ratio - np.rint(ratio)) < OFF_STEP
            doubt = doubt if multiple else _ONE
        found[DOUBT + lane] = doubt


@inner
def least_of_all(values: np.ndarray, lane: int, line: np.ndarray) -> np.float32:
    """Return the least distance of any two unequal values of a lane.

    Args:
        values: The block.
        lane: The lane.
        line: Scratch, `f32[2 * row]`.
    """
    count = len(line) // 2
    own, least = line[:count], line[count:]
    for i in range(count):
        own[i], least[i] = values[i * LANES + lane], _INFINITE
    for i in range(count):
        _lower(own, own[i], least)
    found = _INFINITE
    for i in range(count):
        found = least[i] if least[i] < found else found  # noqa: FURB136
    return found


@inner
def _lower(values: np.ndarray, value: np.float32, least: np.ndarray) -> None:
    """Keep the distance of each value from one of them, where it is less."""
    for i in range(len(least)):
        distance = np.abs(values[i] - value)
        nearer = (distance > _NIL) & (distance < least[i])
        least[i] = distance if nearer else least[i]
