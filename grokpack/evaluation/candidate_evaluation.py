"""Evaluation of several candidates against one reference, in one pass over each.

All networks go through each layer in lockstep, each in a stream of its own. So the reference is
computed once, weights are compared with the reference's on the way, and of every network only the
residual stream is held. Unlike in `pair_evaluation`, parts are not judged on the same input:
candidates are meant to differ, and the question is how much.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.counts import counted
from grokpack.core.events import Finished, Started
from grokpack.core.notebook_table import notebook_table
from grokpack.evaluation.config_comparison import check_dimensions, differences
from grokpack.evaluation.evaluation_options import EvaluateOptions, cost, networks
from grokpack.evaluation.network.layer import PassOptions
from grokpack.evaluation.network.lockstep import Lockstep
from grokpack.evaluation.network.logit_scores import Divergence, Scores
from grokpack.evaluation.network_distance import (
    NetworkDistance,
    agreement,
    relative_error,
    router_flips,
)
from grokpack.evaluation.part_comparison import PartComparison
from grokpack.evaluation.reordered_weights import ReorderedWeightComparer
from grokpack.evaluation.results import Loss, loss_of, mean_cosine
from grokpack.evaluation.weight_comparison import WeightComparer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.evaluation_json import PartName
    from grokpack.core.finding import Finding
    from grokpack.evaluation.input_tokens import Inputs
    from grokpack.evaluation.network.batch import Batch
    from grokpack.evaluation.network.forward_pass import Network
    from grokpack.evaluation.weight_comparison import WeightDistance


@dataclass(frozen=True, slots=True)
class CandidateLayerDistance:
    """Distance of a candidate from the reference after a layer, each in its own stream.

    Attributes:
        layer: Number of the layer.
        stream: Relative error of the residual stream.
        flips: Share of tokens for which the routers chose other experts.
        cosine: Mean cosine of each token's residual stream.
    """

    layer: int
    stream: float
    flips: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a checkpoint.

    Attributes:
        nbytes: Bytes of its files.
        bits: Bits of its files for each parameter of the model.
    """

    nbytes: int
    bits: float

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Size:
        """Return the size of a checkpoint's weight files."""
        nbytes = checkpoint.layout.nbytes
        return cls(nbytes, 8 * nbytes / checkpoint.model.parameters().total)


@dataclass(frozen=True, slots=True)
class CandidateDistance(NetworkDistance):
    """Distance of one candidate from the reference.

    Attributes:
        place: Path of the candidate.
        size: Its size.
        loss: Its loss.
        kl: KL divergence of each token's prediction, `f64[T]` in nats.
        top1: Share of tokens whose likeliest successor is the same.
        top8: Share of the eight likeliest tokens that both have in common.
        layers: Layer by layer.
        declared: Differences between the two configs and tokenizers.
        weights: Distances of its weights, in the order of the computation.
    """

    place: str
    size: Size
    loss: Loss
    kl: np.ndarray
    top1: float
    top8: float
    layers: tuple[CandidateLayerDistance, ...]
    declared: tuple[Finding, ...]
    weights: tuple[WeightDistance, ...]


@dataclass(frozen=True, slots=True)
class CandidatesEvaluation:
    """Result of several candidates against one reference.

    Attributes:
        loss: Loss of the reference.
        size: Size of the reference.
        candidates: Distance of each candidate, in the order in which they were given.
        tokens: Number of tokens that went through every network.
        read_bytes: Bytes of weights that were read from all of them.
        seconds: Wall time.
    """

    loss: Loss
    size: Size
    candidates: tuple[CandidateDistance, ...]
    tokens: int
    read_bytes: int
    seconds: float

    def __repr__(self) -> str:
        places = ", ".join(row.place for row in self.candidates)
        return f"<CandidatesEvaluation of {counted(self.tokens, 'token')}: {places}>"

    def _repr_html_(self) -> str:
        facts = {
            row.place: f"{row.size.bits:.2f} bits, {row.described()}" for row in self.candidates
        }
        return notebook_table(f"Evaluation of candidates on {counted(self.tokens, 'token')}", facts)


