"""Batches: tokens of several sequences, so that each weight is read once for all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Batch:
    """Sequences whose tokens lie one after another.

    Attributes:
        tokens: `i64[T]`, all sequences joined.
        lengths: Tokens of each sequence.
        starts: Position of each sequence's first token; earlier ones are in the key/value cache.
    """

    tokens: np.ndarray
    lengths: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of tokens in all."""
        return sum(self.lengths)

    @cached_property
    def spans(self) -> tuple[slice, ...]:
        """Range of each sequence among all tokens."""
        ends = np.cumsum(self.lengths)
        return tuple(slice(int(e) - n, int(e)) for e, n in zip(ends, self.lengths, strict=True))

    @cached_property
    def positions(self) -> np.ndarray:
        """Position of each token in its sequence, `i64[T]`."""
        own = [np.arange(n) + s for n, s in zip(self.lengths, self.starts, strict=True)]
        return np.concatenate(own)

    def twice(self) -> Batch:
        """Return a batch that has every sequence twice."""
        joined = np.concatenate((self.tokens, self.tokens))
        return Batch(joined, self.lengths * 2, self.starts * 2)


def batch(sequences: list[np.ndarray], starts: tuple[int, ...] | None = None) -> Batch:
    """Join sequences of tokens, `i[T]` each."""
    tokens = np.concatenate([np.asarray(s, np.int64) for s in sequences])
    return Batch(tokens, tuple(len(s) for s in sequences), starts or (0,) * len(sequences))
