"""Distance of two networks on the same tokens: the figures that limits are about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from grokpack.evaluation.results import sum_squares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.evaluation.network.experts import Routing
    from grokpack.evaluation.network.logit_scores import Divergence


class LayerDistance(Protocol):
    """Distance of two networks after one layer, each in its own stream."""

    @property
    def flips(self) -> float:
        """Share of tokens for which the routers chose other experts."""

    @property
    def cosine(self) -> float:
        """Mean cosine of each token's residual stream."""


class NetworkDistance:
    """Figures of two networks that computed the same tokens; dataclasses under it have the fields.

    Attributes:
        kl: KL divergence of each token's prediction, `f64[T]` in nats.
        top1: Share of tokens whose likeliest successor is the same.
        layers: Distance after each layer.
    """

    __slots__ = ()
    kl: np.ndarray
    top1: float
    layers: Sequence[LayerDistance]

    @property
    def kl_mean(self) -> float:
        """Mean KL divergence over all tokens, in nats."""
        return float(self.kl.mean())

    @property
    def kl_p99(self) -> float:
        """99th percentile of the tokens' KL divergences, in nats."""
        return float(np.quantile(self.kl, 0.99))

    def described(self) -> str:
        """Describe the distance in one line."""
        return f"KL divergence {self.kl_mean:.4g} nats, likeliest token agrees {self.top1:.2%}"

    @property
    def most_flips(self) -> float:
        """Share of tokens with other experts in the layer where that is largest."""
        return max((layer.flips for layer in self.layers), default=0.0)

    @property
    def least_cosine(self) -> float:
        """Mean cosine of the residual streams after the layer where that is least."""
        return min((layer.cosine for layer in self.layers), default=1.0)


def relative_error(
    other: np.ndarray,
    one: np.ndarray,
    before: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> float:
    """Compute the relative error over all tokens: root of squared differences over squares.

    Args:
        other: Activations to judge, `f32[T, d]`.
        one: Their reference.
        before: Activations that are subtracted from both first.
        rows: Tokens that count, `bool[T]`; None for all.
    """
    whole, errors = sum_squares(one, before, rows), sum_squares(other, one, rows)
    if not whole:
        return math.inf if errors else 0.0
    return math.sqrt(errors / whole)


def router_flips(ours: Routing, theirs: Routing, size: int) -> float:
    """Compute the share of the first `size` tokens for which the two chose other experts.

    It is 1 where they choose another number of them.
    """
    if ours.chosen.shape[1] != theirs.chosen.shape[1]:
        return 1.0
    one = np.sort(ours.chosen[:size], axis=1)
    other = np.sort(theirs.chosen[:size], axis=1)
    return float(np.mean((one != other).any(axis=1)))


def agreement(found: Divergence) -> tuple[float, float]:
    """Compute the shares of likeliest tokens, and of the eight likeliest, that are the same."""
    one, other = found.first.best, found.second.best
    shared = (one[:, :, None] == other[:, None, :]).any(axis=2)
    return float(np.mean(one[:, 0] == other[:, 0])), float(np.mean(shared))
