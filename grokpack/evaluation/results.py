"""Results of an evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.notebook_table import notebook_table

if TYPE_CHECKING:
    from grokpack.evaluation.network.experts import Allocate, Routing
    from grokpack.evaluation.network.logit_scores import Scores

_ROWS = 256  # summed at a time


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss over predicted tokens.

    Attributes:
        tokens: Number of predicted tokens.
        mean: Mean negative log probability, in nats; NaN without tokens, or where one has NaN.
        error: Standard error of that mean; NaN for fewer than two tokens.
        top1: Share of tokens that were the likeliest.
        lost: Number of predicted tokens whose loss is NaN.
    """

    tokens: int
    mean: float
    error: float
    top1: float
    lost: int = 0

    @property
    def perplexity(self) -> float:
        """Exponential of the mean loss; infinite if that is too large."""
        try:
            return math.exp(self.mean)
        except OverflowError:
            return math.inf

    @property
    def perplexity_error(self) -> float:
        """Standard error of the perplexity, to first order."""
        return self.perplexity * self.error

    def described(self) -> str:
        """Format the perplexity with its standard error."""
        return f"{self.perplexity:.4g} +- {self.perplexity_error:.2g}"


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """Statistics of a layer's activations.

    Attributes:
        layer: Number of the layer.
        rms: Root mean square of the residual stream after it.
        largest: Largest absolute value of that stream.
        attention_rms: Root mean square of the values that attention added to the stream.
        experts_rms: Root mean square of the values that the experts added.
        load: Number of tokens of each expert.
        gate: Mean gate of a token's best expert.
    """

    layer: int
    rms: float
    largest: float
    attention_rms: float
    experts_rms: float
    load: tuple[int, ...]
    gate: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of one network on some tokens.

    Attributes:
        loss: Loss over all tokens.
        losses: Loss of each token, `f64[T]` in nats; NaN where no token follows.
        layers: Statistics of each layer's activations.
        tokens: Number of tokens that went through the network.
        read_bytes: Bytes of weights that were read.
        seconds: Wall time.
    """

    loss: Loss
    losses: np.ndarray
    layers: tuple[LayerFacts, ...]
    tokens: int
    read_bytes: int
    seconds: float

    def __repr__(self) -> str:
        tokens = counted(self.tokens, "token")
        return f"<Evaluation of {tokens}: perplexity {self.loss.described()}>"

    def _repr_html_(self) -> str:
        facts = {
            "perplexity": self.loss.described(),
            "likeliest token right": f"{self.loss.top1:.2%}",
            "tokens": f"{self.tokens:,}",
            "layers": f"{len(self.layers)}",
            "read": byte_size(self.read_bytes),
            "time": f"{self.seconds:.1f} s",
        }
        return notebook_table("Evaluation", facts)


def loss_of(scores: Scores) -> Loss:
    """Compute the loss over all tokens that have a next token."""
    held = scores.targets >= 0
    known = scores.losses[held]
    if not len(known):
        return Loss(0, math.nan, math.nan, math.nan)
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
    top1 = float(np.mean(scores.best[held, 0] == scores.targets[held]))
    lost = int(np.count_nonzero(np.isnan(known)))
    return Loss(len(known), float(known.mean()), error, top1, lost)


def sum_squares(
    x: np.ndarray, less: np.ndarray | None = None, rows: np.ndarray | None = None
) -> float:
    """Sum the squares of `f32[T, d]`, or of its difference from another, in float64.

    Args:
        x: Activations.
        less: Activations to subtract first.
        rows: Tokens that count, `bool[T]`; None for all.
    """
    total = 0.0
    for first in range(0, len(x), _ROWS):
        part = x[first : first + _ROWS]
        if less is not None:
            part = part - less[first : first + _ROWS]
        if rows is not None:
            part = part[rows[first : first + _ROWS]]
        total += float(np.square(part, dtype=np.float64).sum())
    return total


def mean_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the mean of the cosines of rows of `f32[T, d]`, in float64.

    A row of zeros has the cosine 1 with another of zeros, and 0 with any other.
    """
    total = 0.0
    for first in range(0, len(one), _ROWS):
        x, y = (a[first : first + _ROWS].astype(np.float64) for a in (one, other))
        norms = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
        equal = (x == y).all(axis=1)
        total += float(
            np.divide((x * y).sum(axis=1), norms, out=equal * 1.0, where=norms > 0).sum()
        )
    return total / len(one)


class LayerWatch:
    """Observer of the residual stream before, within and after one layer.

    Args:
        h: The stream before the layer, `f32[T, d]`.
        allocate: Makes an empty array for a copy of the stream.
    """

    def __init__(self, h: np.ndarray, allocate: Allocate) -> None:
        self._before = allocate(*h.shape)
        self._before[...] = h
        self._attention = 0.0

    def between(self, h: np.ndarray) -> None:
        """Measure the stream after attention."""
        self._attention = sum_squares(h, self._before)
        self._before[...] = h

    def after(self, number: int, h: np.ndarray, routing: Routing, experts: int) -> LayerFacts:
        """Return the measurements."""
        own, attention, mixed = (
            math.sqrt(total / h.size)
            for total in (sum_squares(h), self._attention, sum_squares(h, self._before))
        )
        return LayerFacts(
            number,
            own,
            float(max(-h.min(), h.max())),
            attention,
            mixed,
            tuple(int(n) for n in routing.per_expert(experts)),
            float(routing.gates[:, 0].mean()),
        )
