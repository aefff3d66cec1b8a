"""Knapsack with choices: one option for each unit, so that errors are least within some bytes.

Of each unit only options on the lower convex hull of bytes and errors are worth their bytes. From
the smallest options on, the step that saves most error for each byte comes next, as long as it
fits. Steps that are cut where the bytes end give the least error that any choice could have, by
which the gap is known. What is left is filled with the options that save most.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Option:
    """Option of a unit.

    Attributes:
        nbytes: Bytes that it takes.
        error: Error that it leaves.
    """

    nbytes: int
    error: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Choice of an option for each unit.

    Attributes:
        options: Index of the option of each unit.
        nbytes: Bytes of all.
        error: Sum of their errors.
        bound: Error that no choice within the same bytes can be below.
    """

    options: tuple[int, ...]
    nbytes: int
    error: float
    bound: float


def smallest(units: Sequence[Sequence[Option]]) -> Choice:
    """Choose the smallest option of each unit."""
    return _made(units, [_hull(unit)[0] for unit in units], None)


def choose(units: Sequence[Sequence[Option]], nbytes: int) -> Choice | None:
    """Choose an option for each unit; None where even the smallest do not fit.

    Args:
        units: Options of each unit, at least one.
        nbytes: Bytes that all of them may take.
    """
    hulls = [_hull(unit) for unit in units]
    chosen = [hull[0] for hull in hulls]
    room = nbytes - sum(units[n][at].nbytes for n, at in enumerate(chosen))
    if room < 0:
        return None
    bound: float | None = None
    blocked: set[int] = set()
    for unit, at, taken, saved in _steps(units, hulls):
        if unit in blocked:
            continue
        if taken > room:
            if bound is None:
                bound = _error(units, chosen) - saved * room / taken
            blocked.add(unit)
            continue
        chosen[unit] = at
        room -= taken
    _fill(units, chosen, room)
    return _made(units, chosen, bound)


def _hull(unit: Sequence[Option]) -> list[int]:
    """Return the options on the lower convex hull, by bytes: each saves less for a byte."""
    hull: list[int] = []
    for at in sorted(range(len(unit)), key=lambda at: (unit[at].nbytes, unit[at].error, at)):
        if hull and unit[at].error >= unit[hull[-1]].error:
            continue
        while len(hull) > 1 and _rate(unit, hull[-2], hull[-1]) <= _rate(unit, hull[-1], at):
            hull.pop()
        hull.append(at)
    return hull


def _rate(unit: Sequence[Option], one: int, other: int) -> float:
    """Compute the error that each further byte saves between two options of a hull."""
    return (unit[one].error - unit[other].error) / (unit[other].nbytes - unit[one].nbytes)


def _steps(
    units: Sequence[Sequence[Option]], hulls: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int, int, float]]:
    """Yield the steps along all hulls, those that save most for each byte first.

    Yields:
        Unit, option after the step, bytes taken, and error saved.
    """
    steps = [
        (-_rate(unit, one, other), n, place, one, other)
        for n, (unit, hull) in enumerate(zip(units, hulls, strict=True))
        for place, (one, other) in enumerate(pairwise(hull))
    ]
    for _, n, _, one, other in sorted(steps):
        before, after = units[n][one], units[n][other]
        yield n, other, after.nbytes - before.nbytes, before.error - after.error


def _fill(units: Sequence[Sequence[Option]], chosen: list[int], room: int) -> None:
    """Take the option that saves most as long as one fits."""
    while True:
        best = min(
            (
                (option.error - unit[own].error, option.nbytes - unit[own].nbytes, n, at)
                for n, (unit, own) in enumerate(zip(units, chosen, strict=True))
                for at, option in enumerate(unit)
                if option.nbytes - unit[own].nbytes <= room and option.error < unit[own].error
            ),
            default=None,
        )
        if best is None:
            return
        _, taken, n, at = best
        chosen[n] = at
        room -= taken


def _made(units: Sequence[Sequence[Option]], chosen: Sequence[int], bound: float | None) -> Choice:
    """Return a choice; without a bound nothing could be better."""
    error = _error(units, chosen)
    nbytes = sum(unit[at].nbytes for unit, at in zip(units, chosen, strict=True))
    return Choice(tuple(chosen), nbytes, error, error if bound is None else max(bound, 0.0))


def _error(units: Sequence[Sequence[Option]], chosen: Sequence[int]) -> float:
    return sum(unit[at].error for unit, at in zip(units, chosen, strict=True))
