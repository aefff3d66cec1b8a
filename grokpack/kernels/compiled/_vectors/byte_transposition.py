"""Transposition of bytes: squares of 16 by 16 in registers, and tiles of them.

A loop would move one byte at a time: LLVM makes no shuffles of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from grokpack.kernels.compiled import allocate, inner
from grokpack.kernels.compiled._vectors.byte_copies import prefetch
from grokpack.kernels.compiled._vectors.register_transposition import transposing

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 16
COLUMNS = 64  # one cache line of a row of codes
ROWS = 256  # a tile has 16 KiB, and stays in the first-level cache with its results

_Any: TypeAlias = Any  # values that numba passes to code generators, which have no types
_ROW = ir.VectorType(ir.IntType(8), SIDE)
_ROUNDS = 4  # SIDE is 2**_ROUNDS


def _exchanged(builder: _Any, rows: list[_Any]) -> list[_Any]:
    """Transpose rows by interleaving each with that half of the rows further on, in four rounds.

    A round moves the highest bit of a byte's row to the lowest of its column; four swap the two.
    """
    kind = ir.VectorType(ir.IntType(32), SIDE)
    halves = [
        ir.Constant(kind, [n // 2 + n % 2 * SIDE + first for n in range(SIDE)])
        for first in (0, SIDE // 2)
    ]
    for _ in range(_ROUNDS):
        rows = [
            builder.shuffle_vector(rows[i // 2], rows[(SIDE + i) // 2], halves[i % 2])
            for i in range(SIDE)
        ]
    return rows


transpose_square = cast(
    "Callable[[np.ndarray, int, int, np.ndarray, int, int], None]",
    intrinsic(transposing(_ROW, 1, _exchanged)),
)
"""Call `transpose_square(source, at, pitch, target, to, step)` to transpose the square whose rows
begin `at`, `at + pitch` and so on bytes from the start of `source`, into rows that begin at `to`,
`to + step` and so on. Nothing is checked.
"""


@inner
def transpose(codes: np.ndarray, place: tuple[int, int, int, int], tile: np.ndarray) -> None:
    """Set `tile[c, r] = codes[row + r, column + c]` for some rows and columns.

    Args:
        codes: `i8[in, column]`, dense.
        place: First row; rows, at most `ROWS`; first column; columns, at most `COLUMNS`.
        tile: Filled, `i8[COLUMNS, ROWS]`.
    """
    row, height, column, width = place
    pitch = codes.shape[1]
    rows, columns = height - height % SIDE, width - width % SIDE
    for r in range(0, rows, SIDE):
        for k in range(SIDE):
            prefetch(codes, (row + r + k) * pitch + column + COLUMNS)  # for the next tile
        for c in range(0, columns, SIDE):
            at = (row + r) * pitch + column + c
            transpose_square(codes, at, pitch, tile, c * ROWS + r, ROWS)
    for r in range(height):
        for c in range(columns if r < rows else 0, width):
            tile[c, r] = codes[row + r, column + c]


def scratch() -> np.ndarray:
    """Allocate a tile for `transpose`."""
    return allocate((COLUMNS, ROWS), np.int8)
