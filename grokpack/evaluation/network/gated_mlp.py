"""Gated MLP, of an expert or dense beside the experts, computed in slices of its inner width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from grokpack.evaluation.network.matrices import matrix
from grokpack.evaluation.network.matrix_products import Product

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.matrices import Matrix
    from grokpack.evaluation.network.matrix_products import Lanes
    from grokpack.models.architecture import NetworkPart

    Activation = Callable[[np.ndarray], np.ndarray]
    InputWatch = Callable[[NetworkPart, int | None, np.ndarray], None]

HIDDEN_BYTES = 256 << 20
"""Bytes of inner activations, gate and up together: 1,024 tokens of the width of Grok-1's experts.
If more tokens come than fit, the width is computed slice by slice."""
_ALIGNED = 1024


@dataclass(frozen=True, slots=True)
class Slice:
    """Slice of a gated MLP's inner width: its parts of the three matrices."""

    gate: Matrix
    up: Matrix
    down: Matrix


class GatedParts(NamedTuple):
    """Names of the three matrices of a gated MLP, as parts of the network."""

    gate: NetworkPart
    up: NetworkPart
    down: NetworkPart


@dataclass(frozen=True, slots=True)
class GatedMLP:
    """Gated MLP of a batch of tokens: `down(f(gate(x)) * up(x))`.

    Attributes:
        parts: Names of its matrices.
        expert: Number of the expert; None for an MLP that all tokens pass through.
        slices: Its matrices, by slices of the inner width.
    """

    parts: GatedParts
    expert: int | None
    slices: tuple[Slice, ...]

    def wanted(self) -> list[Matrix]:
        """List the matrices in the order of their use."""
        return [matrix for part in self.slices for matrix in (part.gate, part.up, part.down)]


def cut_gated_mlp(
    weights: Mapping[NetworkPart, TensorSpec],
    parts: GatedParts,
    tokens: int,
    expert: int | None = None,
) -> GatedMLP:
    """Cut a gated MLP for a number of tokens.

    Args:
        weights: Weights of the layer, by part.
        parts: Names of its matrices.
        tokens: Number of tokens that pass through it.
        expert: Index in a stack of experts; None where there is no stack.
    """
    gate, up, down = weights[parts.gate], weights[parts.up], weights[parts.down]
    slices = tuple(
        Slice(
            matrix(gate, expert, outputs=part),
            matrix(up, expert, outputs=part),
            matrix(down, expert, inputs=part),
        )
        for part in _ranges(gate.values.shape[-1], tokens)
    )
    return GatedMLP(parts, expert, slices)


def _ranges(width: int, tokens: int) -> Iterator[tuple[int, int]]:
    """Cut an inner width into slices whose activations fit."""
    most = max(_ALIGNED, HIDDEN_BYTES // (2 * 4 * tokens) // _ALIGNED * _ALIGNED)
    for first in range(0, width, most):
        yield first, min(first + most, width)


def add_gated(
    x: np.ndarray,
    mlp: GatedMLP,
    lanes: Lanes,
    activation: Activation,
    watch: InputWatch,
    out: np.ndarray,
) -> Iterator[Product]:
    """Add the result of a gated MLP for each token.

    Args:
        x: Normalized activations, `f32[T, d]`.
        mlp: The MLP; the stream has been told of its matrices.
        lanes: Threads for everything but products.
        activation: Nonlinearity of the gate, applied in place.
        watch: Called with the inputs of each matrix: its part, expert, and `f32[T, in]`.
        out: Array to which the result is added, `f32[T, d]`.

    Yields:
        Each product, which the caller computes before it asks for the next.
    """
    watch(mlp.parts.gate, mlp.expert, x)
    for part in mlp.slices:
        inner = yield from _hidden(x, part, lanes, activation)
        watch(mlp.parts.down, mlp.expert, inner)
        yield Product(inner, part.down, out)


def _hidden(
    x: np.ndarray, part: Slice, lanes: Lanes, activation: Activation
) -> Generator[Product, None, np.ndarray]:
    """Compute a slice of the inner activations: `activation(x @ gate) * (x @ up)`."""
    made = []
    for one in (part.gate, part.up):
        product = np.zeros((len(x), one.columns), np.float32)
        yield Product(x, one, product)
        made.append(lanes.precision.settle(product))
    gate, up = made
    width = max(1, gate.shape[-1])
    rows = max(1, (1 << 20) // width)

    def activate(piece: slice) -> None:
        own = activation(gate[piece])
        own *= up[piece]

    lanes.spread(activate, [slice(first, first + rows) for first in range(0, len(gate), rows)])
    return gate
