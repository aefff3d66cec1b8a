"""Decoders of GGUF's blocks: of any bytes they make what llama.cpp's own package makes."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from grokpack.core.ggml_types import GGMLType
from grokpack.kernels.block_kernels import PRODUCTS


@pytest.mark.parametrize("name", PRODUCTS)
def test_blocks_are_read_as_gguf_reads_them(name: str) -> None:
    kind = GGMLType[name.upper()]
    shape = (99, 1024 // kind.weights * kind.nbytes)
    blocks = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    out = np.empty((99, 1024), np.float32)
    PRODUCTS[name](blocks, out)
    with np.errstate(all="ignore"):
        wanted = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType(kind))
    numbers = ~np.isnan(wanted)
    assert numbers.all() == name.endswith("fp4")  # other heads are float16 of any bits
    assert (np.isnan(out) == ~numbers).all()
    assert out[numbers].tobytes() == wanted[numbers].tobytes()
