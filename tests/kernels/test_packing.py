"""Packed codes are transposed as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grokpack.kernels import packing
from grokpack.kernels.dispatch import twin
from tests.support.integer_quantization import implementations


@implementations
@given(st.integers(1, 70), st.integers(1, 70))
def test_words_and_bytes_are_turned(implementation: Any, rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    for kernel, kind in (
        (packing.transpose_words, np.uint32),
        (packing.transpose_bytes, np.uint8),
    ):
        plain = rng.integers(0, 1 << 8 * np.dtype(kind).itemsize, (rows, columns), kind)
        turned = np.zeros((columns, rows), kind)
        twin(kernel, implementation)(plain, turned)
        assert (turned == plain.T).all()
