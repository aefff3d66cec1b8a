"""Decoder layer: attention, then MLP and experts, each between norms and added to the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.evaluation.network import experts
from grokpack.evaluation.network.arithmetic import GELUS, rms_norm
from grokpack.evaluation.network.attention import AttentionContext, KVCache
from grokpack.evaluation.network.gated_mlp import GatedParts, add_gated, cut_gated_mlp
from grokpack.evaluation.network.matrices import matrix
from grokpack.evaluation.network.matrix_products import Product

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.attention import Attention
    from grokpack.evaluation.network.batch import Batch
    from grokpack.evaluation.network.experts import Allocate, ExpertBatch, Routing
    from grokpack.evaluation.network.gated_mlp import GatedMLP, InputWatch
    from grokpack.evaluation.network.matrices import Matrix
    from grokpack.evaluation.network.matrix_products import Lanes
    from grokpack.evaluation.network.weight_stream import Stream
    from grokpack.models.architecture import Constants, NetworkPart
    from grokpack.models.family import Architecture

QUERY: NetworkPart = "query"
KEY: NetworkPart = "key"
VALUE: NetworkPart = "value"
OUTPUT: NetworkPart = "attention_output"
NORMS: tuple[NetworkPart, ...] = (
    "pre_attention_norm",
    "post_attention_norm",
    "pre_expert_norm",
    "post_expert_norm",
)
"""Norms before and after attention, before and after the experts; model.py, DecoderLayer."""
ROUTER: NetworkPart = "router"
DENSE = GatedParts("mlp_gate", "mlp_up", "mlp_down")
"""MLP that every token passes through, beside the experts."""


@dataclass(frozen=True, slots=True)
class LayerContext:
    """Objects that every layer of a run uses.

    Attributes:
        network: Architecture of the network.
        constants: Constants of the network.
        stream: Stream of the weights.
        lanes: Threads that multiply.
        attention: Attention without its projections.
        allocate: Makes empty arrays of activations, `f32[rows, columns]`.
    """

    network: Architecture
    constants: Constants
    stream: Stream
    lanes: Lanes
    attention: Attention
    allocate: Allocate


def ignore_inputs(_part: NetworkPart, _expert: int | None, _x: np.ndarray) -> None:
    """Ignore the inputs of a matrix."""


def _ignore_stream(_h: np.ndarray) -> None:
    """Ignore the stream between attention and experts."""


@dataclass(frozen=True, slots=True)
class PassOptions:
    """Options of a pass through a layer: its key/value cache and its callbacks.

    Attributes:
        cache: Key/value cache, which grows; None for no cache.
        watch: Called with the inputs of each matrix.
        between: Called with the residual stream between attention and experts.
        most_tokens: Argument of `experts.expert_batches`.
    """

    cache: KVCache | None = None
    watch: InputWatch = ignore_inputs
    between: Callable[[np.ndarray], None] = _ignore_stream
    most_tokens: int | None = None


class Layer:
    """Decoder layer.

    Args:
        number: Number of the layer.
        tensors: Tensors of the layer, by part.
        context: Objects that all layers use.
    """

    def __init__(
        self, number: int, tensors: Mapping[NetworkPart, TensorSpec], context: LayerContext
    ) -> None:
        self.number = number
        self._own = tensors
        self._context = context
        self._projections = {n: matrix(self._own[n]) for n in (QUERY, KEY, VALUE, OUTPUT)}

    def first_wanted(self) -> list[Matrix]:
        """Matrices that are used before the router's choice, in the order of their use."""
        return list(self._projections.values())

    def run(
        self,
        h: np.ndarray,
        batch: Batch,
        after: list[Matrix],
        options: PassOptions,
    ) -> Generator[Product, None, Routing]:
        """Put all tokens through the layer, in place.

        Args:
            h: The residual stream, `f32[T, d]`.
            batch: The sequences.
            after: Matrices that will be used after this layer.
            options: Cache and callbacks.

        Yields:
            Each product, which the caller computes before it asks for the next.

        Returns:
            The router's choice.
        """
        context, precision = self._context, self._context.lanes.precision
        dense = self._dense(options.most_tokens or len(h))
        context.stream.announce(dense.wanted() if dense else [])
        normed = context.allocate(*h.shape)
        self._norm(h, 0, normed)
        update = yield from self._attention(normed, batch, options)
        h += self._norm(update, 1, update)
        precision.settle(h)
        options.between(h)
        self._norm(h, 2, normed)
        routing = self._route(normed)
        work = experts.expert_batches(routing, self._own, options.most_tokens)
        context.stream.announce([*experts.matrices_in_order(work), *after])
        yield from self._mix(normed, dense, work, options.watch, update)
        h += self._norm(update, 3, update)
        precision.settle(h)
        return routing

    def _dense(self, tokens: int) -> GatedMLP | None:
        """Cut the MLP beside the experts for a number of tokens; None where there is none."""
        return cut_gated_mlp(self._own, DENSE, tokens) if DENSE.gate in self._own else None

    def _route(self, x: np.ndarray) -> Routing:
        constants = self._context.constants
        weights = self._whole(ROUTER)
        return experts.route(x, weights, constants.selected_experts, constants.router_logit_cap)

    def _mix(
        self,
        x: np.ndarray,
        dense: GatedMLP | None,
        work: Sequence[ExpertBatch],
        watch: InputWatch,
        out: np.ndarray,
    ) -> Iterator[Product]:
        """Compute the sum of the MLP and the experts of each token."""
        context, network = self._context, self._context.network
        lanes, activation = context.lanes, GELUS[network.gelu]
        out[...] = 0
        if dense is not None:
            yield from add_gated(x, dense, lanes, activation, watch, out)
            lanes.precision.settle(out)
        yield from experts.add_experts(x, work, lanes, activation, watch, context.allocate, out)
        if network.mix_factor != 1:
            out *= np.float32(network.mix_factor)
        lanes.precision.settle(out)

    def _attention(
        self, x: np.ndarray, batch: Batch, options: PassOptions
    ) -> Generator[Product, None, np.ndarray]:
        context = self._context
        options.watch(QUERY, None, x)
        queries = yield from self._project(x, QUERY)
        keys = yield from self._project(x, KEY)
        values = yield from self._project(x, VALUE)
        context.attention.apply_rope_to(queries, batch)
        context.attention.apply_rope_to(keys, batch)
        contexts = _cached(keys, values, batch, options.cache)
        attended = context.attention.attend(queries, batch, contexts)
        options.watch(OUTPUT, None, attended)
        return (yield from self._project(attended, OUTPUT))

    def _project(self, x: np.ndarray, name: NetworkPart) -> Generator[Product, None, np.ndarray]:
        context, weights = self._context, self._projections[name]
        out = context.allocate(len(x), weights.columns)
        out[...] = 0
        yield Product(x, weights, out)
        return context.lanes.precision.settle(out)

    def _norm(self, x: np.ndarray, which: int, out: np.ndarray) -> np.ndarray:
        context = self._context
        scale = self._whole(NORMS[which])
        return rms_norm(x, scale, context.constants.rms_norm_eps, context.lanes.precision, out)

    def _whole(self, name: NetworkPart) -> np.ndarray:
        return self._context.stream.whole(self._own[name])


def _cached(
    keys: np.ndarray, values: np.ndarray, batch: Batch, cache: KVCache | None
) -> list[AttentionContext]:
    """Return the keys and values that each sequence may attend to: cached ones, then new ones."""
    contexts = []
    for n, (span, start) in enumerate(zip(batch.spans, batch.starts, strict=True)):
        if cache is None:
            contexts.append(AttentionContext(batch.tokens[span], keys[span], values[span]))
            continue
        end = start + span.stop - span.start
        cache.keys[n][start:end], cache.values[n][start:end] = keys[span], values[span]
        cache.tokens[n][start:end] = batch.tokens[span]
        rows = slice(0, end)
        contexts.append(
            AttentionContext(cache.tokens[n][rows], cache.keys[n][rows], cache.values[n][rows])
        )
    return contexts
