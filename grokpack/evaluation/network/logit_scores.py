"""Scores of logits that arrive in blocks of the vocabulary and are never held whole."""

from __future__ import annotations

import numpy as np

BEST = 8  # likeliest tokens that are kept of each distribution
_ROWS = 128  # tokens whose logits are processed at a time


class Scores:
    """Scores of one network's predictions.

    Attributes:
        targets: The token that each prediction should give, `i64[T]`; -1 for none.
        best: The likeliest tokens, `i64[T, 8]`, the likeliest first.

    Args:
        targets: As above.
    """

    def __init__(self, targets: np.ndarray) -> None:
        count = len(targets)
        self.targets = targets
        self.best = np.zeros((count, 0), np.int64)
        self._best_logits = np.zeros((count, 0), np.float32)
        self._largest = np.full(count, -np.inf)
        self._sum = np.zeros(count)
        self._target_logits = np.full(count, np.nan)

    def add(self, first: int, logits: np.ndarray) -> None:
        """Add the logits `f32[T, block]` of tokens from `first` on."""
        for row in range(0, len(logits), _ROWS):
            part = slice(row, row + _ROWS)
            self._add(part, first, logits[part])

    def _add(self, part: slice, first: int, logits: np.ndarray) -> None:
        largest = np.maximum(self._largest[part], logits.max(axis=1))
        self._sum[part] *= np.exp(self._largest[part] - largest)
        self._sum[part] += _weights(logits, largest).sum(axis=1, dtype=np.float64)
        self._largest[part] = largest
        own = self.targets[part] - first
        inside = np.flatnonzero((own >= 0) & (own < logits.shape[1]))
        self._target_logits[part][inside] = logits[inside, own[inside]]
        self._keep_best(part, first, logits)

    def _keep_best(self, part: slice, first: int, logits: np.ndarray) -> None:
        count = min(BEST, logits.shape[1])
        found = np.argpartition(-logits, count - 1, axis=1)[:, :count]
        values = np.concatenate(
            (self._best_logits[part], np.take_along_axis(logits, found, axis=1)), axis=1
        )
        tokens = np.concatenate((self.best[part], found + first), axis=1)
        # of equal logits the lower token comes first, as in argmax
        order = np.lexsort((tokens, -values), axis=1)[:, :BEST]
        if self.best.shape[1] != order.shape[1]:
            self._widen(order.shape[1])
        self.best[part] = np.take_along_axis(tokens, order, axis=1)
        self._best_logits[part] = np.take_along_axis(values, order, axis=1)

    def _widen(self, count: int) -> None:
        rows, had = self.best.shape
        best, logits = np.zeros((rows, count), np.int64), np.full((rows, count), -np.inf)
        best[:, :had], logits[:, :had] = self.best, self._best_logits
        self.best, self._best_logits = best, logits.astype(np.float32)

    @property
    def log_sum(self) -> np.ndarray:
        """Return the logarithm of the sum of all exponentials, `f64[T]`."""
        total: np.ndarray = self._largest + np.log(self._sum)
        return total

    @property
    def losses(self) -> np.ndarray:
        """Return the negative log probability of each target, `f64[T]` in nats; NaN without one."""
        losses: np.ndarray = self.log_sum - self._target_logits
        return losses


class Divergence:
    """Divergence of a network's predictions from those of a reference, on the same tokens.

    Attributes:
        first: Scores of the reference, to which its logits are added apart, once for all networks.
        second: Scores of the other network.

    Args:
        reference: As above.
    """

    def __init__(self, reference: Scores) -> None:
        self.first, self.second = reference, Scores(reference.targets)
        count = len(reference.targets)
        self._gap = np.zeros(count)  # sum of exp(a - largest a) * (a - b)
        self._largest = np.full(count, -np.inf)

    def add(self, first: int, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Add the logits `f32[T, block]` of tokens from `first` on, the reference's and others'."""
        self.second.add(first, theirs)
        for row in range(0, len(ours), _ROWS):
            part = slice(row, row + _ROWS)
            largest = np.maximum(self._largest[part], ours[part].max(axis=1))
            self._gap[part] *= np.exp(self._largest[part] - largest)
            weights = _weights(ours[part], largest)
            weights *= ours[part] - theirs[part]
            self._gap[part] += weights.sum(axis=1, dtype=np.float64)
            self._largest[part] = largest

    @property
    def kl(self) -> np.ndarray:
        """Return the KL divergence of the second from the first, `f64[T]` in nats, at least 0."""
        scale = np.exp(self._largest - self.first.log_sum)
        found = self._gap * scale - self.first.log_sum + self.second.log_sum
        positive: np.ndarray = np.maximum(found, 0)  # rounding can give less
        return positive


def _weights(logits: np.ndarray, largest: np.ndarray) -> np.ndarray:
    shifted = logits - largest[:, None].astype(np.float32)
    made: np.ndarray = np.exp(shifted, out=shifted)
    return made
