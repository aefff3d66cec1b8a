"""The account of a quantisation: what was lost, exactly, by tensor and however the work was cut.

The kernels give for each group the sums of x^2, e^2 and x * e in float32, where x is a weight and e
its error. A float32 is an integer m times 2^k, so that one integer sum for each exponent adds them
exactly: the same account whatever the order, the threads or the tiles, also across a resumed run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.models import grok1
from grokpack.tiling import TILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.ops.measured import Measured

    Accounts = Mapping[str, "Account"]
    """By tensor."""

SUMS = 3
_EXPONENTS = 256
_BINS = 2048
"""Of the relative error e^2 / x^2 of a group, by the upper bits of its float32: four an octave."""
_BIN_SHIFT = 21
_UNIT = 150  # a float32 is m * 2^(exponent bits - 150); bits of zero count as one


@dataclass(slots=True)
class Account:
    """What was lost in some groups.

    Attributes:
        groups: How many, those of zeros only left out.
        zero_groups: Those of zeros only.
        weights: Weights in all of them.
        saturated: Codes at either end of their range.
        zeroed: Weights that are not zero and became zero.
        worst: The largest e^2 / x^2 of a group.
        powers: Exact sums of x^2, e^2 and x * e, `i64[3, exponent]`.
        bins: Groups by e^2 / x^2, `i64[bin]`.
    """

    groups: int = 0
    zero_groups: int = 0
    weights: int = 0
    saturated: int = 0
    zeroed: int = 0
    worst: float = 0.0
    powers: np.ndarray = field(default_factory=lambda: np.zeros((SUMS, _EXPONENTS), np.int64))
    bins: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    def add(self, sums: np.ndarray, counts: np.ndarray, per_group: int) -> None:
        """Count groups.

        Args:
            sums: x^2, e^2, x * e of each, `f32[3, ...]`, finite.
            counts: Codes at an end, weights that became zero, `i32[2, ...]`.
            per_group: Weights in a group.
        """
        flat = np.ascontiguousarray(sums).reshape(SUMS, -1)
        self.powers += np.stack([exact_sums(row) for row in flat])
        squares, errors = flat[0][flat[0] > 0], flat[1][flat[0] > 0]
        self.groups += len(squares)
        self.zero_groups += flat.shape[1] - len(squares)
        self.weights += flat.shape[1] * per_group
        self.saturated += int(counts[0].sum(dtype=np.int64))
        self.zeroed += int(counts[1].sum(dtype=np.int64))
        if len(squares):
            ratios = errors / squares
            self.worst = max(self.worst, float(ratios.max()))
            self.bins += np.bincount(ratios.view(np.uint32) >> _BIN_SHIFT, minlength=_BINS)

    def merge(self, other: Account) -> None:
        """Count the groups of another account as well."""
        self.groups += other.groups
        self.zero_groups += other.zero_groups
        self.weights += other.weights
        self.saturated += other.saturated
        self.zeroed += other.zeroed
        self.worst = max(self.worst, other.worst)
        self.powers += other.powers
        self.bins += other.bins

    def totals(self) -> tuple[Fraction, Fraction, Fraction]:
        """Exact sums of x^2, e^2 and x * e."""
        squares, errors, products = (
            Fraction(sum(int(m) << int(e) for e, m in enumerate(row) if m), 1 << _UNIT)
            for row in self.powers
        )
        return squares, errors, products

    def figures(self) -> dict[str, Any]:
        """What people ask for: ratios, decibels, shares; JSON values.

        `relative_error` is the root of e^2 / x^2, `sqnr_db` the same in decibels, `cosine` that of
        the angle between weights and what they became, `worst_group` the largest relative error.
        """
        squares, errors, products = self.totals()
        if not squares:
            return {"weights": self.weights, "groups": self.groups, "zero_groups": self.zero_groups}
        ratio = float(errors / squares)
        made = squares - 2 * products + errors
        cosine = (
            float(squares - products) / math.sqrt(float(squares) * float(made)) if made else 0.0
        )
        return {
            "weights": self.weights,
            "groups": self.groups,
            "zero_groups": self.zero_groups,
            "relative_error": _short(math.sqrt(ratio)),
            "sqnr_db": round(-10 * math.log10(ratio), 3) if ratio else None,
            "cosine": round(cosine, 9),
            "worst_group": _short(math.sqrt(self.worst)),
            "saturated_share": _short(self.saturated / self.weights),
            "zeroed_share": _short(self.zeroed / self.weights),
            "histogram_db": {str(db): n for db, n in sorted(self._by_decibel().items())},
        }

    def _by_decibel(self) -> dict[int, int]:
        """Groups by their own signal to noise ratio in whole decibels; exact ones at 200."""
        found: dict[int, int] = {}
        for index in np.flatnonzero(self.bins):
            low = np.array([int(index) << _BIN_SHIFT], np.uint32).view(np.float32)[0]
            decibel = min(200, math.floor(-10 * math.log10(low))) if low > 0 else 200
            found[decibel] = found.get(decibel, 0) + int(self.bins[index])
        return found

    def to_json(self) -> list[Any]:
        """All of it as JSON values."""
        sparse = [{str(e): int(row[e]) for e in np.flatnonzero(row)} for row in self.powers]
        bins = {str(i): int(self.bins[i]) for i in np.flatnonzero(self.bins)}
        counts = [self.groups, self.zero_groups, self.weights, self.saturated, self.zeroed]
        return [counts, self.worst, sparse, bins]

    @classmethod
    def from_json(cls, row: list[Any]) -> Account:
        """What `to_json` gave."""
        (groups, zero_groups, weights, saturated, zeroed), worst, sparse, bins = row
        account = cls(groups, zero_groups, weights, saturated, zeroed, worst)
        for power, sums in zip(account.powers, sparse, strict=True):
            for exponent, total in sums.items():
                power[int(exponent)] = total
        for index, count in bins.items():
            account.bins[int(index)] = count
        return account


def document(accounts: Accounts, layers: int) -> dict[str, Any]:
    """Figures by role and by tensor, as JSON values; the order of the run does not show."""
    entries = grok1.entries_by_name(layers)
    roles: dict[str, Account] = {}
    for name, own in accounts.items():
        roles.setdefault(entries[name].rule.role, Account()).merge(own)
    ordered = sorted(accounts, key=lambda name: entries[name].index)
    return {
        "roles": {role: roles[role].figures() for role in sorted(roles, reverse=True)},
        "tensors": {name: accounts[name].figures() for name in ordered},
    }


def exact_sums(values: np.ndarray) -> np.ndarray:
    """One integer sum for each exponent of `f32[n]`, exact up to 2^29 values: `i64[256]`."""
    bits = values.view(np.uint32)
    exponents = (bits >> 23) & 0xFF
    fractions = (bits & 0x7FFFFF).astype(np.float64) + np.where(exponents > 0, 1 << 23, 0)
    fractions = np.where(bits >> 31, -fractions, fractions)
    # sums of integers below 2^53 are exact in float64
    sums = np.bincount(np.maximum(exponents, 1), fractions, minlength=_EXPONENTS)
    return sums.astype(np.int64)


def _short(ratio: float) -> float:
    """Six digits: enough for people, and the same text on every machine."""
    return float(f"{ratio:.6g}")


class Ledger:
    """Accounts of the tiles of a run, for each tile by tensor."""

    def __init__(self) -> None:
        self._tiles: dict[int, dict[str, Account]] = {}

    def from_byte(self, begins: int) -> Page:
        """The entries of an array that begins at a byte of the file."""
        return Page(self._tiles, begins)

    def tiles(self, first: int, last: int) -> tuple[Accounts, ...]:
        """Accounts of tiles `first` to `last`; none where nothing was quantised."""
        found = tuple(self._tiles.get(tile, {}) for tile in range(first, last))
        return found if any(found) else ()


@dataclass(frozen=True, slots=True)
class Page:
    """Where the groups of one array are entered."""

    tiles: dict[int, dict[str, Account]]
    begins: int

    def enter(self, piece: Measured, row_at: int, run: tuple[int, int]) -> None:
        """Count each group of a piece in the tile in which its first row begins.

        Args:
            piece: Rows with their groups.
            row_at: Byte of the array at which its first row begins.
            run: First and last byte of the array that this run makes; rows that begin outside it
                are another's to count.
        """
        row_bytes = piece.values.nbytes // len(piece.values)
        start = self.begins + max(row_at, run[0])
        stop = self.begins + min(row_at + piece.values.nbytes, run[1])
        origin = self.begins + row_at
        for tile in range(start // TILE_BYTES, -(-stop // TILE_BYTES)):
            low = max(start, tile * TILE_BYTES) - origin
            high = min(stop, (tile + 1) * TILE_BYTES) - origin
            sums, counts = piece.cut(-(-low // row_bytes), -(-high // row_bytes))
            if sums.size:
                own = self.tiles.setdefault(tile, {}).setdefault(piece.tensor, Account())
                own.add(sums, counts, piece.per_group)
