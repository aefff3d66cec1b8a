"""Tolerance between formats: how far values may be apart, and how far they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.arrays import contiguous
from grokpack.core.tensors import DType
from grokpack.kernels import tile_distances
from grokpack.kernels.dispatch import twin
from grokpack.kernels.fp4_blocks import NV_BLOCK

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import Shape, TensorSpec
    from grokpack.evaluation.network.matrices import CodedBand
    from grokpack.kernels.dispatch import Implementation

_STEPPED = {2: 16, 3: 16, 6: 16}
"""Inputs that share a step in a GGUF's types of so many bits; 32 in all others."""
_OCTET = 8
_ROWS = 1024  # compared at a time, as many as a tile has; blocks and most groups are not cut
_SLACK = 1.02  # of half a step: ggml rounds scale and minimum after it chose the codes
_LARGEST_STEP = {"mxfp4": 4, "nvfp4": 4, "iq4_nl": 24 / 11, "iq4_xs": 24 / 11}
"""Largest distance of neighbouring levels, over the smallest: from 4 to 6, and from 0 to 0.5, in
four-bit floats; from 89 to 113, and from -10 to 1, in ggml's IQ4."""
_HALF_ULP = {DType.BF16: (2.0**-8, 2.0**-134), DType.F16: (2.0**-11, 2.0**-25)}
"""Half the distance of neighbours, over the power of two below a value; the least there is."""
_CODE_ULP = {DType.F8_E4M3: (2.0**-3, 2.0**-17), DType.F8_E5M2: (2.0**-2, 2.0**-31)}
"""Half the distance of neighbouring codes, over the power of two below a value, which is up to half
of that below the code; the least there is, over the largest value."""


@dataclass(frozen=True, slots=True)
class Form:
    """Form of a stored tensor, which decides how its values were rounded.

    Attributes:
        narrow: The dtype that each value was rounded to by itself; None where none was.
        bits: Of codes that were requantized after the release; None where there are none: the
            release's own codes are exact.
        block: Inputs that share a step which only the values show; None where scales show it.
        floats: Format of codes that are four-bit floats or other levels that are not equally far
            apart; None for integers.
    """

    narrow: DType | None = None
    bits: int | None = None
    block: int | None = None
    floats: str | None = None

    @property
    def title(self) -> str:
        """Description of the rounding, for people; empty for exact values."""
        if self.bits is not None:
            return f"half a step of {self.floats or f'{self.bits} bits'}"
        return "" if self.narrow is None else f"one rounding to {self.narrow.label}"

    @property
    def half_step(self) -> float:
        """Half of the largest step, in steps between the smallest codes, with some slack."""
        assert self.bits is not None  # noqa: S101  # only codes have steps
        largest = 1 if self.floats is None else _LARGEST_STEP[self.floats]
        return largest * (_SLACK / 2 + 2.0 ** (self.bits - 10))


def form_of(checkpoint: Checkpoint, tensor: TensorSpec, requantized: Container[str]) -> Form:
    """Return the form in which a checkpoint holds a tensor.

    Args:
        checkpoint: Whose tensor it is.
        tensor: The tensor.
        requantized: Tensors whose codes were requantized, by the checkpoint's own manifest: codes
            of the release's form do not show it.
    """
    bits, dtype = checkpoint.bits.get(tensor.name), tensor.values.dtype
    packing = checkpoint.float_packings.get(tensor.name)
    if packing is not None:
        return Form(packing.codes.dtype)
    floats = checkpoint.floats.get(tensor.name)
    if bits is not None and tensor.scales is None:
        unsigned = checkpoint.packings.get(tensor.name)
        block = _STEPPED.get(bits, 32) if unsigned is None else unsigned.per_group
        block = NV_BLOCK if floats == "nvfp4" else block
        return Form(bits=bits, block=block, floats=floats)
    if dtype is DType.I8:
        bits = bits or (_OCTET if tensor.name in requantized else None)
        return Form(bits=bits, floats=floats)
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
    band: CodedBand | None = None
    corner: tuple[int, int] = (0, 0)

    @property
    def has_steps(self) -> bool:
        """True if codes were requantized, so that values are whole steps apart."""
        return self.form.bits is not None

    def rows(self, first: int, last: int) -> Side:
        """Return some inputs of the part."""
        corner = self.corner[0] + first, self.corner[1]
        return replace(self, values=self.values[first:last], corner=corner)

    def row_major(self, implementation: Implementation) -> Side:
        """Return the part with outputs side by side, as parts are compared."""
        values = twin(tile_distances.row_major, implementation)(self.values)
        return replace(self, values=values)


