"""Tolerance between formats: how far values may be apart, and how far they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.arrays import dense
from grokpack.core.tensors import DType
from grokpack.kernels import agreement
from grokpack.kernels.dispatch import twin

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import Shape, TensorSpec
    from grokpack.evaluation.network.matrices import CodedBlock
    from grokpack.kernels.dispatch import Engine

_BLOCK = 32  # inputs in a block of any quantized type of a GGUF, or in a part of it with a step
_OCTET = 8
_ROWS = 128  # compared at a time; blocks and the groups of most formats are not cut
_SLACK = 1.02  # of half a step: ggml rounds scale and minimum after it chose the codes
_HALF_ULP = {DType.BF16: (2.0**-8, 2.0**-134), DType.F16: (2.0**-11, 2.0**-25)}
"""Half the distance of neighbours, over the power of two below a value; the least there is."""
_EXPONENT = np.uint32(0x7F800000)
_NONE = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Form:
    """Form of a stored tensor, which decides how its values were rounded.

    Attributes:
        narrow: The dtype that each value was rounded to by itself; None where none was.
        bits: Of codes that were made anew, after the release; None where there are none: the
            release's own codes are exact.
        block: Inputs that share a step which is told from the values; None where scales tell it.
    """

    narrow: DType | None = None
    bits: int | None = None
    block: int | None = None

    @property
    def title(self) -> str:
        """Description of the rounding, for people; empty for exact values."""
        if self.bits is not None:
            return f"half a step of {self.bits} bits"
        return "" if self.narrow is None else f"one rounding to {self.narrow.label}"


def form_of(checkpoint: Checkpoint, tensor: TensorSpec, accounted: Container[str]) -> Form:
    """Return the form in which a checkpoint holds a tensor.

    Args:
        checkpoint: Whose tensor it is.
        tensor: The tensor.
        accounted: Tensors that the checkpoint's own manifest has an account of: codes of the
            release's form which were made anew do not show it.
    """
    bits, dtype = checkpoint.bits.get(tensor.name), tensor.values.dtype
    if bits is not None and tensor.scales is None:
        packing = checkpoint.packings.get(tensor.name)
        return Form(bits=bits, block=_BLOCK if packing is None else packing.per_group)
    if dtype is DType.I8:
        return Form(bits=bits or (_OCTET if tensor.name in accounted else None))
    return Form(dtype if dtype in _HALF_ULP else None)


@dataclass(frozen=True, slots=True)
class Side:
    """Part of a matrix as one checkpoint has it.

    Attributes:
        values: `f32[in, out]`.
        form: What they may have been rounded to.
        band: Where the part was cut from, for its scales; None for a small tensor.
        corner: The part's first input and output within the band.
    """

    values: np.ndarray
    form: Form
    band: CodedBlock | None = None
    corner: tuple[int, int] = (0, 0)

    def rows(self, first: int, last: int) -> Side:
        """Return some inputs of the part."""
        corner = self.corner[0] + first, self.corner[1]
        return replace(self, values=self.values[first:last], corner=corner)


@dataclass(frozen=True, slots=True)
class Gap:
    """Distance of a part of a matrix from its counterpart.

    Attributes:
        elements: Values compared.
        differing: Those that are not equal.
        beyond: Those further apart than both forms allow.
        judged: Values in parts that are not equal throughout; sums are over them.
        squares: Sum of squares of the first's values.
        errors: Sum of squared differences.
        allowed: A third of the sum of squares of what either form allows: uniform errors.
        largest: The largest absolute difference.
        at: Index of the first value beyond; None where none is.
    """

    elements: int
    differing: int = 0
    beyond: int = 0
    judged: int = 0
    squares: float = 0.0
    errors: float = 0.0
    allowed: float = 0.0
    largest: float = 0.0
    at: Shape | None = None


def gap(one: Side, other: Side, engine: Engine = "numpy") -> Gap:
    """Compare two parts, `f32[in, out]` each.

    Args:
        one: A part.
        other: Its counterpart.
        engine: Which twin of the kernel runs.
    """
    alike = _lies_straight(one.values) == _lies_straight(other.values)
    if alike and np.array_equal(one.values, other.values):
        return Gap(one.values.size)
    made = []
    for first in range(0, len(one.values), _ROWS):
        sides = one.rows(first, first + _ROWS), other.rows(first, first + _ROWS)
        pair = _lying_alike(*sides)
        made.append(_within(*pair, engine) or _gap(*pair, first))
    found = merged(made)
    return found if found.differing else Gap(found.elements)


def _within(one: Side, other: Side, engine: Engine) -> Gap | None:
    """Return the gap of parts whose values are all within tolerance, or None.

    This is the usual case: its pass over the values tells nothing of where, or how many.
    """
    turned = not _lies_straight(one.values)
    values, counterparts, *halves = (
        dense(array.T) if turned else dense(array)
        for array in (
            one.values,
            other.values,
            *(_steps(s, engine).half for s in _coded(one, other)),
        )
    )
    factors, least = np.zeros((2, 2), np.float32)
    for at, dtype in enumerate(_narrowed(one, other)):
        if dtype is not None:
            factors[at], least[at] = _HALF_ULP[dtype]
    if not (halves or factors.any()) and np.array_equal(values, counterparts):
        return Gap(values.size)
    squares = [_squares(half) for half in halves]
    sums = np.empty((5, values.shape[1]), np.float32)
    steps = _total(halves, _NONE)
    measure = twin(agreement.measure, engine)
    with np.errstate(invalid="ignore", over="ignore"):
        differing, beyond = measure(values, counterparts, steps, factors, least, sums)
    if beyond or not np.isfinite(sums).all():
        return None
    whole, errors, *roundings = sums[:4].sum(axis=1, dtype=np.float64).tolist()
    allowed = math.fsum([*roundings, *squares]) / 3
    size, largest = values.size, float(sums[4].max())
    return Gap(size, differing, 0, size, whole, errors, allowed, largest)


def merged(gaps: Sequence[Gap]) -> Gap:
    """Merge the gaps of parts; sums are exact, so the order does not matter."""
    elements, differing, beyond, judged = (
        sum(getattr(one, key) for one in gaps)
        for key in ("elements", "differing", "beyond", "judged")
    )
    squares, errors, allowed = (
        math.fsum(getattr(one, key) for one in gaps) for key in ("squares", "errors", "allowed")
    )
    largest = max(one.largest for one in gaps)
    first = min((one.at for one in gaps if one.at is not None), default=None)
    return Gap(elements, differing, beyond, judged, squares, errors, allowed, largest, first)


def _gap(one: Side, other: Side, row: int) -> Gap:
    """Compare some inputs, few enough to stay in the cache; `row` is the first."""
    unlike = one.values != other.values
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.subtract(one.values, other.values)
        np.abs(errors, out=errors)
        if not math.isfinite(float(errors.max())):
            both = np.isnan(one.values) & np.isnan(other.values)
            unlike &= ~both
            errors[~unlike] = 0  # equal infinities among them
            errors[np.isnan(errors)] = np.inf
        found = _measured(_Pair(one, other, errors), int(np.count_nonzero(unlike)))
    if found.at is None:
        return found
    return replace(found, at=(found.at[0] + row, *found.at[1:]))


def _lies_straight(values: np.ndarray) -> bool:
    """Tell whether outputs lie side by side, and not inputs."""
    return values.strides[-1] == values.itemsize


def _lying_alike(one: Side, other: Side) -> tuple[Side, Side]:
    """Return both sides in the memory order of the first, transposed once."""
    if _lies_straight(one.values) == _lies_straight(other.values):
        return one, other
    values = dense(other.values) if _lies_straight(one.values) else dense(other.values.T).T
    return one, replace(other, values=values)


def _coded(one: Side, other: Side) -> list[Side]:
    """Return the sides whose codes were made anew."""
    return [side for side in (one, other) if side.form.bits is not None]


def _narrowed(one: Side, other: Side) -> tuple[DType | None, DType | None]:
    """Return the dtypes that the sides were rounded to; None twice if these are the same."""
    narrow = one.form.narrow, other.form.narrow
    return (None, None) if narrow[0] is narrow[1] else narrow


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two parts and their absolute differences, infinite where only one side has a number."""

    one: Side
    other: Side
    errors: np.ndarray


