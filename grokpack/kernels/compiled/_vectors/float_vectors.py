"""Vectors of float32 in registers, one value for each of 16 or 32 columns.

A search tries many scales for the same few weights. In loops over lanes, the sums and choices of
each trial would go through memory; as vectors they are plain local variables. `+`, `-`, `*` and `/`
are those of IEEE arithmetic in each lane, in the written order; `<`, `<=`, `>`, `==` and `!=` make
masks, which `&` and `|` join.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from grokpack.kernels.compiled import inner
from grokpack.kernels.compiled._vectors.byte_copies import pointer

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

LANES = 32 if binding.get_host_cpu_features().get("avx512f") else 16
"""Columns of a vector: two registers, one of which adds while the other's sum is due."""
Floats: TypeAlias = Any  # a vector
Mask: TypeAlias = Any  # True or False in each lane
Scalar: TypeAlias = Any  # float32

_Any: TypeAlias = Any  # values that numba passes to code generators, which have no types
_declare: _Any = cgutils.get_or_insert_function
_type_callable: _Any = type_callable
_lower_builtin: _Any = lower_builtin
_SIZE = 4  # bytes of a value
_MAGIC, _MANTISSA, _MIDDLE = 12582912.0, 0x7FFFFF, 0x400000  # of `nearest_by_bits`
_EXPONENT = 0x7F800000


_Base: _Any = types.Type
_PrimitiveModel: _Any = models.PrimitiveModel


class _Vector(_Base):  # type: ignore[misc]
    """numba's type of a vector."""

    def __init__(self, name: str, value: _Any) -> None:
        super().__init__(name)
        self.vector = ir.VectorType(value, LANES)


@register_model(_Vector)
class _Model(_PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: _Any, kind: _Vector) -> None:
        super().__init__(manager, kind, kind.vector)


_FLOATS = _Vector(f"f32x{LANES}", ir.FloatType())
_MASK = _Vector(f"i1x{LANES}", ir.IntType(1))
_OCTETS, _WORDS = (ir.VectorType(ir.IntType(bits), LANES) for bits in (8, 32))


def _define(operators: tuple[_Any, ...], kind: _Vector, result: _Vector, generate: _Any) -> None:
    """Give Python's operators a meaning between two vectors."""

    def typing(_context: _Any) -> _Any:
        return lambda one, other: result if one == other == kind else None

    def lower(_context: _Any, builder: _Any, _signature: _Any, operands: _Any) -> _Any:
        return generate(builder, *operands)

    for function in operators:
        _type_callable(function)(typing)
        _lower_builtin(function, kind, kind)(lower)


def _comparing(sign: str) -> _Any:
    """Return the generator of a comparison: NaN differs from everything, and is beyond nothing."""
    compare = ir.IRBuilder.fcmp_unordered if sign == "!=" else ir.IRBuilder.fcmp_ordered
    return lambda builder, one, other: compare(builder, sign, one, other)


_OPERATORS: tuple[tuple[_Any, ...], ...] = (
    ((operator.add, operator.iadd), _FLOATS, _FLOATS, ir.IRBuilder.fadd),
    ((operator.sub, operator.isub), _FLOATS, _FLOATS, ir.IRBuilder.fsub),
    ((operator.mul, operator.imul), _FLOATS, _FLOATS, ir.IRBuilder.fmul),
    ((operator.truediv, operator.itruediv), _FLOATS, _FLOATS, ir.IRBuilder.fdiv),
    ((operator.lt,), _FLOATS, _MASK, _comparing("<")),
    ((operator.le,), _FLOATS, _MASK, _comparing("<=")),
    ((operator.gt,), _FLOATS, _MASK, _comparing(">")),
    ((operator.eq,), _FLOATS, _MASK, _comparing("==")),
    ((operator.ne,), _FLOATS, _MASK, _comparing("!=")),
    ((operator.and_, operator.iand), _MASK, _MASK, ir.IRBuilder.and_),
    ((operator.or_, operator.ior), _MASK, _MASK, ir.IRBuilder.or_),
)
for _row in _OPERATORS:
    _define(*_row)


