"""Mixture of experts: the router's choice, and the computation expert by expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.evaluation.network.arithmetic import gelu, softmax
from grokpack.evaluation.network.matrices import matrix
from grokpack.evaluation.network.product import Product

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.matrices import Matrix
    from grokpack.evaluation.network.product import Lanes
    from grokpack.models.architecture import Part

    Room = Callable[[int, int], np.ndarray]
    Watch = Callable[[Part, int | None, np.ndarray], None]

HIDDEN_BYTES = 256 << 20
"""Bytes of an expert's inner activations, gate and up together: 1,024 tokens of Grok-1's width.
More tokens than fit are worked through a slice of the width at a time."""
_ALIGNED = 1024
GATE: Part = "expert_gate"
UP: Part = "expert_up"
DOWN: Part = "expert_down"


@dataclass(frozen=True, slots=True)
class Routing:
    """The router's choice of experts for each token.

    Attributes:
        chosen: Experts of each token, `i64[T, k]`, the best first.
        gates: The share of each, `f32[T, k]`; they do not add up to one.
        margin: By what part of itself the last share that was chosen exceeds the best that was
            not, `f32[T]`; infinite where every expert is chosen.
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


def route(x: np.ndarray, weights: np.ndarray, selected: int) -> Routing:
    """Choose the best experts of each token; ties go to the lower number, as in jax.lax.top_k.

    Args:
        x: Normed activations, `f32[T, d]`; the router always computes in float32.
        weights: `f32[d, expert]`.
        selected: Experts per token. Gates stay as the softmax over all of them gave them.
    """
    gates = softmax(x @ weights)
    order = np.argsort(-gates, axis=-1, kind="stable")[:, : selected + 1]
    ordered = np.take_along_axis(gates, order, axis=-1)
    return Routing(order[:, :selected], ordered[:, :selected], _margin(ordered, selected))


def _margin(ordered: np.ndarray, selected: int) -> np.ndarray:
    """Compute the margin of each choice: last chosen gate less the first not chosen."""
    if ordered.shape[1] <= selected:
        return np.full(len(ordered), np.inf, np.float32)
    last, next_best = ordered[:, selected - 1], ordered[:, selected]
    made: np.ndarray = (last - next_best) / np.maximum(last, np.finfo(np.float32).tiny)
    return made


@dataclass(frozen=True, slots=True)
class Slice:
    """Part of an expert's inner width, and the three matrices for it."""

    gate: Matrix
    up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True)
class ExpertBatch:
    """Tokens that one expert works on."""

    expert: int
    tokens: np.ndarray
    gates: np.ndarray
    slices: tuple[Slice, ...]


def shares(
    routing: Routing, weights: Mapping[Part, TensorSpec], every: int | None = None
) -> list[ExpertBatch]:
    """List the experts that some token chose, in the order of their numbers.

    Args:
        routing: What the router decided.
        weights: Of the layer, by part.
        every: Tokens that an expert may have, to take all experts, also those without a token, and
            to cut their width for so many: networks that run side by side cut alike. None for the
            chosen ones, each cut for the tokens that it has.
    """
    gate, up, down = (weights[name] for name in (GATE, UP, DOWN))
    found = []
    count = gate.values.shape[0]
    for expert in np.unique(routing.chosen) if every is None else range(count):
        tokens, gates = routing.tokens_of(int(expert))
        parts = tuple(
            Slice(
                matrix(gate, int(expert), outputs=part),
                matrix(up, int(expert), outputs=part),
                matrix(down, int(expert), inputs=part),
            )
            for part in _parts(gate.values.shape[-1], every or len(tokens))
        )
        found.append(ExpertBatch(int(expert), tokens, gates, parts))
    return found


def wanted(work: Sequence[ExpertBatch]) -> list[Matrix]:
    """List the matrices in the order of their use."""
    return [m for share in work for part in share.slices for m in (part.gate, part.up, part.down)]


def _parts(width: int, tokens: int) -> Iterator[tuple[int, int]]:
    """Cut an expert's inner width into slices whose activations fit."""
    most = max(_ALIGNED, HIDDEN_BYTES // (2 * 4 * tokens) // _ALIGNED * _ALIGNED)
    for first in range(0, width, most):
        yield first, min(first + most, width)


def mix(
    x: np.ndarray,
    work: Sequence[ExpertBatch],
    lanes: Lanes,
    watch: Watch,
    room: Room,
    out: np.ndarray,
) -> Iterator[Product]:
    """Pass every token through its experts, weighted by their gates.

    Args:
        x: Normed activations, `f32[T, d]`.
        work: What each expert has to do; its matrices were announced to the stream.
        lanes: Threads for what is no product.
        watch: Sees the inputs of each matrix: its name, expert, and `f32[n, in]`.
        room: Makes empty arrays of activations.
        out: Receives the sum, `f32[T, d]`.

    Yields:
        Each product, which is to be done before the next is asked for.
    """
    precision = lanes.precision
    out[...] = 0
    for share in work:
        own, made = (room(len(share.tokens), x.shape[1]) for _ in range(2))
        np.take(x, share.tokens, axis=0, out=own)
        made[...] = 0
        watch(GATE, share.expert, own)
        for part in share.slices:
            inner = yield from _hidden(own, part, lanes)
            watch(DOWN, share.expert, inner)
            yield Product(inner, part.down, made)
        made *= precision.settle(share.gates.copy())[:, None]
        out[share.tokens] += made
    precision.settle(out)


def _hidden(x: np.ndarray, part: Slice, lanes: Lanes) -> Generator[Product, None, np.ndarray]:
    """Compute a slice of an expert's inner activations: `gelu(x @ gate) * (x @ up)`."""
    made = []
    for one in (part.gate, part.up):
        product = np.zeros((len(x), one.columns), np.float32)
        yield Product(x, one, product)
        made.append(lanes.precision.settle(product))
    gate, up = made
    width = max(1, gate.shape[-1])
    rows = max(1, (1 << 20) // width)
    pieces = [slice(first, first + rows) for first in range(0, len(gate), rows)]
    lanes.spread(lambda piece: _activate(gate[piece], up[piece]), pieces)
    return gate


def _activate(gate: np.ndarray, up: np.ndarray) -> None:
    gelu(gate)
    gate *= up
