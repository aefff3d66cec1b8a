"""Formatting of numbers: decimal units, counts, short durations; and of JSON on one line."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def finite(value: float) -> float | None:
    """Return a number that JSON can hold; None for an infinite one."""
    return value if math.isfinite(value) else None


def duration(seconds: float) -> str:
    """Format seconds: `0.6 s`, `1m51s`, `2h05m`."""
    if seconds < 60:  # noqa: PLR2004  # a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004  # an hour
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def one_line_json(document: Mapping[str, Any]) -> str:
    """Format a JSON object on one line, to be pasted."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def ranges(numbers: Iterable[int]) -> str:
    """Format ordered numbers, with ranges: `1-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def others(number: int, noun: str) -> str:
    """Count what is not shown: `and 1 tensor more`, `and 24 tensors more`."""
    return f"and {counted(number, noun)} more"


def byte_rate(bytes_per_s: float) -> str:
    """Format bytes per second: `1.31 GB/s`."""
    return f"{byte_size(bytes_per_s)}/s"


def parameter_count(parameters: int) -> str:
    """Format a count: `315.68 B`, `5.64 M`."""
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= scale:
            return f"{parameters / scale:.2f} {unit}"
    return str(parameters)