def _place(context: _Any, builder: _Any, kind: _Any, array: _Any, at: _Any) -> _Any:
    """Generate the address of the vector that begins with an array's value."""
    value = context.get_data_type(kind.dtype)
    start = builder.mul(at, ir.Constant(at.type, kind.dtype.bitwidth // 8))
    place = pointer(context, builder, kind, array, start)
    return builder.bitcast(place, ir.VectorType(value, LANES).as_pointer())


def _loading(_typing: _Any, source: _Any, _at: _Any) -> tuple[_Any, _Any]:
    def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
        return builder.load(_place(context, builder, signature.args[0], *arguments), align=_SIZE)

    return _FLOATS(source, types.intp), write


def _reading(bits: int, widened: Callable[[_Any, _Any], _Any]) -> Callable[..., tuple[_Any, _Any]]:
    """Return the generator of a load from raw bytes of values of so many bits."""
    kind = ir.VectorType(ir.IntType(bits), LANES).as_pointer()

    def read(_typing: _Any, source: _Any, _at: _Any) -> tuple[_Any, _Any]:
        def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
            place = pointer(context, builder, signature.args[0], *arguments)
            return widened(builder, builder.load(builder.bitcast(place, kind), align=1))

        return _FLOATS(source, types.intp), write

    return read


def _of_int8(builder: _Any, octets: _Any) -> _Any:
    return builder.sitofp(octets, _FLOATS.vector)


def _of_bfloat16(builder: _Any, halves: _Any) -> _Any:
    words = builder.zext(halves, _WORDS)
    bits = builder.shl(words, ir.Constant(_WORDS, [16] * LANES))
    return builder.bitcast(bits, _FLOATS.vector)


def _of_float32(builder: _Any, words: _Any) -> _Any:
    return builder.bitcast(words, _FLOATS.vector)


def _storing(_typing: _Any, values: _Any, target: _Any, _to: _Any) -> tuple[_Any, _Any]:
    def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
        place = _place(context, builder, signature.args[1], *arguments[1:])
        builder.store(arguments[0], place, align=_SIZE)
        return context.get_dummy_value()

    return types.void(values, target, types.intp), write


def _storing_bytes(_typing: _Any, values: _Any, target: _Any, _to: _Any) -> tuple[_Any, _Any]:
    def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
        place = _place(context, builder, signature.args[1], *arguments[1:])
        builder.store(builder.fptosi(arguments[0], _OCTETS), place, align=1)
        return context.get_dummy_value()

    return types.void(values, target, types.intp), write


def _filling(_typing: _Any, _value: _Any) -> tuple[_Any, _Any]:
    def write(_context: _Any, builder: _Any, _signature: _Any, arguments: _Any) -> _Any:
        first, none = ir.IntType(32)(0), ir.Constant(_FLOATS.vector, ir.Undefined)
        one = builder.insert_element(none, arguments[0], first)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, none, everywhere)

    return _FLOATS(types.float32), write


def _choosing(_typing: _Any, mask: _Any, one: _Any, other: _Any) -> tuple[_Any, _Any]:
    def write(_context: _Any, builder: _Any, _signature: _Any, arguments: _Any) -> _Any:
        return builder.select(*arguments)

    return _FLOATS(mask, one, other), write


def _adding_product(_typing: _Any, total: _Any, one: _Any, other: _Any) -> tuple[_Any, _Any]:
    def write(_context: _Any, builder: _Any, _signature: _Any, arguments: _Any) -> _Any:
        product = builder.fmul(*arguments[1:], flags=("contract",))
        return builder.fadd(arguments[0], product, flags=("contract",))

    return _FLOATS(total, one, other), write


def _generated(name: str) -> Callable[..., _Any]:
    """Return the generator of a call of an LLVM intrinsic."""

    def write(_context: _Any, builder: _Any, _signature: _Any, arguments: _Any) -> _Any:
        kind = ir.FunctionType(_FLOATS.vector, [_FLOATS.vector] * len(arguments))
        full = f"llvm.{name}.v{LANES}f32"
        return builder.call(_declare(builder.module, kind, full), arguments)

    return write


def _calling(name: str) -> Callable[[_Any, _Any], tuple[_Any, _Any]]:
    """Return the generator of a call of an LLVM intrinsic with one operand."""
    return lambda _typing, values: (_FLOATS(values), _generated(name))


def _calling_with_two(name: str) -> Callable[[_Any, _Any, _Any], tuple[_Any, _Any]]:
    """Return the generator of a call of an LLVM intrinsic with two operands."""
    return lambda _typing, one, other: (_FLOATS(one, other), _generated(name))


def _pausing(_typing: _Any) -> tuple[_Any, _Any]:
    def write(context: _Any, builder: _Any, _signature: _Any, _arguments: _Any) -> _Any:
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], side_effect=True)
        return context.get_dummy_value()

    return types.void(), write


def _reducing(sign: str, bits: int) -> Callable[[_Any, _Any], tuple[_Any, _Any]]:
    """Return the generator of a comparison of a mask, taken as a number."""

    def reduce(_typing: _Any, mask: _Any) -> tuple[_Any, _Any]:
        def write(_context: _Any, builder: _Any, _signature: _Any, arguments: _Any) -> _Any:
            word = ir.IntType(LANES)
            return builder.icmp_unsigned(sign, builder.bitcast(arguments[0], word), word(bits))

        return types.boolean(mask), write

    return reduce


def _counting(_typing: _Any, mask: _Any) -> tuple[_Any, _Any]:
    def write(_context: _Any, builder: _Any, _signature: _Any, arguments: _Any) -> _Any:
        bits = builder.ctpop(builder.bitcast(arguments[0], ir.IntType(LANES)))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(mask), write


def _masking(_typing: _Any, values: _Any) -> tuple[_Any, _Any]:
    def write(_context: _Any, builder: _Any, _signature: _Any, arguments: _Any) -> _Any:
        bits, exponent = (
            builder.bitcast(arguments[0], _WORDS),
            ir.Constant(_WORDS, [_EXPONENT] * LANES),
        )
        return builder.bitcast(builder.and_(bits, exponent), _FLOATS.vector)

    return _FLOATS(values), write


