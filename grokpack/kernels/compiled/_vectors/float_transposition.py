"""Transposition of squares of eight by eight float32, in registers.

A loop would move one value at a time: LLVM makes no shuffles of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from llvmlite import ir
from numba.extending import intrinsic

from grokpack.kernels.compiled._vectors.register_transposition import transposing

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

SIDE = 8

_Any: TypeAlias = Any  # values that numba passes to code generators, which have no types
_ROW = ir.VectorType(ir.FloatType(), SIDE)


def _exchanged(builder: _Any, rows: list[_Any]) -> list[_Any]:
    """Transpose in three rounds of exchanges between rows, like `byte_transposition`."""
    for apart in (1, 2, 4):
        own = [i for i in range(SIDE) if not i & apart]
        for k in own:
            near, far = rows[k], rows[k + apart]
            low = [i if i in own else SIDE + i - apart for i in range(SIDE)]
            high = [i + apart if i in own else SIDE + i for i in range(SIDE)]
            rows[k], rows[k + apart] = (
                builder.shuffle_vector(
                    near, far, ir.Constant(ir.VectorType(ir.IntType(32), SIDE), mask)
                )
                for mask in (low, high)
            )
    return rows


def _widened(builder: _Any, halves: _Any) -> _Any:
    """Generate float32 of bits of bfloat16."""
    words = ir.VectorType(ir.IntType(32), SIDE)
    bits = builder.shl(builder.zext(halves, words), ir.Constant(words, [16] * SIDE))
    return builder.bitcast(bits, _ROW)


transpose_square = cast(
    "Callable[[np.ndarray, int, int, np.ndarray, int, int], None]",
    intrinsic(transposing(_ROW, 4, _exchanged)),
)
"""Call `transpose_square(source, at, pitch, target, to, step)` to transpose the square whose rows
begin `at`, `at + pitch` and so on values from the start of `source`, into rows that begin at `to`,
`to + step` and so on. Nothing is checked.
"""

_HALVES = ir.VectorType(ir.IntType(16), SIDE)
widen_square = cast(
    "Callable[[np.ndarray, int, int, np.ndarray, int, int], None]",
    intrinsic(transposing(_ROW, 4, _exchanged, (_HALVES, 2, _widened))),
)
"""Call it like `transpose_square` for a source of bfloat16."""
