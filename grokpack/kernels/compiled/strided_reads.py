"""Reads of equally spaced runs, compiled: the twin of `grokpack.kernels.strided_reads`."""

from __future__ import annotations

from typing import Any

from numba import types

from grokpack.kernels.compiled import compiled

_pread: Any = types.ExternalFunction(
    "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
)


@compiled
def pread_rows(
    handle: int, address: int, row_bytes: int, rows: int, run_bytes: int, offset: int, stride: int
) -> int:
    """Compiled twin of `strided_reads.pread_rows`."""
    for row in range(rows):
        got = _pread(handle, address + row * row_bytes, run_bytes, offset + row * stride)
        if got != run_bytes:
            return row
    return rows
