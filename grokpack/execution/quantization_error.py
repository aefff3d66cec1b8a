"""Error statistics of a quantization: exact, by tensor, however the work was cut.

The kernels give for each group the sums of x^2, e^2 and x * e in float32, where x is a weight and e
its error. A float32 is an integer m times 2^k, so that one integer sum for each exponent adds them
exactly: the result does not depend on order, threads, tiles or interruptions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.core.tiles import TILE_BYTES
from grokpack.kernels.dispatch import Implementation, twin
from grokpack.kernels.group_errors import HISTOGRAM_BINS, HISTOGRAM_EDGES, tally_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.documents.plan_json import AccountJson, AccountsJson
    from grokpack.models.family import Model
    from grokpack.transforms.quantized_rows import GroupErrors, QuantizedRows

    StatsByTensor = Mapping[str, "ErrorStats"]
    """By tensor."""

_SUMS = 3
_UNIT = 150  # a float32 is m * 2^(exponent bits - 150); bits of zero count as one
_GROUPS, _ZERO, _EXACT, _BAD, _ENDS, _GONE = range(6)  # of the totals that the kernel counts


@dataclass(slots=True)
class ErrorStats:
    """Error sums of some groups, in the arrays of `kernels.group_errors.tally_groups`.

    Attributes:
        weights: Weights in all of them.
        powers: Exact sums of x^2, e^2 and x * e, `i64[3, exponent]`.
        totals: Counts of groups, of groups of zeros, without error and not finite, of codes at an
            end of their range, and of weights that became zero.
        worst: The largest e^2 / x^2 of a group, `f32[1]`.
        bins: Groups by e^2 / x^2, four bins an octave.
    """

    weights: int = 0
    powers: np.ndarray = field(default_factory=lambda: np.zeros((_SUMS, 256), np.int64))
    totals: np.ndarray = field(default_factory=lambda: np.zeros(6, np.int64))
    worst: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    bins: np.ndarray = field(default_factory=lambda: np.zeros(HISTOGRAM_BINS, np.int64))

    def add(self, groups: GroupErrors, implementation: Implementation = "numpy") -> None:
        """Count groups.

        Args:
            groups: Their errors.
            implementation: Implementation of the kernel.
        """
        self.weights += groups.weights
        twin(tally_groups, implementation)(
            np.ascontiguousarray(groups.sums),
            np.ascontiguousarray(groups.counts),
            self.powers,
            self.totals,
            self.worst,
            self.bins,
        )

    def merge(self, other: ErrorStats) -> None:
        """Add the groups of other statistics."""
        self.weights += other.weights
        self.powers += other.powers
        self.totals += other.totals
        self.worst = np.maximum(self.worst, other.worst)
        self.bins += other.bins

    def exact_totals(self) -> tuple[Fraction, Fraction, Fraction]:
        """Compute the exact sums of x^2, e^2 and x * e."""
        squares, errors, products = (
            Fraction(sum(int(m) << int(e) for e, m in enumerate(row) if m), 1 << _UNIT)
            for row in self.powers
        )
        return squares, errors, products

    def figures(self) -> AccountJson:
        """Compute the figures that people ask for, as JSON values: ratios, decibels, shares.

        `relative_error` is the root of e^2 / x^2, `sqnr_db` the same in decibels, `cosine` that of
        the angle between weights and what they became, `worst_group` the largest relative error.
        """
        squares, errors, products = self.exact_totals()
        zero = int(self.totals[_ZERO])
        counted: AccountJson = {
            "weights": self.weights,
            "groups": int(self.totals[_GROUPS]) - zero,
            "zero_groups": zero,
        }
        if not squares:
            return counted
        ratio = float(errors / squares)
        made = squares - 2 * products + errors
        norms = math.sqrt(float(squares) * float(made))
        return {
            **counted,
            "relative_error": _short(math.sqrt(ratio)),
            "sqnr_db": round(-10 * math.log10(ratio), 3) if ratio else None,
            "cosine": round(float(squares - products) / norms, 9) if norms else 0.0,
            "worst_group": _short(math.sqrt(self.worst[0])),
            "saturated_share": _short(int(self.totals[_ENDS]) / self.weights),
            "zeroed_share": _short(int(self.totals[_GONE]) / self.weights),
            "histogram_db": {str(db): n for db, n in sorted(self._by_decibel().items())},
        }

    def _by_decibel(self) -> dict[int, int]:
        """Count groups by signal-to-noise ratio in whole decibels, those without error left out."""
        found: dict[int, int] = {}
        for index in np.flatnonzero(self.bins).tolist():
            edge = HISTOGRAM_EDGES[index] or HISTOGRAM_EDGES[index + 1]
            decibel = math.floor(-10 * math.log10(edge))
            found[decibel] = found.get(decibel, 0) + int(self.bins[index])
        return found

    def to_json(self) -> list[Any]:
        """Convert to JSON values."""
        sparse = [{str(e): int(row[e]) for e in np.flatnonzero(row)} for row in self.powers]
        bins = {str(i): int(self.bins[i]) for i in np.flatnonzero(self.bins)}
        return [self.weights, self.totals.tolist(), float(self.worst[0]), sparse, bins]

    @classmethod
    def from_json(cls, row: list[Any]) -> ErrorStats:
        """Restore from the values that `to_json` gave."""
        weights, totals, worst, sparse, bins = row
        statistics = cls(weights)
        statistics.totals[:], statistics.worst[0] = totals, worst
        for power, sums in zip(statistics.powers, sparse, strict=True):
            for exponent, total in sums.items():
                power[int(exponent)] = total
        for index, count in bins.items():
            statistics.bins[int(index)] = count
        return statistics


def document(by_tensor: StatsByTensor, model: Model) -> AccountsJson:
    """Make figures by role and by tensor, as JSON values that do not depend on the run's order."""
    entries = model.by_name()
    roles: dict[str, ErrorStats] = {}
    for name, own in by_tensor.items():
        roles.setdefault(entries[name].rule.role, ErrorStats()).merge(own)
    ordered = sorted(by_tensor, key=lambda name: entries[name].index)
    return {
        "roles": {role: roles[role].figures() for role in sorted(roles, reverse=True)},
        "tensors": {name: by_tensor[name].figures() for name in ordered},
    }


