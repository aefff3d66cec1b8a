"""Casts between float dtypes on raw bits: exact to float32, and from it to nearest even."""

from __future__ import annotations

from functools import cache

import numpy as np

from grokpack.core.tensors import DType

_F16_OVERFLOWS = 65520.0  # rounds to infinity


def to_f32(bits: np.ndarray, dtype: DType) -> np.ndarray:
    """Convert raw bits of a dtype to float32, exactly; those of float32 are not copied."""
    if dtype is DType.BF16:
        return widen_bf16(bits)
    if dtype is DType.F16:
        return widen_f16(bits)
    if dtype.itemsize == 1:
        return widen_octets(bits, dtype)
    values: np.ndarray = bits.view(dtype.numpy()).astype(np.float32, copy=False)
    return values


def widen_bf16(bits: np.ndarray) -> np.ndarray:
    """Convert bfloat16 bits to float32, exactly."""
    wide: np.ndarray = bits.astype(np.uint32)
    wide <<= 16  # in place, to avoid a second array
    return wide.view(np.float32)


def widen_f16(bits: np.ndarray) -> np.ndarray:
    """Convert float16 bits to float32, exactly."""
    return bits.view(np.float16).astype(np.float32)


def widen_octets(bits: np.ndarray, dtype: DType) -> np.ndarray:
    """Convert codes of a dtype of 8 bits to float32, exactly; a transposed view stays one."""
    if not bits.flags.c_contiguous and bits.T.flags.c_contiguous:
        return widen_octets(bits.T, dtype).T
    return _values_of_codes(dtype).take(bits.view(np.uint8))


@cache
def _values_of_codes(dtype: DType) -> np.ndarray:
    """Return the value of each code, `f32[256]`."""
    return np.arange(256, dtype=np.uint8).view(dtype.numpy()).astype(np.float32)


def narrow_bf16(values: np.ndarray) -> np.ndarray:
    """Round float32 to bfloat16 bits."""
    import ml_dtypes

    rounded: np.ndarray = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    return rounded


def narrow_f16(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Round float32 to float16 bits, and count finite values that became infinite."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if values.size and max(values.max(), -values.min()) < _F16_OVERFLOWS:  # false if one is NaN
        return rounded.view(np.uint16), 0
    lost = np.count_nonzero(np.isinf(rounded)) - np.count_nonzero(np.isinf(values))
    return rounded.view(np.uint16), int(lost)
