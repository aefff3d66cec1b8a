"""Verdict on two networks: whether they differ by no more than their formats allow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack.core.finding import Finding
from grokpack.evaluation.weight_comparison import BEYOND, OTHERWISE, WeightDistance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.evaluation.candidate_evaluation import CandidateDistance
    from grokpack.evaluation.network_distance import NetworkDistance
    from grokpack.evaluation.pair_evaluation import PairEvaluation
    from grokpack.evaluation.part_comparison import PartComparison
    from grokpack.evaluation.results import Loss


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits that replace those of the second network's formats.

    Attributes:
        max_kl: Largest mean KL divergence, in nats; None for no limit.
        min_top1: Smallest share of tokens with the same likeliest successor; None for no limit.
        max_router_flips: Largest share of tokens for which a layer's router may choose other
            experts; None for no limit.
        min_layer_cosine: Smallest mean cosine of the residual streams after a layer; None for no
            limit.
    """

    max_kl: float | None = None
    min_top1: float | None = None
    max_router_flips: float | None = None
    min_layer_cosine: float | None = None

    @property
    def given(self) -> bool:
        """True if any limit is given."""
        return any(getattr(self, name) is not None for name in self.__slots__)


def suspects(found: PairEvaluation) -> list[PartComparison]:
    """List the parts beyond their limit, in the order of the computation."""
    return [part for part in found.parts if part.beyond]


def findings(found: PairEvaluation, limits: Thresholds) -> list[Finding]:
    """List findings about configs, about weights, and about the results of the network."""
    rows = [*found.declared]
    for part in found.parts:
        rows += _of_weights(part.weights)
    return rows + (_of_limits(found, limits) if limits.given else _of_parts(found))


def findings_of_loss(loss: Loss) -> list[Finding]:
    """Make a finding where one network gives no numbers."""
    if not loss.lost:
        return []
    what = f"the loss of {loss.lost:,} of {loss.tokens:,} predicted tokens is no number"
    return [Finding("GP120", what, None, None, "numbers", "NaN")]


def findings_of_candidate(found: CandidateDistance, limits: Thresholds) -> list[Finding]:
    """List findings about one candidate of several, with its place as their file."""
    rows = (*found.declared, *_of_weights(found.weights), *_of_limits(found, limits))
    return [replace(row, file=found.place) for row in rows]


def _of_weights(weights: Sequence[WeightDistance]) -> list[Finding]:
    """Make a finding for each tensor with weights that are beyond, then of those otherwise."""
    named: dict[tuple[str, str], list[WeightDistance]] = {}
    for state in (BEYOND, OTHERWISE):
        for row in weights:
            if row.state == state:
                named.setdefault((state, row.name), []).append(row)
    return [_of_tensor(name, each) for (_, name), each in named.items()]


def _of_tensor(name: str, rows: Sequence[WeightDistance]) -> Finding:
    beyond, elements = sum(r.beyond for r in rows), sum(r.elements for r in rows)
    experts = [str(row.expert) for row in rows if row.expert is not None]
    where = f" of {'expert' if len(experts) == 1 else 'experts'} {', '.join(experts)}"
    if beyond:
        first = min(row.first for row in rows if row.first is not None)
        seen = f"{beyond:,} of {elements:,} values{where if experts else ''} are not"
        seen += f", the first at {list(first)}, by up to {max(r.largest for r in rows):.3g}"
    else:
        error = math.sqrt(sum(row.relative**2 * row.elements for row in rows) / elements)
        seen = f"relative error {error:.3g}"
    if rows[0].state == OTHERWISE:
        what = "weights are stored otherwise and compute the same"
        return Finding("GP145", what, None, name, rows[0].expected, seen, "warning")
    what = "weights are not those of the first"
    return Finding("GP144", what, None, name, rows[0].expected, seen)


def _of_parts(found: PairEvaluation) -> list[Finding]:
    """Report the first part beyond its limit, and the number of others."""
    wrong = suspects(found)
    if not wrong:
        return []
    first = wrong[0]
    more = {1: "", 2: "; 1 part more is"}.get(len(wrong), f"; {len(wrong) - 1} parts more are")
    what = f"{first.title} is the first part beyond its limit{more}"
    limit, seen = f"within {first.limit:.2g}", f"relative error {first.error:.2g}"
    return [Finding("GP141", what, None, None, limit, seen)]


def _of_limits(found: NetworkDistance, limits: Thresholds) -> list[Finding]:
    rows = []
    if limits.max_kl is not None and not found.kl_mean <= limits.max_kl:
        seen = f"{found.kl_mean:.4g}"
        rows.append(_beyond("mean KL divergence is too large", f"<= {limits.max_kl:g}", seen))
    if limits.min_top1 is not None and not found.top1 >= limits.min_top1:
        seen = f"{found.top1:.2%}"
        rows.append(_beyond("too few tokens agree", f">= {limits.min_top1:.2%}", seen))
    most, least = limits.max_router_flips, limits.min_layer_cosine
    if most is not None and not found.most_flips <= most:
        what = "a layer's router chooses other experts for too many tokens"
        rows.append(_beyond(what, f"<= {most:.2%}", f"{found.most_flips:.2%}"))
    if least is not None and not found.least_cosine >= least:
        what = "the streams after a layer point in other directions"
        rows.append(_beyond(what, f">= {least:.6g}", f"{found.least_cosine:.6g}"))
    return rows


def _beyond(what: str, expected: str, seen: str) -> Finding:
    return Finding("GP142", what, None, None, expected, seen)
