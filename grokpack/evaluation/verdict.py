"""Which layer stands out of what rounding does to all of them, and whether limits hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.checkpoint import Finding

if TYPE_CHECKING:
    from grokpack.evaluation.pair import PairEvaluation

FLOOR = 0.02
"""Relative error below which nothing is suspected: bfloat16 leaves 0.004, int8 in groups 0.01."""
TIMES = 3.0
"""How much more than the typical half of its kind a half of a layer errs that stands out."""
CEILING = 0.5
"""What stands out wherever it is: four bits leave 0.1 to 0.2, another matrix leaves 1.4."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of the second network.

    Attributes:
        max_kl: Mean KL divergence that is allowed, in nats; None for any.
        min_top1: Share of tokens whose likeliest successor must be the same; None for any.
    """

    max_kl: float | None = None
    min_top1: float | None = None


@dataclass(frozen=True, slots=True)
class Suspect:
    """A part of the network that computes something else.

    Attributes:
        part: `embedding`, `attention`, `experts` or `head`.
        layer: The layer; None for the embedding and the head.
        error: Its relative error.
        typical: What is usual for such parts of this pair; None where there is one only.
    """

    part: str
    layer: int | None
    error: float
    typical: float | None

    @property
    def name(self) -> str:
        """Of the part, for people."""
        return self.part if self.layer is None else f"layer {self.layer}, {self.part}"


def suspects(found: PairEvaluation) -> list[Suspect]:
    """The parts that stand out, in the order of the computation."""
    attention = _typical([row.attention for row in found.layers])
    experts = _typical([row.experts for row in found.layers])
    parts = [Suspect("embedding", None, found.embedding, None)]
    for row in found.layers:
        parts.append(Suspect("attention", row.layer, row.attention, attention))
        parts.append(Suspect("experts", row.layer, row.experts, experts))
    parts.append(Suspect("head", None, found.head, None))
    return [part for part in parts if _stands_out(part)]


def findings(found: PairEvaluation, limits: Limits) -> list[Finding]:
    """What is wrong, in words: the first part that stands out, then limits that do not hold."""
    rows = []
    wrong = suspects(found)
    if wrong:
        first = wrong[0]
        more = f"; {len(wrong) - 1} parts more stand out" if len(wrong) > 1 else ""
        usual = "next to nothing"
        if first.typical is not None:
            usual = f"{first.typical:.2g}, as in the typical layer"
        what = f"{first.name} is the first to compute something else{more}"
        seen = f"relative error {first.error:.2g}"
        rows.append(Finding("GP141", what, None, None, usual, seen))
    if limits.max_kl is not None and not found.kl_mean <= limits.max_kl:
        seen = f"{found.kl_mean:.4g}"
        rows.append(_beyond("mean KL divergence is too large", f"<= {limits.max_kl:g}", seen))
    if limits.min_top1 is not None and not found.top1 >= limits.min_top1:
        seen = f"{found.top1:.2%}"
        rows.append(_beyond("too few tokens agree", f">= {limits.min_top1:.2%}", seen))
    return rows


def _beyond(what: str, expected: str, seen: str) -> Finding:
    return Finding("GP142", what, None, None, expected, seen)


def _typical(errors: list[float]) -> float | None:
    """The lower median; nothing where there is nothing to compare with."""
    return sorted(errors)[(len(errors) - 1) // 2] if len(errors) > 1 else None


def _stands_out(part: Suspect) -> bool:
    if not part.error <= CEILING:  # NaN among them
        return True
    return part.typical is not None and part.error > max(FLOOR, TIMES * part.typical)
