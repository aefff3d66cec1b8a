"""Sums of products of values and their codes, in lanes of 16 bits.

The code is generated rather than left to the loop vectorizer, which would widen to 32 bits at once.
In this form LLVM makes of a product with rounding, and of two products that are added, one
instruction each where the processor has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from grokpack.kernels.compiled._integer.lanes import LANES
from grokpack.kernels.compiled._vectors.byte_copies import pointer
from grokpack.kernels.integer_steps import DIVISOR_BITS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_Any: TypeAlias = Any  # values that numba passes to code generators, which have no types
_WIDTH, _UNROLLED = 32, 2
_ROW = 4 * LANES  # bytes of two rows of values, which alternate
PAIRS = 64
"""Rows of words at most: sums of 128 values and their codes fit into 32 bits."""

_SHORT, _INT, _WORD = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_SHORTS, _INTS = ir.VectorType(_SHORT, _WIDTH), ir.VectorType(_INT, _WIDTH)
_SUMS = ir.VectorType(_INT, _WIDTH // 2)
_range: _Any = cgutils.for_range
_alloca: _Any = cgutils.alloca_once_value


def _all(kind: _Any, n: int) -> _Any:
    return ir.Constant(kind, [n] * kind.count)


def _splat(builder: _Any, kind: _Any, scalar: _Any) -> _Any:
    """Generate a vector of one value, in as many lanes as `kind` has."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_INT, 0))
    everywhere = _all(ir.VectorType(_INT, kind.count), 0)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), everywhere)


def _scaled(builder: _Any, values: _Any, half: _Any, factor: _Any) -> _Any:
    """Generate `(values + half) * factor >> 16`."""
    raised = builder.add(values, half)
    product = builder.mul(builder.sext(raised, _INTS), builder.sext(factor, _INTS))
    return builder.trunc(builder.ashr(product, _all(_INTS, 16)), _SHORTS)


def _bounded(builder: _Any, values: _Any, least: _Any, most: _Any) -> _Any:
    values = builder.select(builder.icmp_signed(">", values, least), values, least)
    return builder.select(builder.icmp_signed("<", values, most), values, most)


def _paired(builder: _Any, one: _Any, other: _Any) -> _Any:
    """Generate the sums of the products of each two neighbours."""
    products = builder.mul(builder.sext(one, _INTS), builder.sext(other, _INTS))
    mask = ir.VectorType(_INT, _WIDTH // 2)
    even, odd = (
        builder.shuffle_vector(products, products, ir.Constant(mask, [*range(n, _WIDTH, 2)]))
        for n in (0, 1)
    )
    return builder.add(even, odd)


def _add(builder: _Any, total: _Any, terms: _Any) -> None:
    builder.store(builder.add(builder.load(total), terms), total)


def _summing(with_weights: bool) -> Callable[..., tuple[_Any, _Any]]:  # noqa: FBT001
    """Return the generator of code that sums, and weighs the terms or not."""

    def sum_products(
        _typing: _Any,
        values: _Any,
        weights: _Any,
        _count: _Any,
        _divisor: _Any,
        limits: _Any,
        sums: _Any,
    ) -> tuple[_Any, _Any]:
        def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
            arrays = [
                pointer(context, builder, signature.args[k], arguments[k], ir.Constant(_WORD, 0))
                for k in (0, 1, 4, 5)
            ]
            with _range(builder, ir.Constant(_WORD, _ROW // (2 * _WIDTH))) as columns:
                column = builder.mul(columns.index, ir.Constant(_WORD, 2 * _WIDTH))
                _sum_columns(builder, arrays, arguments[2:4], column, with_weights)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(values, weights, integer, integer, limits, sums), write

    return sum_products


def _load(builder: _Any, start: _Any, at: _Any, kind: _Any = _SHORTS) -> _Any:
    place = builder.bitcast(builder.gep(start, [at]), kind.as_pointer())
    return builder.load(place, align=2)


def _sum_columns(
    builder: _Any,
    arrays: list[_Any],
    numbers: list[_Any],
    column: _Any,
    with_weights: bool,  # noqa: FBT001
) -> None:
    """Generate the sums of the columns of a vector, which begins at a byte of each row."""
    (values, weights, limits, sums), (count, divisor) = arrays, numbers
    half = builder.udiv(ir.Constant(_WORD, 1 << DIVISOR_BITS - 1), divisor)
    factor = builder.shl(divisor, ir.Constant(_WORD, 16 - DIVISOR_BITS))
    half, factor = (_splat(builder, _SHORTS, builder.trunc(n, _SHORT)) for n in (half, factor))
    beyond = builder.add(column, ir.Constant(_WORD, _ROW))
    least, most = _load(builder, limits, column), _load(builder, limits, beyond)
    vq, qq = (_alloca(builder, _all(_SUMS, 0)) for _ in range(2))
    with _range(builder, builder.udiv(count, ir.Constant(_WORD, _UNROLLED))) as loop:
        for n in range(_UNROLLED):
            row = builder.mul(loop.index, ir.Constant(_WORD, _UNROLLED))
            row = builder.add(row, ir.Constant(_WORD, n))
            at = builder.add(builder.mul(row, ir.Constant(_WORD, _ROW)), column)
            own = _load(builder, values, at)
            q = weighted = _bounded(builder, _scaled(builder, own, half, factor), least, most)
            if with_weights:
                pair = _load(builder, weights, builder.mul(row, ir.Constant(_WORD, 4)), _INT)
                both = builder.bitcast(_splat(builder, _SUMS, pair), _SHORTS)
                weighted = builder.mul(q, both)
                own = _load(builder, values, builder.add(at, ir.Constant(_WORD, PAIRS * _ROW)))
            _add(builder, vq, _paired(builder, own, q))
            _add(builder, qq, _paired(builder, q, weighted))
    for total, at in ((vq, column), (qq, beyond)):
        place = builder.bitcast(builder.gep(sums, [at]), _SUMS.as_pointer())
        builder.store(builder.load(total), place, align=4)


sum_products = cast(
    "Callable[[np.ndarray, np.ndarray, int, int, np.ndarray, np.ndarray], None]",
    intrinsic(_summing(with_weights=False)),
)
"""Call `sum_products(values, weights, count, divisor, limits, sums)` to sum the products of values
and their codes, and of codes and themselves, for each of `LANES` columns. Nothing is checked.

    values   `i32[2 * PAIRS * LANES]`, two rows of 16-bit values in each row of words, in its lower
             and its upper half; those multiplied by their weight follow after `PAIRS` rows
    weights  `i32[PAIRS]`, of each two rows
    count    Rows of words, a multiple of two
    divisor  That of the candidate
    limits   `i32[2 * LANES]`, the lowest and the highest code, twice in each word
    sums     `i32[2 * LANES]`, filled
"""

sum_weighted_products = cast(
    "Callable[[np.ndarray, np.ndarray, int, int, np.ndarray, np.ndarray], None]",
    intrinsic(_summing(with_weights=True)),
)
"""Call it like `sum_products` where inputs have weights."""
