"""Conversions between arrays and the bytes that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from grokpack.core import reused_memory

RAW: dict[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}
"""Unsigned integers by element size: as these, weights are copied, so that no value can change."""


_STRIP = 64  # columns; measured: 2.5 times as fast for 16 bits, 6 times for bytes


def contiguous(array: np.ndarray) -> np.ndarray:
    """Return the array as contiguous memory; a transposed one is copied in strips of columns.

    numpy walks a transposed array row by row and uses one element of every cache line that it
    touches. A strip is as wide as a cache line, so that the next row finds the line still in the
    cache.
    """
    if array.flags.c_contiguous or array.ndim == 1 or array.strides[-1] == array.itemsize:
        return np.ascontiguousarray(array)
    out = reused_memory.empty(array.shape, array.dtype)
    for first in range(0, array.shape[-1], _STRIP):
        strip = (..., slice(first, first + _STRIP))
        out[strip] = array[strip]
    return out


def bytes_of(array: np.ndarray) -> memoryview:
    """Return the bytes of an array, without a copy where it is contiguous."""
    return contiguous(array).reshape(-1).view(np.uint8).data
