"""Float casts on raw bits, to nearest even."""

from __future__ import annotations

import numpy as np

_F16_OVERFLOWS = 65520.0  # what rounds to infinity


def widen_bf16(bits: np.ndarray) -> np.ndarray:
    """Bits of bfloat16 as float32; exact."""
    wide: np.ndarray = bits.astype(np.uint32)
    wide <<= 16  # in place: a second array of the size would be made
    return wide.view(np.float32)


def narrow_bf16(values: np.ndarray) -> np.ndarray:
    """Float32 rounded to bits of bfloat16."""
    import ml_dtypes

    rounded: np.ndarray = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    return rounded


def narrow_f16(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Float32 rounded to bits of float16, and how many finite values became infinite."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if values.size and max(values.max(), -values.min()) < _F16_OVERFLOWS:  # not so where one is NaN
        return rounded.view(np.uint16), 0
    lost = np.count_nonzero(np.isinf(rounded)) - np.count_nonzero(np.isinf(values))
    return rounded.view(np.uint16), int(lost)
