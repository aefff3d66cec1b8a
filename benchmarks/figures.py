"""Figures of a benchmark: what was measured in each turn, its spread, and what it must reach."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_WIDTHS = {"figure": 72, "measured": 12, "spread": 18, "to reach": 16}


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured; of two indented lines the first says of what.
        values: One for each turn.
        unit: `x` is a ratio of two things that were measured in the same turn.
        at_most: The largest median that is good enough, or None.
        at_least: The smallest, or None.
    """

    name: str
    values: tuple[float, ...]
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """The middle of the turns."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """True where the median is good enough; None where nothing was set."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return None if self.at_least is None else self.median >= self.at_least

    def line(self) -> str:
        """Columns of the table."""
        low, high = min(self.values), max(self.values)
        spread = f"{_digits(low)} to {_digits(high)}" if len(self.values) > 1 else ""
        verdict = {True: "", False: "  short", None: ""}[self.reached]
        return (
            _columns(self.name, f"{_digits(self.median)} {self.unit}", spread, self._goal())
            + verdict
        )

    def _goal(self) -> str:
        for word, bound in (("at most", self.at_most), ("at least", self.at_least)):
            if bound is not None:
                return f"{word} {bound:g} {self.unit}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Everything, with the median and the verdict."""
        return {**dataclasses.asdict(self), "median": self.median, "reached": self.reached}


def tell(
    name: str, values: Sequence[float] | float, unit: str = "", **bounds: float | None
) -> None:
    """Print a figure for the process that asked for it, as a line of JSON."""
    turns = (values,) if isinstance(values, float | int) else tuple(values)
    print(json.dumps(dataclasses.asdict(Figure(name, turns, unit, **bounds))), flush=True)


class Table:
    """All figures of a run, printed as they come."""

    def __init__(self) -> None:
        self.figures: list[tuple[str, Figure]] = []
        self.missing: dict[str, str] = {}
        print(_columns(*_WIDTHS), flush=True)

    def add(self, part: str, figure: Figure) -> None:
        """Take one and print it."""
        self.figures.append((part, figure))
        print(figure.line(), flush=True)

    def leave_out(self, part: str, reason: str) -> None:
        """Name a part that was not measured, and why."""
        self.missing[part] = reason
        print(f"{part}: not measured: {reason}", flush=True)

    def close(self, seconds: float) -> None:
        """Print how many figures reached what they must."""
        judged = [figure for _, figure in self.figures if figure.reached is not None]
        good = sum(1 for figure in judged if figure.reached)
        print(
            f"\n{good} of {len(judged)} figures reach what they must;"
            f" {len(self.figures)} in all, in {seconds:.0f} s"
        )

    def write(self, path: Path, about: dict[str, Any]) -> None:
        """Write all figures as JSON."""
        figures = [{"part": part, **figure.to_json()} for part, figure in self.figures]
        document = {**about, "figures": figures, "not_measured": self.missing}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _columns(*texts: str) -> str:
    first, *rest = zip(texts, _WIDTHS.values(), strict=True)
    return f"{first[0]:<{first[1]}}" + "".join(f" {text:>{width}}" for text, width in rest)


def _digits(value: float) -> str:
    """Three digits that count."""
    for bound, places in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= bound:
            return f"{value:.{places}f}"
    return f"{value:.3f}"
