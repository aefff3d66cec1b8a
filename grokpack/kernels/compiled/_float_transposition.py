"""Transposition of squares of eight by eight float32, in registers.

A loop would move one value at a time: LLVM makes no shuffles of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

SIDE = 8

_Any: TypeAlias = Any  # values that numba passes to code generators, which have no types
_ROW = ir.VectorType(ir.FloatType(), SIDE)


def _transposing(
    _typing: _Any, source: _Any, _at: _Any, _pitch: _Any, target: _Any, _to: _Any, _step: _Any
) -> tuple[_Any, _Any]:
    def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
        kinds = signature.args
        (source, at, pitch), (target, to, step) = arguments[:3], arguments[3:]
        rows = []
        for _ in range(SIDE):
            row = _pointer(context, builder, kinds[0], source, at)
            rows.append(builder.load(builder.bitcast(row, _ROW.as_pointer()), align=4))
            at = builder.add(at, pitch)
        _exchange(builder, rows)
        for row in rows:
            place = _pointer(context, builder, kinds[3], target, to)
            builder.store(row, builder.bitcast(place, _ROW.as_pointer()), align=4)
            to = builder.add(to, step)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(source, integer, integer, target, integer, integer), write


def _pointer(context: _Any, builder: _Any, kind: _Any, array: _Any, at: _Any) -> _Any:
    """Generate the address of an array's value."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def _exchange(builder: _Any, rows: list[_Any]) -> None:
    """Transpose in three rounds of exchanges between rows, like bytes in `_byte_transposition`."""
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


transpose_square = cast(
    "Callable[[np.ndarray, int, int, np.ndarray, int, int], None]", intrinsic(_transposing)
)
"""Call `transpose_square(source, at, pitch, target, to, step)` to transpose the square whose rows
begin `at`, `at + pitch` and so on values from the start of `source`, into rows that begin at `to`,
`to + step` and so on. Nothing is checked.
"""