def _short(ratio: float) -> float:
    """Round to six digits: enough for people, and the same text on every machine."""
    return float(f"{ratio:.6g}")


class TileErrorStats:
    """Error statistics of the tiles of a task, by tile and tensor."""

    def __init__(self, implementation: Implementation = "numpy") -> None:
        self._implementation: Implementation = implementation
        self._tiles: dict[int, dict[str, ErrorStats]] = {}

    def from_byte(self, begins: int) -> ArrayErrorStats:
        """Return the statistics of the array that begins at a byte of the file."""
        return ArrayErrorStats(self._tiles, begins, self._implementation)

    def tiles(self, first: int, last: int) -> tuple[StatsByTensor, ...]:
        """Return the statistics of tiles `first` to `last`; none if nothing was quantized."""
        found = tuple(self._tiles.get(tile, {}) for tile in range(first, last))
        return found if any(found) else ()


@dataclass(frozen=True, slots=True)
class ArrayErrorStats:
    """Error statistics of one array, to which its groups are added."""

    tiles: dict[int, dict[str, ErrorStats]]
    begins: int
    implementation: Implementation

    def enter(self, rows: QuantizedRows, row_at: int, run: tuple[int, int]) -> None:
        """Count each group of these rows in the tile in which its first row begins.

        Args:
            rows: Rows with their groups.
            row_at: Byte of the array at which its first row begins.
            run: First and last byte of the array that this run makes; rows that begin outside it
                are another's to count.
        """
        row_bytes = rows.values.nbytes // len(rows.values)
        start = self.begins + max(row_at, run[0])
        stop = self.begins + min(row_at + rows.values.nbytes, run[1])
        origin = self.begins + row_at
        for tile in range(start // TILE_BYTES, -(-stop // TILE_BYTES)):
            low = max(start, tile * TILE_BYTES) - origin
            high = min(stop, (tile + 1) * TILE_BYTES) - origin
            groups = rows.cut(-(-low // row_bytes), -(-high // row_bytes))
            if groups.sums.size:
                own = self.tiles.setdefault(tile, {}).setdefault(rows.tensor, ErrorStats())
                own.add(groups, self.implementation)