def evaluate_candidates(
    reference: Checkpoint,
    candidates: Sequence[Checkpoint],
    inputs: Inputs,
    options: EvaluateOptions | None = None,
) -> CandidatesEvaluation:
    """Run a reference and some candidates over the same tokens; each weight is read once.

    Args:
        reference: The checkpoint that the others are compared with.
        candidates: Others of the same dimensions, in any formats.
        inputs: Sequences of tokens, with the token that follows each.
        options: Options of the run.

    Raises:
        GrokpackError: GP343 if dimensions differ; GP211, GP312, GP341, and errors of reading.
    """
    options = options or EvaluateOptions()
    for candidate in candidates:
        check_dimensions(reference, candidate)
    declared = [tuple(differences(reference, own)) for own in candidates]
    every, batch, began = [reference, *candidates], inputs.batch, time.monotonic()
    total = sum(cost(one, batch.size, options, whole=True).read_bytes for one in every)
    options.listen(Started("evaluate", total))
    with networks(every, batch.size, options, len(every), sharing=True) as opened:
        run = _Run(opened, batch)
        by_layer = [run.layer(number) for number in range(len(opened[0].layers))]
        scores, found = run.logits(inputs.targets)
        read = sum(network.stream.read_bytes for network in opened)
    seconds = time.monotonic() - began
    options.listen(Finished("evaluate", seconds))
    distances = (
        CandidateDistance(
            candidate.place,
            Size.of(candidate),
            loss_of(own.second),
            own.kl,
            *agreement(own),
            tuple(row[number] for row in by_layer),
            declared[number],
            tuple(run.weights[number]),
        )
        for number, (candidate, own) in enumerate(zip(candidates, found, strict=True))
    )
    return CandidatesEvaluation(
        loss_of(scores), Size.of(reference), tuple(distances), batch.size, read, seconds
    )


class _Run:
    """Run of networks in lockstep, each with its residual stream; the first is the reference.

    Attributes:
        weights: Distances of each candidate's weights that were found so far.
    """

    def __init__(self, networks: Sequence[Network], batch: Batch) -> None:
        self._networks, self._batch = networks, batch
        first, *others = (network.stream.checkpoint for network in networks)
        lanes = networks[0].lanes
        self._comparers = [WeightComparer(first, other, lanes.implementation) for other in others]
        self._reordered = [
            ReorderedWeightComparer(first, other, weights, lanes)
            for other, weights in zip(others, self._comparers, strict=True)
        ]
        self._lockstep = Lockstep(networks, self._comparers)
        self._streams = [network.embed(batch) for network in networks]
        self.weights: list[list[WeightDistance]] = [[] for _ in others]

    def layer(self, number: int) -> list[CandidateLayerDistance]:
        """Pass every stream through one layer; return the distance of each candidate."""
        pairs = zip(self._networks, self._streams, strict=True)
        size = self._batch.size
        options = PassOptions(most_tokens=size)  # experts that no token chose are compared as well
        ours, *others = self._lockstep.run(
            [network.products(number, h, self._batch, options) for network, h in pairs]
        )
        self._collect(number, "attention", "experts")
        own, *streams = self._streams
        return [
            CandidateLayerDistance(
                number,
                relative_error(h, own),
                router_flips(ours, theirs, size),
                mean_cosine(h, own),
            )
            for theirs, h in zip(others, streams, strict=True)
        ]

    def logits(self, targets: np.ndarray) -> tuple[Scores, list[Divergence]]:
        """Compute all logits; return the reference's scores and each candidate's divergence."""
        scores = Scores(targets)
        found = [Divergence(scores) for _ in self._networks[1:]]
        pairs = zip(self._networks, self._streams, strict=True)
        heads = [network.head_products(network.normed(h)) for network, h in pairs]
        for products in zip(*heads, strict=True):
            self._lockstep.multiply(products)
            ours, *others = (
                network.scaled(product.out)
                for network, product in zip(self._networks, products, strict=True)
            )
            first = products[0].matrix.inputs[0]
            scores.add(first, ours)
            for divergence, theirs in zip(found, others, strict=True):
                divergence.add(first, ours, theirs)
        embeddings = [network.embedding_products() for network in self._networks]
        for products in zip(*embeddings, strict=True):
            self._lockstep.multiply(products)
        self._collect(None, "embedding", "head")
        return scores, found

    def _collect(self, layer: int | None, *names: PartName) -> None:
        """Add the weights of some parts that were compared since the last call.

        What the parts compute on the same input is not known, so that it excuses no weight.
        """
        precision = self._networks[0].precision.name
        for weights, reordered, found in zip(
            self._comparers, self._reordered, self.weights, strict=True
        ):
            seen = weights.collect()
            for name in names:
                part = PartComparison.of(name, layer, math.nan, seen, precision)
                found.extend(reordered.settle(part).weights)
