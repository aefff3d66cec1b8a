"""Comparison of each part of two networks: its error, its weights and a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack.evaluation.network.experts import EXPERT
from grokpack.evaluation.network.forward_pass import EMBEDDING, FINAL_NORM, HEAD
from grokpack.evaluation.network.layer import DENSE, KEY, NORMS, OUTPUT, QUERY, ROUTER, VALUE
from grokpack.evaluation.weight_comparison import BEYOND, OTHERWISE, WeightDistance

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from grokpack.core.documents.evaluation_json import PartName
    from grokpack.evaluation.network.experts import Routing
    from grokpack.evaluation.network.precision import Name
    from grokpack.models.architecture import NetworkPart

ORDER_OF_SUMS: dict[Name, float] = {"f32": 1e-5, "bf16": 5e-3}
"""Relative error from sums in another order. Measured errors are 1e-7 to 6e-7 in float32, at widths
of 64 to 768, and 1e-4 if activations are rounded to bfloat16, where a last bit may change."""
_TIMES = 3.0
"""Largest error of a part as a multiple of its weights' errors (the root of their sum of squares).
Measured are 0.8 to 1.3; softmax and GELU amplify errors of their inputs."""
_SHOWN = 10.0
"""Multiple of a part's limit by which a weight must differ before the output can prove that the
difference does not matter. A smaller difference would not show in the output."""
_WEIGHTS: dict[str, tuple[NetworkPart, ...]] = {
    "embedding": (EMBEDDING,),
    "attention": (*NORMS[:2], QUERY, KEY, VALUE, OUTPUT),
    "experts": (*NORMS[2:], ROUTER, *EXPERT, *DENSE),
    "head": (FINAL_NORM, EMBEDDING, HEAD),
}


@dataclass(frozen=True, slots=True)
class PartComparison:
    """Part of a network, as the second computes it on the first's input.

    Attributes:
        name: `embedding`, `attention`, `experts` or `head`.
        layer: The layer; None for the embedding and the head.
        error: Relative error of the part.
        limit: The error that the formats of its weights allow; where values are equal, only that
            of the order of sums.
        weights: Distances of its weights.
    """

    name: PartName
    layer: int | None
    error: float
    limit: float
    weights: tuple[WeightDistance, ...]

    @property
    def title(self) -> str:
        """Name of the part, and its layer."""
        return self.name if self.layer is None else f"layer {self.layer}, {self.name}"

    @property
    def beyond(self) -> bool:
        """True if its error is beyond its limit, or NaN."""
        return not self.error <= self.limit

    @classmethod
    def of(
        cls,
        name: PartName,
        layer: int | None,
        error: float,
        seen: Sequence[WeightDistance],
        precision: Name,
        *,
        reached: frozenset[int] = frozenset(),
        alone: bool = False,
    ) -> PartComparison:
        """Make a part with its weights.

        Args:
            name: Name of the part.
            layer: Layer of the part; None for the embedding and the head.
            error: Relative error of the part.
            seen: All weights that were compared.
            precision: Precision of the run.
            reached: Experts that some token chose in both networks.
            alone: True if no sequence has a second token, so that no query chooses among keys.
        """
        own = [row for row in seen if row.part in _WEIGHTS[name]]
        if name == "head" and any(row.part == HEAD for row in own):
            own = [row for row in own if row.part != EMBEDDING]
        limit = ORDER_OF_SUMS[precision] + _TIMES * math.hypot(*_allowed(own))
        if name == "head":
            own = [row for row in own if row.part != EMBEDDING]
        made = cls(name, layer, error, limit, tuple(own))
        missed = {QUERY, KEY} if alone else set()
        weights = tuple(
            replace(row, state=OTHERWISE)
            if made._is_excused(row, reached) and row.part not in missed
            else row
            for row in own
        )
        return replace(made, weights=weights)

    def _is_excused(self, row: WeightDistance, reached: frozenset[int]) -> bool:
        """Return whether a weight beyond its limit gives the same results on this input.

        Nothing is known about experts that no token chose, about rows of the embedding that no
        token named, and about differences too small to show in the output.
        """
        if row.state != BEYOND or row.part == EMBEDDING or self.beyond:
            return False
        if row.expert is not None and row.expert not in reached:
            return False
        return row.relative >= _SHOWN * self.limit


def undecided_tokens(
    routing: Routing, seen: Sequence[WeightDistance], precision: Name
) -> np.ndarray:
    """Find tokens whose choice of experts may change by rounding, `bool[T]`."""
    router = [row for row in seen if row.part in (ROUTER, NORMS[2])]
    least = ORDER_OF_SUMS[precision] + _TIMES * math.hypot(*_allowed(router))
    found: np.ndarray = routing.margin <= _MARGIN * least
    return found


_MARGIN = 10.0  # of the limit: logits of the router are larger than one


def _allowed(rows: Sequence[WeightDistance]) -> list[float]:
    """Return the relative error that the format of each tensor allows; of experts together."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row.allowed)
    return [math.sqrt(sum(a * a for a in each) / len(each)) for each in found.values()]