def _measured(pair: _Pair, differing: int) -> Gap:
    coded = _coded(pair.one, pair.other)
    steps = [_steps(side, "numpy") for side in coded]
    allowances = [*_roundings(pair), *(own.half for own in steps)]
    squares = math.fsum(map(_squares, allowances))
    allowed = _total(allowances, pair.errors)
    beyond = pair.errors > allowed
    beyond |= np.isposinf(pair.errors) if np.isinf(allowed).any() else False
    count, first = int(np.count_nonzero(beyond)), None
    if count:
        for side, own in zip(coded, steps, strict=True):
            counterpart = pair.other if side is pair.one else pair.one
            beyond &= ~_clipped(side.values, counterpart.values, own.edges)
        count = int(np.count_nonzero(beyond))
        first = tuple(np.argwhere(beyond)[0].tolist()) if count else None
    return Gap(
        beyond.size,
        differing,
        count,
        beyond.size,
        _squares(pair.one.values),
        _squares(pair.errors),
        squares / 3,
        float(pair.errors.max()),
        first,
    )


def _total(allowances: Sequence[np.ndarray], like: np.ndarray) -> np.ndarray:
    """Sum up what several roundings allow; zeros if there are none."""
    if not allowances:
        return np.zeros_like(like)
    total = allowances[0]
    for more in allowances[1:]:
        total += more
    return total


