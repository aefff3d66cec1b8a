"""Evaluation of two networks on the same tokens: their distance, and where it begins.

The second network's layers process the tokens twice: in the network's own stream, and in the first
network's stream as it was before each half of the layer. What a half of a layer adds to the first's
stream is compared with what the first's own half added. So each half is judged separately, whatever
went wrong before it. Both networks take their steps together, so that weights are compared with
their counterparts on the way, and each byte of either checkpoint is read once.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.checkpoint.open_checkpoint import opened
from grokpack.core.counts import counted
from grokpack.core.events import Finished, Started
from grokpack.core.notebook_table import notebook_table
from grokpack.evaluation.config_comparison import check_dimensions, differences
from grokpack.evaluation.evaluation_options import EvaluateOptions, cost, networks
from grokpack.evaluation.input_tokens import inputs_of
from grokpack.evaluation.network.layer import PassOptions
from grokpack.evaluation.network.lockstep import Lockstep
from grokpack.evaluation.network.logit_scores import Divergence, Scores
from grokpack.evaluation.network_distance import (
    NetworkDistance,
    agreement,
    relative_error,
    router_flips,
)
from grokpack.evaluation.part_comparison import PartComparison, undecided_tokens
from grokpack.evaluation.reordered_weights import ReorderedWeightComparer
from grokpack.evaluation.results import Loss, loss_of, mean_cosine, sum_squares
from grokpack.evaluation.weight_comparison import WeightComparer

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.evaluation_json import PartName
    from grokpack.core.finding import Finding
    from grokpack.core.paths import StrPath
    from grokpack.evaluation.input_tokens import Inputs
    from grokpack.evaluation.network.batch import Batch
    from grokpack.evaluation.network.experts import Routing
    from grokpack.evaluation.network.forward_pass import Network
    from grokpack.evaluation.weight_comparison import WeightDistance

STREAMS = 5  # the first's, the second's and the first's within it, copies of both
_HEAD_ROWS = 64  # tokens on whose last activations both heads are compared


@dataclass(frozen=True, slots=True)
class PairLayerDistance:
    """Distance of two networks in a layer.

    Attributes:
        layer: Number of the layer.
        stream: Relative error of the residual stream after it, each network in its own stream.
        attention: Relative error of what attention adds, on the same stream.
        experts: Relative error of what the experts add, on the same stream.
        flips: Share of tokens for which the routers chose other experts, each in its own stream.
        cosine: Mean cosine of each token's residual stream after it, each in its own stream.
    """

    layer: int
    stream: float
    attention: float
    experts: float
    flips: float
    cosine: float


@dataclass(frozen=True, slots=True)
class PairEvaluation(NetworkDistance):
    """Result of two networks on the same tokens.

    Attributes:
        first: Loss of the reference.
        second: Loss of the other network.
        kl: KL divergence of each token's prediction, `f64[T]` in nats.
        top1: Share of tokens whose likeliest successor is the same.
        top8: Share of the eight likeliest tokens that both have in common.
        embedding: Relative error of the embedded tokens.
        head: Relative error of the logits on the same last activations.
        layers: Layer by layer.
        declared: Differences between the two configs and tokenizers.
        parts: The embedding, the halves of layers and the head, in the order of the computation,
            with the weights of each and the limit of its error.
        tokens: Number of tokens that went through both.
        read_bytes: Bytes of weights that were read from both.
        seconds: Wall time.
    """

    first: Loss
    second: Loss
    kl: np.ndarray
    top1: float
    top8: float
    embedding: float
    head: float
    layers: tuple[PairLayerDistance, ...]
    declared: tuple[Finding, ...]
    parts: tuple[PartComparison, ...]
    tokens: int
    read_bytes: int
    seconds: float

    def __repr__(self) -> str:
        return f"<PairEvaluation of {counted(self.tokens, 'token')}: {self.described()}>"

    def _repr_html_(self) -> str:
        facts = {
            "perplexity of the first": self.first.described(),
            "perplexity of the second": self.second.described(),
            "distance": self.described(),
            "eight likeliest agree": f"{self.top8:.2%}",
            "tokens": f"{self.tokens:,}",
            "time": f"{self.seconds:.1f} s",
        }
        return notebook_table("Evaluation of two networks", facts)


def evaluate_pair(
    first: Checkpoint | StrPath,
    second: Checkpoint | StrPath,
    inputs: Inputs | np.ndarray,
    options: EvaluateOptions | None = None,
) -> PairEvaluation:
    """Run both networks over the same tokens.

    Args:
        first: The reference, or its path.
        second: The other or its path, of the same dimensions, in any format.
        inputs: Sequences of tokens, with the token that follows each; or ids, `i[T]` or `i[N, T]`.
        options: Options of the run.

    Raises:
        GrokpackError: GP343 if the dimensions differ; GP211, GP312, GP341, GP342 for what are no
            tokens, and errors of reading.
    """
    options = options or EvaluateOptions()
    first, second, inputs = opened(first), opened(second), inputs_of(inputs)
    check_dimensions(first, second)
    declared = tuple(differences(first, second))
    batch, began = inputs.batch, time.monotonic()
    total = sum(cost(c, batch.size, options).read_bytes for c in (first, second))
    options.listen(Started("evaluate", total))
    with networks([first, second], batch.size, options, STREAMS) as (one, other):
        run = _Run(one, other, batch, WeightComparer(first, second, one.lanes.implementation))
        layers = tuple(run.layer(n) for n in range(len(one.layers)))
        found = Divergence(Scores(inputs.targets))
        head = run.logits(found)
        read = one.stream.read_bytes + other.stream.read_bytes
    seconds = time.monotonic() - began
    options.listen(Finished("evaluate", seconds))
    return PairEvaluation(
        loss_of(found.first),
        loss_of(found.second),
        found.kl,
        *agreement(found),
        run.embedding,
        head,
        layers,
        declared,
        run.parts(),
        batch.size,
        read,
        seconds,
    )


class _Run:
    """Run of both networks: their residual streams on the way through the layers."""

    def __init__(self, one: Network, other: Network, batch: Batch, weights: WeightComparer) -> None:
        self._one, self._other = one, other
        self._batch, self._twice = batch, batch.twice()
        self._weights = weights
        checkpoints = one.stream.checkpoint, other.stream.checkpoint
        self._reordered = ReorderedWeightComparer(*checkpoints, weights, one.lanes)
        self._both_step = Lockstep((one, other), (weights,))
        self._h = one.embed(batch)
        size, width = self._h.shape
        self._both = one.allocate(2 * size, width)
        self._both[:size] = other.embed(batch)
        self.embedding = relative_error(self._both[:size], self._h)
        self._before, self._middle = (one.allocate(size, width) for _ in range(2))
        self._halves: list[PartComparison] = []
        self._ends: tuple[PartComparison, ...] = ()

    def layer(self, number: int) -> PairLayerDistance:
        """Pass both streams through one layer."""
        size = self._batch.size
        h, before, middle = self._h, self._before, self._middle
        own, lent = self._both[:size], self._both[size:]
        lent[...] = h
        before[...] = h

        def keep(stream: np.ndarray) -> None:
            middle[...] = stream

        distances: list[float] = []

        def compare(_streams: np.ndarray) -> None:
            distances.append(relative_error(lent, middle, before))
            lent[...] = middle

        ours = PassOptions(between=keep, most_tokens=2 * size)
        theirs = PassOptions(between=compare, most_tokens=2 * size)
        routed, others = self._both_step.run(
            (
                self._one.products(number, h, self._batch, ours),
                self._other.products(number, self._both, self._twice, theirs),
            )
        )
        seen = self._weights.collect()
        decided = ~undecided_tokens(routed, seen, self._one.precision.name)
        experts = relative_error(lent, h, middle, decided)
        self._halves += self._judged(number, distances[0], experts, seen, (routed, others))
        flips = router_flips(routed, others, size)
        cosine = mean_cosine(own, h)
        return PairLayerDistance(
            number, relative_error(own, h), distances[0], experts, flips, cosine
        )

    def _judged(
        self,
        number: int,
        attention: float,
        experts: float,
        seen: list[WeightDistance],
        routings: tuple[Routing, Routing],
    ) -> list[PartComparison]:
        """Return both halves of a layer, with their weights."""
        size, precision = self._batch.size, self._one.precision.name
        chosen = [set(routing.chosen[-size:].ravel().tolist()) for routing in routings]
        reached = frozenset(chosen[0] & chosen[1])
        alone = max(self._batch.lengths) == 1
        halves: list[tuple[PartName, float]] = [("attention", attention), ("experts", experts)]
        made = (
            PartComparison.of(name, number, error, seen, precision, reached=reached, alone=alone)
            for name, error in halves
        )
        return [self._reordered.settle(part) for part in made]

    def logits(self, found: Divergence) -> float:
        """Add all logits to `found`; return the relative error of the heads alone."""
        size = self._batch.size
        rows = min(_HEAD_ROWS, size)
        theirs = np.concatenate((self._both[:size], self._h[:rows]))
        x, y = self._one.normed(self._h), self._other.normed(theirs)
        whole = errors = 0.0
        for mine, others in zip(
            self._one.head_products(x), self._other.head_products(y), strict=True
        ):
            self._both_step.multiply((mine, others))
            ours, other = self._one.scaled(mine.out), self._other.scaled(others.out)
            found.first.add(mine.matrix.inputs[0], ours)
            found.add(mine.matrix.inputs[0], ours, other[:size])
            errors += sum_squares(other[size:], ours[:rows])
            whole += sum_squares(ours[:rows])
        for pair in zip(
            self._one.embedding_products(), self._other.embedding_products(), strict=True
        ):
            self._both_step.multiply(pair)
        head = math.sqrt(errors / whole) if whole else 0.0
        seen, precision = self._weights.collect(), self._one.precision.name
        ends: list[tuple[PartName, float]] = [("embedding", self.embedding), ("head", head)]
        self._ends = tuple(
            PartComparison.of(name, None, error, seen, precision) for name, error in ends
        )
        return head

    def parts(self) -> tuple[PartComparison, ...]:
        """Return all parts, in the order of the computation."""
        embedding, head = self._ends
        return (embedding, *self._halves, head)
