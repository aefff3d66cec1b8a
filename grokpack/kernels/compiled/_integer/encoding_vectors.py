"""Codes of groups and sums of their errors, a vector of columns with their sums in registers.

The code is generated: the loop vectorizer takes all columns of a few rows after each other, and
sums of 64 columns are in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from grokpack.kernels.compiled._integer.lanes import LANES
from grokpack.kernels.compiled._vectors.byte_copies import fetch, pointer
from grokpack.kernels.integer_steps import ROUNDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

_Any: TypeAlias = Any  # values that numba passes to code generators, which have no types
_Array: TypeAlias = "np.ndarray"
_Encode: TypeAlias = (
    "Callable[[_Array, int, int, _Array, _Array, _Array, _Array, _Array, int, int], None]"
)
_WIDTH = 16 if binding.get_host_cpu_features().get("avx512f") else 8  # columns of a vector
_ROWS = 8
_FETCHED = _ROWS * _WIDTH // LANES  # lines that are fetched ahead with each vector of a block
_FLOATS = ir.VectorType(ir.FloatType(), _WIDTH)
_INTS = ir.VectorType(ir.IntType(32), _WIDTH)
_BYTES = ir.VectorType(ir.IntType(8), _WIDTH)
_WORD = ir.IntType(64)
_range: _Any = cgutils.for_range
_alloca: _Any = cgutils.alloca_once_value

_NIBBLE_ENDS = 0x77777777
_NIBBLES = 0x11111111
# Excess of adding the bits of eight sums with ROUNDER, each four higher; codes count from zero.
_EXCESS = (0x88888888 - sum(0x4B400000 << 4 * i for i in range(_ROWS))) % 2**32


def _ints(n: int) -> _Any:
    return ir.Constant(_INTS, [n] * _WIDTH)


def _floats(x: float) -> _Any:
    return ir.Constant(_FLOATS, [x] * _WIDTH)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns of a vector while code for them is generated.

    Attributes:
        builder: Builder of the code.
        scale: Their scales where values are int8.
        step: Their steps.
        shift: Their zero points as signed codes.
        least: Least signed code, as many times.
        sums: Addresses of the sums of x*x, e*e and x*e, of the codes at an end, and of the nonzero
            values whose code means zero.
    """

    builder: _Any
    scale: _Any | None
    step: _Any
    shift: _Any
    least: float
    sums: Sequence[_Any]

    def add(self, which: int, terms: _Any) -> None:
        """Add to a sum."""
        builder = self.builder
        add = builder.fadd if terms.type == _FLOATS else builder.add
        builder.store(add(builder.load(self.sums[which]), terms), self.sums[which])

    def row(self, values: _Any, column: _Any, block: _Any, i: int) -> _Any:
        """Generate the values of a row of a block."""
        builder, coded = self.builder, self.scale is not None
        kind, size = (_BYTES, 1) if coded else (_FLOATS, 4)
        first = builder.udiv(column, ir.Constant(_WORD, 4 // size))
        block = builder.mul(block, ir.Constant(_WORD, size * _ROWS * LANES))
        place = _place(builder, values, builder.add(first, block), size * LANES * i, kind)
        values = builder.load(place, align=size)
        return builder.fmul(builder.sitofp(values, _FLOATS), self.scale) if coded else values

    def code(self, x: _Any) -> _Any:
        """Generate the code of a row plus `ROUNDER`, and add its errors to the sums."""
        b = self.builder
        low, high = _floats(self.least), _floats(-1 - self.least)
        t = b.fadd(b.fdiv(x, self.step), self.shift)
        t = b.select(b.fcmp_ordered(">", t, low), t, low)
        t = b.select(b.fcmp_ordered("<", t, high), t, high)
        code = b.fadd(t, _floats(float(ROUNDER)))
        zero = b.fadd(_floats(float(ROUNDER)), self.shift)  # exact: both are integers
        e = b.fsub(x, b.fmul(b.fsub(code, zero), self.step))
        for which, terms in enumerate((b.fmul(x, x), b.fmul(e, e), b.fmul(x, e))):
            self.add(which, terms)
        return code

    def vanished(self, x: _Any) -> _Any:
        """Generate -1 where a value is zero."""
        return self.builder.sext(self.builder.fcmp_ordered("==", x, _floats(0)), _INTS)

    def word(self, rows: Sequence[_Any]) -> _Any:
        """Generate the words of eight rows."""
        b = self.builder
        word, nothing = _ints(_EXCESS), _ints(0)
        for i, x in enumerate(rows):
            bits = b.bitcast(self.code(x), _INTS)
            word = b.add(word, b.shl(bits, _ints(4 * i)))
            nothing = b.add(nothing, self.vanished(x))
        zero = b.fptosi(b.fsub(self.shift, _floats(self.least)), _INTS)
        zeros = b.mul(zero, _ints(_NIBBLES))
        inner = b.and_(b.xor(word, b.lshr(word, _ints(1))), _ints(_NIBBLE_ENDS))
        self.add(3, b.sub(_ints(_ROWS), self.others(inner)))
        moved = b.sub(_ints(_ROWS), self.others(b.xor(word, zeros)))
        self.add(4, b.add(moved, nothing))
        return word

    def others(self, bits: _Any) -> _Any:
        """Generate the number of nonzero nibbles of a word."""
        b = self.builder
        for by, mask in ((1, 0x77777777), (2, 0x33333333)):
            bits = b.or_(bits, b.and_(b.lshr(bits, _ints(by)), _ints(mask)))
        return b.lshr(b.mul(b.and_(bits, _ints(_NIBBLES)), _ints(_NIBBLES)), _ints(28))

    def octet(self, x: _Any) -> _Any:
        """Generate the codes of a row, a byte each."""
        b = self.builder
        code = self.code(x)
        q = b.fsub(code, _floats(float(ROUNDER)))
        low = b.fcmp_ordered("==", q, _floats(self.least))
        high = b.fcmp_ordered("==", q, _floats(-1 - self.least))
        self.add(3, b.zext(b.or_(low, high), _INTS))
        gone = b.and_(b.fcmp_ordered("==", q, self.shift), b.fcmp_unordered("!=", x, _floats(0)))
        self.add(4, b.zext(gone, _INTS))
        return b.trunc(b.sub(b.bitcast(code, _INTS), _ints(int(self.least))), _BYTES)


def _encoding(bits: int) -> Callable[..., tuple[_Any, _Any]]:
    """Return the generator of code that encodes with so many bits."""

    def encode(
        _typing: _Any,
        values: _Any,
        _at: _Any,
        _blocks: _Any,
        scale: _Any,
        choice: _Any,
        tally: _Any,
        codes: _Any,
        raw: _Any,
        _ahead: _Any,
        _pitch: _Any,
    ) -> tuple[_Any, _Any]:
        def write(context: _Any, builder: _Any, signature: _Any, arguments: _Any) -> _Any:
            kinds, zero = signature.args, ir.Constant(_WORD, 0)
            at, count, ahead, pitch = (arguments[k] for k in (1, 2, 8, 9))
            values, scale, choice, tally, out, raw = (
                pointer(context, builder, kinds[k], arguments[k], place)
                for k, place in ((0, at), *((k, zero) for k in range(3, 7)), (7, ahead))
            )
            coded = kinds[0].dtype == types.int8
            with _range(builder, ir.Constant(_WORD, LANES // _WIDTH)) as columns:
                at = builder.mul(columns.index, ir.Constant(_WORD, 4 * _WIDTH))
                starts = [
                    *(_place(builder, choice, at, 4 * LANES * k, _FLOATS) for k in range(5)),
                    *(_place(builder, tally, at, 4 * LANES * k, _INTS) for k in range(2)),
                ]
                step, shift, *found = (builder.load(start, align=4) for start in starts)
                sums = [_alloca(builder, value) for value in found]
                factor = builder.load(_place(builder, scale, at, 0, _FLOATS), align=4)
                own = _Columns(
                    builder, factor if coded else None, step, shift, -float(1 << bits - 1), sums
                )
                with _range(builder, count) as blocks:
                    for k in range(_FETCHED):
                        part = builder.mul(columns.index, ir.Constant(_WORD, _FETCHED))
                        part = builder.add(part, ir.Constant(_WORD, k))
                        row = builder.add(builder.mul(part, count), blocks.index)
                        fetch(builder, builder.gep(raw, [builder.mul(row, pitch)]))
                    _encode_rows(own, values, out, at, blocks.index, bits)
                for start, value in zip(starts[2:], sums, strict=True):
                    builder.store(builder.load(value), start, align=4)
            return context.get_dummy_value()

        integer = types.intp
        arrays = choice, tally, codes, raw
        return types.void(values, integer, integer, scale, *arrays, integer, integer), write

    return encode


def _place(builder: _Any, start: _Any, at: _Any, beyond: int, kind: _Any) -> _Any:
    """Generate the address of a vector, some bytes beyond a place."""
    at = builder.add(at, ir.Constant(_WORD, beyond))
    return builder.bitcast(builder.gep(start, [at]), kind.as_pointer())


def _encode_rows(
    own: _Columns, values: _Any, out: _Any, column: _Any, block: _Any, bits: int
) -> None:
    """Generate the codes of a block of eight rows."""
    builder = own.builder
    rows = [own.row(values, column, block, i) for i in range(_ROWS)]
    if bits == 4:  # noqa: PLR2004
        at = builder.add(column, builder.mul(block, ir.Constant(_WORD, 4 * LANES)))
        builder.store(own.word(rows), _place(builder, out, at, 0, _INTS), align=4)
        return
    at = builder.add(
        builder.lshr(column, ir.Constant(_WORD, 2)),
        builder.mul(block, ir.Constant(_WORD, _ROWS * LANES)),
    )
    for i, x in enumerate(rows):
        builder.store(own.octet(x), _place(builder, out, at, i * LANES, _BYTES), align=1)


encode_words = cast("_Encode", intrinsic(_encoding(4)))
"""Call `encode_words(values, at, blocks, scale, choice, tally, codes, raw, ahead, pitch)` to encode
some blocks of eight rows, each to a row of words. Nothing is checked.

    values  `f32[row * LANES]`, from byte `at` on, or `i8` to be multiplied by `scale`
    scale   `f32[LANES]`
    choice  `f32[5 * LANES]`, step; zero point as a signed code; sums of x*x, e*e and x*e, added to
    tally   `i32[2 * LANES]`, codes at either end, and values that became zero, added to
    codes   Filled, `u32[blocks * LANES]`, as bytes
    raw     Any array; of as many rows as there are in the blocks, from byte `ahead` on and every
            `pitch` bytes, a line each is prefetched
"""

encode_bytes = cast("_Encode", intrinsic(_encoding(8)))
"""Call it like `encode_words`, to encode each row to a row of bytes."""
