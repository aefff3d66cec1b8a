"""Copies of bytes without a loop, and prefetch of cache lines.

Rows at a distance known only at run time LLVM would copy after comparing every two for overlap, or
byte by byte. Here a line, `LINE` bytes, is one load and one store if vectors are that long. In each
row of a weight, 64 columns of codes are one line, on a page of its own: a processor cannot predict
the next one, and computes little while it waits for memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

LINE = 64  # bytes

_Any: TypeAlias = Any  # values that numba passes to code generators, which have no types
_memcpy: _Any = cgutils.raw_memcpy
_BYTE = ir.IntType(8).as_pointer()
_INT = ir.IntType(32)


def _copying_lines(
    _typing: _Any, source: _Any, _at: _Any, target: _Any, _to: _Any
) -> tuple[_Any, _Any]:
    def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
        kinds, line = signature.args, ir.VectorType(ir.IntType(8), LINE).as_pointer()
        origin = pointer(context, builder, kinds[0], *arguments[:2])
        goal = pointer(context, builder, kinds[2], *arguments[2:])
        loaded = builder.load(builder.bitcast(origin, line), align=1)
        builder.store(loaded, builder.bitcast(goal, line), align=1)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), write


def _copying(
    _typing: _Any, source: _Any, _at: _Any, target: _Any, _to: _Any, _count: _Any
) -> tuple[_Any, _Any]:
    def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
        kinds = signature.args
        origin = pointer(context, builder, kinds[0], *arguments[:2])
        goal = pointer(context, builder, kinds[2], *arguments[2:4])
        _memcpy(builder, goal, origin, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp, types.intp), write


def _fetching(_typing: _Any, source: _Any, _at: _Any) -> tuple[_Any, _Any]:
    def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
        fetch(builder, pointer(context, builder, signature.args[0], *arguments))
        return context.get_dummy_value()

    return types.void(source, types.intp), write


def fetch(builder: _Any, place: _Any) -> None:
    """Generate the prefetch of the cache line at an address."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTE, _INT, _INT, _INT])
    function = builder.module.declare_intrinsic("llvm.prefetch", [_BYTE], kind)
    to_read, near, data = (ir.Constant(_INT, n) for n in (0, 3, 1))
    builder.call(function, [place, to_read, near, data])


def pointer(context: _Any, builder: _Any, kind: _Any, array: _Any, at: _Any) -> _Any:
    """Generate the address of an array's byte, whatever the array's dtype is."""
    start = context.make_array(kind)(context, builder, array).data
    return builder.gep(builder.bitcast(start, _BYTE), [at])


copy_line = cast("Callable[[np.ndarray, int, np.ndarray, int], None]", intrinsic(_copying_lines))
"""Call `copy_line(source, at, target, to)` to copy `LINE` bytes of `source` from `at` on to
`target` from `to` on. Both count bytes, of arrays of any dtype. Nothing is checked."""

copy = cast("Callable[[np.ndarray, int, np.ndarray, int, int], None]", intrinsic(_copying))
"""Call `copy(source, at, target, to, count)` to copy `count` bytes."""

prefetch = cast("Callable[[np.ndarray, int], None]", intrinsic(_fetching))
"""Call `prefetch(source, at)` to fetch the cache line of a byte, which may lie beyond the end."""
