"""Ranges of numbered names, `tensor00301_000 to tensor00769_000`, in place of every name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGITS = re.compile(r"(\d+)")


def name_ranges(names: Iterable[str]) -> list[str]:
    """Put names together that differ in one number, which grows by one from each to the next."""
    runs: list[list[str]] = []
    place: int | None = None
    for name in names:
        step = _step(runs[-1][-1], name) if runs else None
        if step is not None and (len(runs[-1]) == 1 or step == place):
            runs[-1].append(name)
            place = step
        else:
            runs.append([name])
    return [run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]


def _step(one: str, other: str) -> int | None:
    """Return which part of two names is a number and its successor; None if that is not all."""
    before, after = _DIGITS.split(one), _DIGITS.split(other)
    if len(before) != len(after):
        return None
    unlike = [
        number for number, pair in enumerate(zip(before, after, strict=True)) if len({*pair}) > 1
    ]
    if len(unlike) != 1 or unlike[0] % 2 == 0:  # digits are the odd parts
        return None
    (number,) = unlike
    return number if int(after[number]) == int(before[number]) + 1 else None