def _roundings(pair: _Pair) -> Iterator[np.ndarray]:
    """Yield the largest effect of rounding each side, unless both were rounded alike."""
    sides = pair.one, pair.other
    for side, dtype in zip(sides, _narrowed(*sides), strict=True):
        if dtype is not None:
            yield _half_ulp(side.values, dtype)


def _half_ulp(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Compute half the distance between neighbours of a dtype at values `f32[...]`."""
    factor, least = _HALF_ULP[dtype]
    made: np.ndarray = (values.view(np.uint32) & _EXPONENT).view(np.float32)
    made *= np.float32(factor)
    np.maximum(made, np.float32(least), out=made)
    return made


@dataclass(frozen=True, slots=True)
class _Steps:
    """Half a step of each value, `f32[in, out]`, and the first input of each group."""

    half: np.ndarray
    edges: np.ndarray


def _steps(side: Side, engine: Engine) -> _Steps:
    """Compute half the steps of a part's codes, and what rounding to bfloat16 may add."""
    rows = len(side.values)
    band, scales = side.band, None if side.band is None else side.band.scales
    if band is None or scales is None:
        block = math.gcd(rows, side.form.block or rows)
        index = np.arange(rows) // block
        steps = _told_by_values(side.values, block, engine)
    else:
        row, column = side.corner
        index = (band.first + row + np.arange(rows)) // band.per_group
        own = scales.T if band.turned else scales
        steps = np.abs(own[index[0] : index[-1] + 1, column : column + side.values.shape[1]])
        index = index - index[0]
    assert side.form.bits is not None  # noqa: S101  # the caller has looked
    factor = np.float32(_SLACK / 2 + 2.0 ** (side.form.bits - 10))
    half = np.empty_like(side.values)
    half[...] = (steps * factor)[index]
    return _Steps(half, np.flatnonzero(np.diff(index, prepend=-1)))


def _told_by_values(values: np.ndarray, block: int, engine: Engine) -> np.ndarray:
    """Compute the least distance between unequal values of a block, `f32[block, out]`."""
    rows, columns = values.shape
    found = np.empty((columns, rows // block), np.float32)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        twin(agreement.least_distances, engine)(dense(values.T), block, found)
    return np.where(np.isfinite(found), found, np.float32(0)).T


def _clipped(values: np.ndarray, wanted: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Find values at an end of their group's range whose counterparts lie further out.

    A search for the scale with the least error cuts off what lies outside.

    Args:
        values: What codes and steps make, `f32[in, out]`.
        wanted: What they stand for.
        edges: The input with which each group begins.
    """
    sizes = np.diff(edges, append=len(values))
    top, bottom = (
        np.repeat(end.reduceat(values, edges, axis=0), sizes, axis=0)
        for end in (np.maximum, np.minimum)
    )
    found: np.ndarray = ((values >= top) & (wanted > top)) | (
        (values <= bottom) & (wanted < bottom)
    )
    return found


def _squares(values: np.ndarray) -> float:
    """Sum the squares of `f32[in, out]`; NaN counts as zero."""
    flat = values.ravel(order="K")
    total = float(np.dot(flat, flat))
    if math.isfinite(total):
        return total
    return float(np.square(np.nan_to_num(flat, posinf=0, neginf=0), dtype=np.float64).sum())
