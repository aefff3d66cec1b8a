"""Mixture of experts: the router's choice, and the computation expert by expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.evaluation.network.arithmetic import soft_cap, softmax
from grokpack.evaluation.network.gated_mlp import GatedMLP, GatedParts, add_gated, cut_gated_mlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.gated_mlp import Activation, InputWatch
    from grokpack.evaluation.network.matrices import Matrix
    from grokpack.evaluation.network.matrix_products import Lanes, Product
    from grokpack.models.architecture import NetworkPart

    Allocate = Callable[[int, int], np.ndarray]

EXPERT = GatedParts("expert_gate", "expert_up", "expert_down")


@dataclass(frozen=True, slots=True)
class Routing:
    """Experts that the router chose for each token.

    Attributes:
        chosen: Experts of each token, `i64[T, k]`, the best first.
        gates: Weight of each chosen expert, `f32[T, k]`; they do not add up to one.
        margin: Difference between the smallest chosen gate and the largest one not chosen, as a
            fraction of the former, `f32[T]`; infinite if every expert is chosen.
    """

    chosen: np.ndarray
    gates: np.ndarray
    margin: np.ndarray

    def per_expert(self, experts: int) -> np.ndarray:
        """Count the tokens of each expert, `i64[expert]`."""
        return np.bincount(self.chosen.ravel(), minlength=experts)

    def tokens_of(self, expert: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of an expert, `i64[n]`, and its gates for them, `f32[n]`."""
        tokens, rank = np.nonzero(self.chosen == expert)
        return tokens, self.gates[tokens, rank]


def route(x: np.ndarray, weights: np.ndarray, selected: int, cap: float = 0.0) -> Routing:
    """Choose the best experts of each token. Ties go to the lower number, as in jax.lax.top_k.

    Args:
        x: Normalized activations, `f32[T, d]`; the router always computes in float32.
        weights: `f32[d, expert]`.
        selected: Number of experts per token. Their gates are not normalized again.
        cap: Cap of the router's logits; zero for none.
    """
    gates = softmax(soft_cap(x @ weights, cap))
    order = np.argsort(-gates, axis=-1, kind="stable")[:, : selected + 1]
    ordered = np.take_along_axis(gates, order, axis=-1)
    return Routing(order[:, :selected], ordered[:, :selected], _margin(ordered, selected))


def _margin(ordered: np.ndarray, selected: int) -> np.ndarray:
    """Compute the relative margin between the last chosen gate and the first not chosen."""
    if ordered.shape[1] <= selected:
        return np.full(len(ordered), np.inf, np.float32)
    last, next_best = ordered[:, selected - 1], ordered[:, selected]
    made: np.ndarray = (last - next_best) / np.maximum(last, np.finfo(np.float32).tiny)
    return made


@dataclass(frozen=True, slots=True)
class ExpertBatch:
    """Tokens that one expert works on."""

    tokens: np.ndarray
    gates: np.ndarray
    mlp: GatedMLP


def expert_batches(
    routing: Routing, weights: Mapping[NetworkPart, TensorSpec], most_tokens: int | None = None
) -> list[ExpertBatch]:
    """List the experts that any token chose, in the order of their numbers.

    Args:
        routing: The router's choice.
        weights: Weights of the layer, by part.
        most_tokens: Largest number of tokens per expert. If given, all experts are listed, also
            those without a token, and their width is cut for that many tokens, so that networks
            that run side by side are cut alike. None for the chosen experts, each cut for its own
            tokens.
    """
    count = weights[EXPERT.gate].values.shape[0]
    found = []
    for expert in map(int, np.unique(routing.chosen) if most_tokens is None else range(count)):
        tokens, gates = routing.tokens_of(expert)
        mlp = cut_gated_mlp(weights, EXPERT, most_tokens or len(tokens), expert)
        found.append(ExpertBatch(tokens, gates, mlp))
    return found


def matrices_in_order(work: Sequence[ExpertBatch]) -> list[Matrix]:
    """List the matrices in the order of their use."""
    return [matrix for share in work for matrix in share.mlp.wanted()]


def add_experts(
    x: np.ndarray,
    work: Sequence[ExpertBatch],
    lanes: Lanes,
    activation: Activation,
    watch: InputWatch,
    allocate: Allocate,
    out: np.ndarray,
) -> Iterator[Product]:
    """Add the results of each token's experts, weighted by their gates.

    Args:
        x: Normalized activations, `f32[T, d]`.
        work: Tokens of each expert; the stream has been told of its matrices.
        lanes: Threads for everything but products.
        activation: Nonlinearity of the gates, applied in place.
        watch: Called with the inputs of each matrix: its part, expert, and `f32[n, in]`.
        allocate: Makes empty arrays of activations.
        out: Array to which the results are added, `f32[T, d]`.

    Yields:
        Each product, which the caller computes before it asks for the next.
    """
    for share in work:
        own, made = (allocate(len(share.tokens), x.shape[1]) for _ in range(2))
        np.take(x, share.tokens, axis=0, out=own)
        made[...] = 0
        yield from add_gated(own, share.mlp, lanes, activation, watch, made)
        made *= lanes.precision.settle(share.gates.copy())[:, None]
        out[share.tokens] += made