@dataclass(frozen=True, slots=True)
class Distance:
    """Distance of a part of a matrix from its counterpart.

    Attributes:
        elements: Number of compared values.
        differing: Number of values that are not equal.
        beyond: Number of values further apart than both forms allow.
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


def measure_distance(one: Side, other: Side, implementation: Implementation = "numpy") -> Distance:
    """Compare two parts, `f32[in, out]` each.

    Args:
        one: A part.
        other: Its counterpart.
        implementation: Implementation of the kernel.
    """
    made = []
    for first in range(0, len(one.values), _ROWS):
        ours, theirs = (side.rows(first, first + _ROWS) for side in (one, other))
        made.append(_distance(ours, theirs, first, implementation))
    found = merge_distances(made)
    return found if found.differing else Distance(found.elements)


def merge_distances(distances: Sequence[Distance]) -> Distance:
    """Merge the distances of parts; sums are exact, so the order does not matter."""
    elements, differing, beyond, judged = (
        sum(getattr(one, key) for one in distances)
        for key in ("elements", "differing", "beyond", "judged")
    )
    squares, errors, allowed = (
        math.fsum(getattr(one, key) for one in distances)
        for key in ("squares", "errors", "allowed")
    )
    largest = max(one.largest for one in distances)
    first = min((one.at for one in distances if one.at is not None), default=None)
    return Distance(elements, differing, beyond, judged, squares, errors, allowed, largest, first)


def _distance(one: Side, other: Side, row: int, implementation: Implementation) -> Distance:
    """Compare some inputs of two parts; `row` is the first of them."""
    size, columns = one.values.size, one.values.shape[1]
    if _begin_equal(one, other) or one.has_steps or other.has_steps:
        one, other = one.row_major(implementation), other.row_major(implementation)
        if _begin_equal(one, other) and np.array_equal(one.values, other.values):
            return Distance(size)
    ours, theirs = _steps(one, implementation), _steps(other, implementation)
    steps, groups = (ours.half, theirs.half), np.stack((ours.groups, theirs.groups))
    factors, least = _roundings(one, other)
    sums = np.empty((5, columns), np.float32)
    measure = twin(tile_distances.measure, implementation)
    with np.errstate(invalid="ignore", over="ignore"):
        differing, beyond, first = measure(
            one.values, other.values, steps, groups, factors, least, sums
        )
    squares, errors, *roundings = _totals(one.values, other.values, sums)
    return Distance(
        elements=size,
        differing=differing,
        beyond=beyond,
        judged=size,
        squares=squares,
        errors=errors,
        allowed=math.fsum((*roundings, ours.squares, theirs.squares)) / 3,
        largest=float(sums[4].max()),
        at=(row + first // columns, first % columns) if beyond else None,
    )


def _begin_equal(one: Side, other: Side) -> bool:
    """Return whether two parts have equal first inputs; most that are not equal do not."""
    return np.array_equal(one.values[:1], other.values[:1])


def _totals(one: np.ndarray, other: np.ndarray, sums: np.ndarray) -> list[float]:
    """Sum up all columns; NaN and infinity count as zero."""
    if np.isfinite(sums[:4]).all():
        totals: list[float] = sums[:4].sum(axis=1, dtype=np.float64).tolist()
        return totals
    one, other = contiguous(one), contiguous(other)  # sums are in the order of rows
    with np.errstate(invalid="ignore", over="ignore"):
        squares = [float(_finite_squares(values).sum()) for values in (one, one - other)]
    roundings = np.nan_to_num(sums[2:4], posinf=0)
    return [*squares, *roundings.sum(axis=1, dtype=np.float64).tolist()]


def _roundings(one: Side, other: Side) -> np.ndarray:
    """Return factors and least errors of roundings for `tile_distances.measure`, `f32[2, 2]`.

    They are zero if both sides were rounded to the same dtype, without scales: then their values
    must be equal.
    """
    made = np.zeros((2, 2), np.float32)
    alike = one.form.narrow is other.form.narrow
    for at, side in enumerate((one, other)):
        dtype = side.form.narrow
        if dtype in _CODE_ULP:
            largest = np.abs(side.values).max(initial=0)
            made[:, at] = _CODE_ULP[dtype] * np.array((_SLACK, largest), np.float32)
        elif dtype is not None and not alike:
            made[:, at] = _HALF_ULP[dtype]
    return made


@dataclass(frozen=True, slots=True)
class _Steps:
    """Half a step of each group of codes, and what rounding to bfloat16 may add.

    Attributes:
        half: `f32[group, out]`; no group where a side has no requantized codes.
        groups: The group of each input, `i64[in]`.
    """

    half: np.ndarray
    groups: np.ndarray

    @property
    def squares(self) -> float:
        """Sum of squares over all values."""
        if not self.half.size:
            return 0.0
        counts = np.bincount(self.groups, minlength=len(self.half))[: len(self.half)]
        return float(counts @ _finite_squares(self.half).sum(axis=1))


def _steps(side: Side, implementation: Implementation) -> _Steps:
    """Compute half the steps of a row-major part."""
    rows, columns = side.values.shape
    if side.form.bits is None:
        return _Steps(np.empty((0, columns), np.float32), np.zeros(rows, np.int64))
    band, scales = side.band, None if side.band is None else side.band.scales
    if band is None or scales is None:
        block = math.gcd(rows, side.form.block or rows)
        groups = np.arange(rows) // block
        steps = _told_by_values(side.values, block, implementation)
    else:
        row, column = side.corner
        groups = (band.first + row + np.arange(rows)) // band.per_group
        own = scales.T if band.transposed else scales
        steps = np.abs(own[groups[0] : groups[-1] + 1, column : column + columns])
        groups = groups - groups[0]
    return _Steps(contiguous(steps * np.float32(side.form.half_step)), groups)


def _told_by_values(values: np.ndarray, block: int, implementation: Implementation) -> np.ndarray:
    """Compute the least distance between unequal values of a block, `f32[block, out]`."""
    found = np.empty((len(values) // block, values.shape[1]), np.float32)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        twin(tile_distances.least_distances, implementation)(values, block, found)
    return np.where(np.isfinite(found), found, np.float32(0))


def _finite_squares(values: np.ndarray) -> np.ndarray:
    """Square values, `f64[...]`; NaN and infinity count as zero."""
    made: np.ndarray = np.square(np.nan_to_num(values, posinf=0, neginf=0), dtype=np.float64)
    return made