def _rounding(_typing: _Any, values: _Any) -> tuple[_Any, _Any]:
    def write(_context: _Any, builder: _Any, _signature: _Any, arguments: _Any) -> _Any:
        magic, low, middle = (
            ir.Constant(vector, [value] * LANES)
            for vector, value in (
                (_FLOATS.vector, _MAGIC),
                (_WORDS, _MANTISSA),
                (_WORDS, _MIDDLE),
            )
        )
        bits = builder.bitcast(builder.fadd(arguments[0], magic), _WORDS)
        return builder.sitofp(builder.sub(builder.and_(bits, low), middle), _FLOATS.vector)

    return _FLOATS(values), write


vector = cast("Callable[[np.ndarray, int], Floats]", intrinsic(_loading))
"""Call `vector(array, at)` for the values from `at` on; bounds are not checked."""

int8s = cast("Callable[[np.ndarray, int], Floats]", intrinsic(_reading(8, _of_int8)))
"""Call `int8s(raw, at)` for the int8 from byte `at` on; bounds are not checked."""

bfloat16s = cast("Callable[[np.ndarray, int], Floats]", intrinsic(_reading(16, _of_bfloat16)))
"""Call `bfloat16s(raw, at)` likewise for bfloat16."""

float32s = cast("Callable[[np.ndarray, int], Floats]", intrinsic(_reading(32, _of_float32)))
"""Call `float32s(raw, at)` likewise for float32."""

store = cast("Callable[[Floats, np.ndarray, int], None]", intrinsic(_storing))
"""Call `store(values, array, at)` to put them from `at` on; bounds are not checked."""

store_bytes = cast("Callable[[Floats, np.ndarray, int], None]", intrinsic(_storing_bytes))
"""Call `store_bytes(values, array, at)` to put small whole numbers as int8; likewise."""

fill = cast("Callable[[Scalar], Floats]", intrinsic(_filling))
"""Call `fill(value)` for one value in each lane."""

choose = cast("Callable[[Mask, Floats, Floats], Floats]", intrinsic(_choosing))
"""Call `choose(mask, one, other)` for values of one where the mask is True."""

add_product = cast("Callable[[Floats, Floats, Floats], Floats]", intrinsic(_adding_product))
"""Call `add_product(total, one, other)` for `total + one * other` where the product is exact, so
that a processor may do both in one instruction: it rounds once, to the same."""

all_of = cast("Callable[[Mask], bool]", intrinsic(_reducing("==", -1)))
"""Call `all_of(mask)` to learn if it is True in every lane."""

any_of = cast("Callable[[Mask], bool]", intrinsic(_reducing("!=", 0)))
"""Call `any_of(mask)` to learn if it is True in some lane."""

count_of = cast("Callable[[Mask], int]", intrinsic(_counting))
"""Call `count_of(mask)` for the number of lanes in which it is True."""

magnitude = cast("Callable[[Floats], Floats]", intrinsic(_calling("fabs")))
"""Call `magnitude(values)` for their distances from zero."""

power_below = cast("Callable[[Floats], Floats]", intrinsic(_masking))
"""Call `power_below(values)` for the powers of two at or below their magnitudes; infinity for NaN,
zero for what is below all normal numbers."""

truncated = cast("Callable[[Floats], Floats]", intrinsic(_calling("trunc")))
"""Call `truncated(values)` for the whole numbers towards zero."""

with_sign = cast("Callable[[Floats, Floats], Floats]", intrinsic(_calling_with_two("copysign")))
"""Call `with_sign(sizes, values)` for sizes with the signs of values."""

root = cast("Callable[[Floats], Floats]", intrinsic(_calling("sqrt")))
"""Call `root(values)` for their square roots."""

rounded = cast("Callable[[Floats], Floats]", intrinsic(_calling("rint")))
"""Call `rounded(values)` for the nearest whole numbers, of two the even one."""


nearest_by_bits = cast("Callable[[Floats], Floats]", intrinsic(_rounding))
"""Call `nearest_by_bits(values)` to round like ggml's `nearest_int`, which takes the bits of a sum:
what is not a number, or beyond 2^22, becomes some other whole number."""

keep_rolled = cast("Callable[[], None]", intrinsic(_pausing))
"""Call `keep_rolled()` in a loop that needs all registers: LLVM then takes its rows one by one.
Of several at a time, sums would go through memory, which is slower than what is gained."""


@inner
def gather(source: np.ndarray, start: int, pitch: int, to: np.ndarray) -> None:
    """Fill an array with the vectors that begin `start`, `start + pitch` and so on."""
    at = start
    for row in range(0, len(to), LANES):
        store(vector(source, at), to, row)
        at += pitch


@inner
def clip(values: Floats, low: Floats, high: Floats) -> Floats:
    """Bound values; NaN becomes the lower bound."""
    raised = choose(values > low, values, low)
    return choose(raised < high, raised, high)
