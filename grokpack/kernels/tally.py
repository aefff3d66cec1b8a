"""Tallies of an array's values: filled by kernels, merged exactly, summarized as JSON.

Tallies of the parts of an array merge to the tally of the whole, whatever the parts and their
order: everything in them is an integer, a smallest or a largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from grokpack.kernels import statistics
from grokpack.kernels.dispatch import twin
from grokpack.kernels.statistics import CODES, EXPONENTS, MOST_ROWS, PART_BITS, WORD_BITS

if TYPE_CHECKING:
    from typing import Self

    from grokpack.kernels.dispatch import Implementation

SMALLEST_BIN = -20  # 2**-20; weights and norms of the release lie above, but for a thousandth
LARGEST_BIN = 2
_BIAS = 127
_UNIT = 298  # squares are counted in units of 2**-298, the square of the smallest float32
_CODES_PER_BIN = 16
_HALF = CODES // 2
_LARGEST_CODE = 127
_ROOM = 1 << (WORD_BITS - 1)  # values that may be added before the words are emptied


class Tally(Protocol):
    """Counts of an array's values."""

    @property
    def elements(self) -> int:
        """Number of values counted."""

    def merge(self, other: Self) -> None:
        """Add the tally of another part, of the same kind."""

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON values."""


@dataclass(slots=True)
class Moments:
    """Extremes and the exact sum of squares of finite values.

    Attributes:
        ends: Smallest and largest value; infinities, in reverse, if there is none.
        words: Sums to which kernels add, in the layout of `kernels.statistics`.
        squares: Sums moved out of them, in units of 2**-298.
    """

    ends: np.ndarray = field(default_factory=lambda: np.array([math.inf, -math.inf]))
    words: np.ndarray = field(default_factory=lambda: np.zeros((EXPONENTS, 4), np.uint64))
    squares: int = 0
    _added: int = 0

    def expect(self, values: int) -> None:
        """Make room in the words for so many values more, at most 2**31."""
        if self._added + values > _ROOM:
            self.settle()
        self._added += values

    def settle(self) -> None:
        """Move the sums out of the words."""
        for row in np.flatnonzero(self.words.any(axis=1)).tolist():
            low, high, upper_low, upper_high = self.words[row].tolist()
            lower = low + (high << WORD_BITS)
            upper = upper_low + (upper_high << WORD_BITS)
            self.squares += (lower + (upper << PART_BITS)) << 2 * (row - 1)
        self.words[...] = 0
        self._added = 0

    def merge(self, other: Moments) -> None:
        """Add the moments of another part."""
        other.settle()
        self.squares += other.squares
        self.ends[0] = min(self.ends[0], other.ends[0])
        self.ends[1] = max(self.ends[1], other.ends[1])

    def summary(self, values: int) -> dict[str, float]:
        """Return extremes and root mean square of so many values; zeros if there is none."""
        self.settle()
        low, high = self.ends.tolist() if self.ends[0] <= self.ends[1] else (0.0, 0.0)
        mean = self.squares / (max(values, 1) << _UNIT)  # quotient of integers, rounded once
        rms = math.sqrt(mean)
        return {"min": low, "max": high, "absmax": max(abs(low), abs(high)), "rms": rms}


@dataclass(slots=True)
class FloatTally:
    """Counts of plain values.

    Attributes:
        implementation: The implementation of the kernels.
        counts: `i64[512]` by sign and biased exponent.
        special: `i64[4]`, zeros, negative zeros, +infinity, -infinity.
        moments: Moments of the finite values.
    """

    implementation: Implementation = "numpy"
    counts: np.ndarray = field(default_factory=lambda: np.zeros(2 * EXPONENTS, np.int64))
    special: np.ndarray = field(default_factory=lambda: np.zeros(4, np.int64))
    moments: Moments = field(default_factory=Moments)

    def add(self, values: np.ndarray) -> None:
        """Count `f32[...]`, contiguous."""
        self.moments.expect(values.size)
        twin(statistics.count_floats, self.implementation)(
            values.reshape(-1), self.counts, self.special, self.moments.words, self.moments.ends
        )

    def merge(self, other: FloatTally) -> None:
        """Add the tally of another part."""
        self.counts += other.counts
        self.special += other.special
        self.moments.merge(other.moments)

    @property
    def elements(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    @property
    def zero(self) -> int:
        """Zeros of either sign."""
        return int(self.special[:2].sum())

    @property
    def posinf(self) -> int:
        """Values that are +infinity."""
        return int(self.special[2])

    @property
    def neginf(self) -> int:
        """Values that are -infinity."""
        return int(self.special[3])

    @property
    def nan(self) -> int:
        """Values that are NaN."""
        endless = self.counts[EXPONENTS - 1 :: EXPONENTS].sum()
        return int(endless) - self.posinf - self.neginf

    @property
    def negative(self) -> int:
        """Finite values below zero."""
        return int(self.counts[EXPONENTS : 2 * EXPONENTS - 1].sum() - self.special[1])

    @property
    def subnormal(self) -> int:
        """Nonzero values below 2**-126, which float32 and bf16 hold with fewer digits."""
        return int(self.counts[0] + self.counts[EXPONENTS]) - self.zero

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        finite = self.elements - self.nan - self.posinf - self.neginf
        return {
            "elements": self.elements,
            **self.moments.summary(finite),
            "nan": self.nan,
            "posinf": self.posinf,
            "neginf": self.neginf,
            "zero": self.zero,
            "negative": self.negative,
            "subnormal": self.subnormal,
            "histogram": self._histogram(),
        }

    def _histogram(self) -> dict[str, Any]:
        """Return nonzero finite values by magnitude: bin i is edges[i] <= |x| < edges[i + 1]."""
        by_exponent = self.counts[:EXPONENTS] + self.counts[EXPONENTS:]
        by_exponent[0] -= self.zero
        first, last = SMALLEST_BIN + _BIAS, LARGEST_BIN + _BIAS
        counts = [
            by_exponent[:first].sum(),
            *by_exponent[first:last],
            by_exponent[last : EXPONENTS - 1].sum(),
        ]
        edges = [0.0, *(2.0**k for k in range(SMALLEST_BIN, LARGEST_BIN + 1)), 2.0**128]
        return {"of": "magnitude", "edges": edges, "counts": [int(n) for n in counts]}


@dataclass(slots=True)
class CodeTally:
    """Counts of a quantized weight's values.

    Codes are gathered by column until the scale group ends, and only then multiplied. Rows must
    therefore be added group by group, and `close` comes last.

    Attributes:
        implementation: The implementation of the kernels.
        counts: `i64[256]`, number of occurrences of each code.
        undefined: Values whose scale is NaN or infinite.
        moments: Moments of the other values, `code * scale` without rounding.
    """

    implementation: Implementation = "numpy"
    counts: np.ndarray = field(default_factory=lambda: np.zeros(CODES, np.int64))
    undefined: int = 0
    moments: Moments = field(default_factory=Moments)
    _group: _Group | None = None

    def add(self, codes: np.ndarray, scales: np.ndarray) -> None:
        """Count rows of one scale group.

        Args:
            codes: `i8[rows, out]`, contiguous; at most 2**24 rows.
            scales: `f32[out]`; the same array as long as the group is the same.
        """
        group = self._group
        if group is None or group.scales is not scales or group.rows + len(codes) > MOST_ROWS:
            self.close()
            group = self._group = _Group.begin(scales)
        group.rows += len(codes)
        twin(statistics.count_codes, self.implementation)(
            codes, self.counts, group.squares, group.low, group.high
        )

    def close(self) -> None:
        """Fold the gathered values of the last group."""
        group, self._group = self._group, None
        if group is None or not group.rows:
            return
        self.moments.expect(group.scales.size)
        left_out = twin(statistics.fold_columns, self.implementation)(
            group.squares,
            group.low,
            group.high,
            group.scales,
            self.moments.words,
            self.moments.ends,
        )
        self.undefined += left_out * group.rows

    def merge(self, other: CodeTally) -> None:
        """Add the tally of another part."""
        self.close()
        other.close()
        self.counts += other.counts
        self.undefined += other.undefined
        self.moments.merge(other.moments)

    @property
    def elements(self) -> int:
        """Codes counted."""
        return int(self.counts.sum())

    @property
    def saturated(self) -> int:
        """Codes at or beyond the ends of the symmetric range: -128, -127 and 127.

        Each column of a scale group has at least one if its scale was chosen by its largest value;
        many more mean that values were clipped.
        """
        return sum(self._count(code) for code in (-_HALF, -_LARGEST_CODE, _LARGEST_CODE))

    def _count(self, code: int) -> int:
        return int(self.counts[code + _HALF])

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        self.close()
        return {
            "elements": self.elements,
            **self.moments.summary(self.elements - self.undefined),
            "undefined": self.undefined,
            "zero": self._count(0),
            "negative": int(self.counts[:_HALF].sum()),
            "saturated": self.saturated,
            "minus_128": self._count(-_HALF),
            "histogram": {
                "of": "codes",
                "edges": list(range(-_HALF, _HALF + 1, _CODES_PER_BIN)),
                "counts": self.counts.reshape(-1, _CODES_PER_BIN).sum(axis=1).tolist(),
            },
        }


@dataclass(slots=True)
class _Group:
    """Sums of the columns of a scale group, as `kernels.statistics.count_codes` fills them."""

    scales: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rows: int = 0

    @classmethod
    def begin(cls, scales: np.ndarray) -> _Group:
        out = scales.size
        return cls(
            scales, np.zeros(out, np.int64), np.full(out, 127, np.int8), np.full(out, -128, np.int8)
        )
