"""Counts and moments of values, tile by tile."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

EXPONENT_BINS = 24
_LOWEST_EXPONENT = -20  # values below 2**-20 share the first bin; weights of the release lie above
_CODE_BINS = 16  # 16 codes a bin
_SATURATED = (-128, -127, 127)


@dataclass(slots=True)
class Tally:
    """What has been counted of one tensor so far.

    Attributes:
        elements: Values seen.
        minimum: Smallest finite value; of a quantised tensor, after dequantisation in float32.
        maximum: Largest.
        squares: Sums of squares, one float64 per tile, summed exactly at the end.
        histogram: Of int8 codes 16 bins of 16 codes; of floats 24 bins by binary exponent.
    """

    elements: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    nan: int = 0
    inf: int = 0
    saturated: int = 0
    zero_scales: int = 0
    negative_scales: int = 0
    bad_scales: int = 0
    squares: list[float] = field(default_factory=list)
    histogram: np.ndarray | None = None

    def summary(self) -> dict[str, Any]:
        """The result as JSON values."""
        seen = self.minimum <= self.maximum
        low, high = (self.minimum, self.maximum) if seen else (0.0, 0.0)
        counts = [] if self.histogram is None else [int(n) for n in self.histogram]
        kind = "codes" if len(counts) == _CODE_BINS else "exponent"
        return {
            "elements": self.elements,
            "min": low,
            "max": high,
            "absmax": max(abs(low), abs(high)),
            "rms": math.sqrt(math.fsum(self.squares) / max(self.elements, 1)),
            "nan": self.nan,
            "inf": self.inf,
            "saturated": self.saturated,
            "zero_scales": self.zero_scales,
            "negative_scales": self.negative_scales,
            "histogram": {"of": kind, "counts": counts},
        }

    def widen(self, low: float, high: float) -> None:
        """Take in the extremes of a tile."""
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)

    def add_histogram(self, counts: np.ndarray) -> None:
        """Take in the histogram of a tile."""
        self.histogram = counts if self.histogram is None else self.histogram + counts


def count_codes(tally: Tally, codes: np.ndarray, scales: np.ndarray) -> None:
    """Count a tile of a quantised weight.

    Args:
        tally: Updated in place.
        codes: `int8[rows, out]`, rows of one scale group.
        scales: `f32[out]`, the group's scales; those that are not finite count as zero here.
    """
    counts = np.bincount(codes.view(np.uint8).reshape(-1), minlength=256)
    by_code = np.roll(counts, 128)  # index 0 is code -128
    tally.elements += codes.size
    tally.saturated += int(sum(by_code[code + 128] for code in _SATURATED))
    tally.add_histogram(by_code.reshape(_CODE_BINS, -1).sum(axis=1))
    finite = np.where(np.isfinite(scales), scales, np.float32(0))
    ends = np.stack([codes.min(axis=0) * finite, codes.max(axis=0) * finite])
    tally.widen(float(ends.min()), float(ends.max()))
    wide = codes.astype(np.int32)
    column = np.einsum("ij,ij->j", wide, wide, dtype=np.int64)
    tally.squares.append(float((column * finite.astype(np.float64) ** 2).sum()))


def count_scales(tally: Tally, scales: np.ndarray) -> None:
    """Count scales `f32[...]`: zero, negative, not finite."""
    tally.zero_scales += int((scales == 0).sum())
    tally.negative_scales += int((scales < 0).sum())
    tally.bad_scales += int((~np.isfinite(scales)).sum())


def count_floats(tally: Tally, values: np.ndarray) -> None:
    """Count a tile of plain values, `f32[...]`."""
    finite = np.isfinite(values)
    tally.elements += values.size
    nan = int(np.isnan(values).sum())
    tally.nan += nan
    tally.inf += int(values.size - finite.sum()) - nan
    kept = values if finite.all() else values[finite]
    if kept.size == 0:
        return
    tally.widen(float(kept.min()), float(kept.max()))
    tally.squares.append(float(np.square(kept, dtype=np.float64).sum()))
    exponents = np.frexp(kept)[1] - _LOWEST_EXPONENT
    bins = np.clip(exponents, 0, EXPONENT_BINS - 1).reshape(-1)
    tally.add_histogram(np.bincount(bins, minlength=EXPONENT_BINS))
