"""Transposition of a square whose rows are vectors in registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from llvmlite import ir
from numba import types

from grokpack.kernels.compiled._vectors.byte_copies import pointer

if TYPE_CHECKING:
    from collections.abc import Callable

_Any: TypeAlias = Any  # values that numba passes to code generators, which have no types


def transposing(
    row_type: _Any,
    size: int,
    exchanged: Callable[[_Any, list[_Any]], list[_Any]],
    source: tuple[_Any, int, Callable[[_Any, _Any], _Any]] | None = None,
) -> Callable[..., tuple[_Any, _Any]]:
    """Return the generator of code that loads a square, transposes it and stores it.

    Args:
        row_type: Vector type of a row; there are as many rows as it has values.
        size: Bytes of a value. Positions and distances count values; rows are aligned to one.
        exchanged: Generates the exchanges between rows that transpose them.
        source: Vector type and bytes of a value of what is loaded, and what generates a row of it,
            if that is of another type.
    """
    kind, each, widened = source or (row_type, size, lambda _builder, row: row)

    def transpose(
        _typing: _Any, values: _Any, _at: _Any, _pitch: _Any, target: _Any, _to: _Any, _step: _Any
    ) -> tuple[_Any, _Any]:
        def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
            kinds = signature.args
            values, target = arguments[0], arguments[3]
            at, pitch = (builder.mul(n, ir.Constant(n.type, each)) for n in arguments[1:3])
            to, step = (builder.mul(n, ir.Constant(n.type, size)) for n in arguments[4:])
            rows = []
            for _ in range(row_type.count):
                row = pointer(context, builder, kinds[0], values, at)
                loaded = builder.load(builder.bitcast(row, kind.as_pointer()), align=each)
                rows.append(widened(builder, loaded))
                at = builder.add(at, pitch)
            for row in exchanged(builder, rows):
                place = pointer(context, builder, kinds[3], target, to)
                builder.store(row, builder.bitcast(place, row_type.as_pointer()), align=size)
                to = builder.add(to, step)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(values, integer, integer, target, integer, integer), write

    return transpose
