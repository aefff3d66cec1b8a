"""The mixture of experts: who works on which token, and the work, expert by expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.network.arithmetic import gelu, softmax
from grokpack.network.matrices import matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from grokpack.network.matrices import Matrix
    from grokpack.network.precision import Precision
    from grokpack.network.product import Lanes
    from grokpack.network.stream import Stream
    from grokpack.tensor import TensorSpec

    Room = Callable[[int, int], np.ndarray]
    Watch = Callable[[str, int | None, np.ndarray], None]

HIDDEN_BYTES = 256 << 20
"""Of an expert's inner activations, gate and up together: 1,024 tokens of Grok-1's whole width.
More tokens than fit are worked through a slice of the width at a time."""
_ALIGNED = 1024
GATE, UP, DOWN = "moe/linear/w", "moe/linear_v/w", "moe/linear_1/w"


@dataclass(frozen=True, slots=True)
class Routing:
    """What the router decided.

    Attributes:
        chosen: Experts of each token, `i64[T, k]`, the best first.
        gates: The share of each, `f32[T, k]`; they do not add up to one.
    """

    chosen: np.ndarray
    gates: np.ndarray

    def per_expert(self, experts: int) -> np.ndarray:
        """Tokens that each expert works on, `i64[expert]`."""
        return np.bincount(self.chosen.ravel(), minlength=experts)

    def tokens_of(self, expert: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that chose an expert, `i64[n]`, and its gates for them, `f32[n]`."""
        tokens, rank = np.nonzero(self.chosen == expert)
        return tokens, self.gates[tokens, rank]


def route(x: np.ndarray, weights: np.ndarray, selected: int) -> Routing:
    """The best experts of each token; ties go to the lower number, as jax.lax.top_k has it.

    Args:
        x: Normed activations, `f32[T, d]`; the router always computes in float32.
        weights: `f32[d, expert]`.
        selected: Experts per token. Gates stay as the softmax over all of them gave them.
    """
    gates = softmax(x @ weights)
    chosen = np.argsort(-gates, axis=-1, kind="stable")[:, :selected]
    return Routing(chosen, np.take_along_axis(gates, chosen, axis=-1))


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of an expert's inner width, and the three matrices that meet it."""

    gate: Matrix
    up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True)
class Share:
    """What an expert has to do."""

    expert: int
    tokens: np.ndarray
    gates: np.ndarray
    slices: tuple[Slice, ...]


def shares(routing: Routing, weights: dict[str, TensorSpec]) -> list[Share]:
    """The experts that some token chose, in the order of their numbers."""
    gate, up, down = (weights[name] for name in (GATE, UP, DOWN))
    found = []
    for expert in np.unique(routing.chosen):
        tokens, gates = routing.tokens_of(int(expert))
        parts = tuple(
            Slice(
                matrix(gate, int(expert), outputs=part),
                matrix(up, int(expert), outputs=part),
                matrix(down, int(expert), inputs=part),
            )
            for part in _parts(gate.values.shape[-1], len(tokens))
        )
        found.append(Share(int(expert), tokens, gates, parts))
    return found


def wanted(work: Sequence[Share]) -> list[Matrix]:
    """The matrices in the order of their use."""
    return [m for share in work for part in share.slices for m in (part.gate, part.up, part.down)]


def _parts(width: int, tokens: int) -> Iterator[tuple[int, int]]:
    """Slices of an expert's inner width whose activations fit."""
    most = max(_ALIGNED, HIDDEN_BYTES // (2 * 4 * tokens) // _ALIGNED * _ALIGNED)
    for first in range(0, width, most):
        yield first, min(first + most, width)


def mix(
    x: np.ndarray,
    work: Sequence[Share],
    stream: Stream,
    lanes: Lanes,
    watch: Watch,
    room: Room,
    out: np.ndarray,
) -> np.ndarray:
    """Every token through the experts it chose, weighted by their gates.

    Args:
        x: Normed activations, `f32[T, d]`.
        work: What each expert has to do; its matrices were announced to the stream.
        stream: The weights.
        lanes: Threads that multiply.
        watch: Sees the inputs of each matrix: its name, expert, and `f32[n, in]`.
        room: Makes empty arrays of activations.
        out: Receives the sum, `f32[T, d]`.
    """
    precision = lanes.precision
    out[...] = 0
    for share in work:
        own, made = (room(len(share.tokens), x.shape[1]) for _ in range(2))
        np.take(x, share.tokens, axis=0, out=own)
        made[...] = 0
        watch(GATE, share.expert, own)
        for part in share.slices:
            inner = _hidden(own, part, stream, lanes, precision)
            watch(DOWN, share.expert, inner)
            lanes.multiply(inner, stream.take(part.down), made)
        made *= precision.settle(share.gates.copy())[:, None]
        out[share.tokens] += made
    return precision.settle(out)


def _hidden(
    x: np.ndarray, part: Slice, stream: Stream, lanes: Lanes, precision: Precision
) -> np.ndarray:
    """A slice of an expert's inner activations: `gelu(x @ gate) * (x @ up)`, `f32[n, width]`."""
    made = []
    for one in (part.gate, part.up):
        product = np.zeros((len(x), one.columns), np.float32)
        lanes.multiply(x, stream.take(one), product)
        made.append(precision.settle(product))
    gate, up = made
    width = max(1, gate.shape[-1])
    rows = max(1, (1 << 20) // width)
    pieces = [slice(first, first + rows) for first in range(0, len(gate), rows)]
    lanes.spread(lambda piece: _activate(gate[piece], up[piece]), pieces)
    return gate


def _activate(gate: np.ndarray, up: np.ndarray) -> None:
    gelu(gate)
    gate *= up
