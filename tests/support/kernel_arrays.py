"""Arrays that hold every awkward value, and accumulators for kernels to fill."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

ODD_BITS = (
    0x00000000,  # zero
    0x80000000,  # negative zero
    0x00000001,  # smallest subnormal
    0x807FFFFF,  # largest subnormal, negative
    0x00800000,  # smallest normal
    0x7F7FFFFF,  # largest finite
    0xFF7FFFFF,
    0x7F800000,  # infinities
    0xFF800000,
    0x7FC00000,  # quiet NaN
    0xFFC00000,
    0x7F800001,  # signalling NaN
    0x3F800000,  # one
    0x3F7FFFFF,  # just below
)

any_bits = st.sampled_from(ODD_BITS) | st.integers(0, 2**32 - 1)
small = st.integers(1, 9)


def floats(shape: Any) -> st.SearchStrategy[np.ndarray]:
    """`f32[...]` of any bits whatever, odd ones often."""
    return hnp.arrays(np.uint32, shape, elements=any_bits).map(lambda bits: bits.view(np.float32))


def codes(shape: Any) -> st.SearchStrategy[np.ndarray]:
    """`i8[...]`, ends often."""
    return hnp.arrays(
        np.int8, shape, elements=st.integers(-128, 127) | st.sampled_from([-128, 127])
    )


def code_sums(out: int) -> tuple[np.ndarray, ...]:
    """Empty accumulators of `count_codes`."""
    return (
        np.zeros(256, np.int64),
        np.zeros(out, np.int64),
        np.full(out, 127, np.int8),
        np.full(out, -128, np.int8),
    )


def moments() -> tuple[np.ndarray, np.ndarray]:
    """Empty words and ends."""
    return np.zeros((256, 4), np.uint64), np.array([np.inf, -np.inf])


def float_sums() -> tuple[np.ndarray, ...]:
    """Empty accumulators of `count_floats`."""
    return (np.zeros(512, np.int64), np.zeros(4, np.int64), *moments())
