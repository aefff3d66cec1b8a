"""numpy's .npy: a header, then one array."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from grokpack.tensor import DType

if TYPE_CHECKING:
    from grokpack.tensor import ArraySpec

SUFFIX = ".npy"


def header_bytes(spec: ArraySpec) -> bytes:
    """The header of an array; .npy knows no bfloat16, whose bits are written as uint16."""
    import numpy as np

    kind = "<u2" if spec.dtype is DType.BF16 else spec.dtype.numpy().str
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": kind, "fortran_order": False, "shape": spec.shape}
    )
    return stream.getvalue()
