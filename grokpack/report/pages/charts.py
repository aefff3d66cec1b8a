"""Charts of a page, as data: `chart_gallery` has them drawn."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Bars:
    """Lengths side by side, each with its name, of one piece or of several end to end.

    Attributes:
        title: What is compared.
        axis: Quantity and unit.
        names: A name for each bar, from above.
        pieces: Length of each bar's piece, by the name of the pieces.
        labels: Text at the end of each.
        limit: Name and length of what no bar should pass.
    """

    title: str
    axis: str
    names: Sequence[str]
    pieces: Mapping[str, Sequence[float]]
    labels: Sequence[str]
    limit: tuple[str, float] | None = None

    def lengths(self) -> list[float]:
        """Return the length of each bar."""
        return list(map(sum, zip(*self.pieces.values(), strict=True)))

    def described(self) -> str:
        """Say in words what is drawn."""
        rows = zip(self.names, self.lengths(), self.labels, strict=True)
        said = [f"{name}: {length:.3g}, {label}" for name, length, label in rows]
        said += [] if self.limit is None else ["{}: {:.3g}".format(*self.limit)]
        return "; ".join(said)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of values by bin.

    Attributes:
        title: Which values.
        axis: Quantity and unit along the bins.
        counted: What is counted, as the other axis names it: `weights`.
        edges: Edges of the bins, one more than counts.
        counts: Values in each bin.
        labels: A label for each edge that is not drawn at its own value.
    """

    title: str
    axis: str
    counted: str
    edges: Sequence[float]
    counts: Sequence[int]
    labels: Sequence[str] = ()

    def bins(self) -> list[str]:
        """Name each bin by its edges."""
        named = self.labels or [f"{edge:g}" for edge in self.edges]
        return [f"{low} to {high}" for low, high in itertools.pairwise(named)]

    def described(self) -> str:
        """Say in words what is drawn."""
        total = sum(self.counts)
        count, name = max(zip(self.counts, self.bins(), strict=True), key=itemgetter(0))
        return f"{total:,} {self.counted}; the largest bin, {name}, has {count / (total or 1):.1%}"


@dataclass(frozen=True, slots=True)
class Series:
    """Values along an axis, under one name.

    Attributes:
        name: Its name in the legend.
        values: A value for each position; None where there is none.
        limit_of: Name of the series whose limit this is, drawn dashed in its colour.
    """

    name: str
    values: Sequence[float | None]
    limit_of: str | None = None


@dataclass(frozen=True, slots=True)
class Lines:
    """Values by position, on a logarithmic scale or a linear one that begins at zero.

    Attributes:
        title: What is drawn.
        along: Quantity of the positions, which count from 0: `layer`.
        axis: Quantity and unit of the values.
        series: Values by name.
        logarithmic: Whether the scale is logarithmic; zeros are then left out.
    """

    title: str
    along: str
    axis: str
    series: Sequence[Series]
    logarithmic: bool = True

    def measured(self) -> list[Series]:
        """Return the series that are no limits."""
        return [series for series in self.series if series.limit_of is None]

    def placed(self, series: Series) -> list[float]:
        """Return the values of a series; NaN for those that have no place on the scale."""
        least = 0.0 if self.logarithmic else -math.inf
        return [math.nan if v is None or v <= least else v for v in series.values]

    def described(self) -> str:
        """Say in words what is drawn."""
        return "; ".join(map(self._range, self.series))

    def _range(self, series: Series) -> str:
        known = [value for value in self.placed(series) if not math.isnan(value)]
        if not known:
            return f"{series.name}: nothing above zero"
        return f"{series.name}: from {min(known):.3g} to {max(known):.3g}"


@dataclass(frozen=True, slots=True)
class Points:
    """Two quantities of named things, the second on a logarithmic scale.

    Attributes:
        title: What is compared.
        axis: The first quantity and its unit.
        other_axis: The second.
        points: Name and both values; those without a second, or with zero, are left out.
    """

    title: str
    axis: str
    other_axis: str
    points: Sequence[tuple[str, float, float | None]]

    def placed(self) -> list[tuple[str, float, float]]:
        """Return the points that have a place on the scales."""
        return [(name, x, y) for name, x, y in self.points if y is not None and y > 0]

    def described(self) -> str:
        """Say in words what is drawn."""
        return "; ".join(f"{name}: {x:.3g}, {y:.3g}" for name, x, y in self.placed()) or "nothing"


Chart = Bars | Histogram | Lines | Points
