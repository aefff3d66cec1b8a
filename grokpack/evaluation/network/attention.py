"""Grouped-query attention, head by head, a few queries at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.evaluation.network.arithmetic import (
    MASKED,
    apply_rope,
    attention_temperatures,
    rope_cos_sin,
    soft_cap,
    softmax,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.evaluation.network.batch import Batch
    from grokpack.evaluation.network.experts import Allocate
    from grokpack.evaluation.network.matrix_products import Lanes
    from grokpack.evaluation.network.precision import Precision
    from grokpack.models.architecture import Constants

_LOGITS_BYTES = 32 << 20  # of one head group's logits that a thread holds


@dataclass(frozen=True, slots=True)
class Heads:
    """Division of projections into heads.

    Attributes:
        query: Query heads.
        kv: Key and value heads; query head `j` uses head `j // (query / kv)` of them.
        size: Features of a head.
    """

    query: int
    kv: int
    size: int


@dataclass(slots=True)
class KVCache:
    """Key/value cache of one layer.

    Attributes:
        keys: Keys of each sequence after RoPE, `f32[T, kv * size]`, with room for its full length.
        values: Values of each sequence, likewise.
        tokens: Tokens of each sequence, `i64[T]`.
    """

    keys: list[np.ndarray]
    values: list[np.ndarray]
    tokens: list[np.ndarray]


def empty_kv_cache(lengths: Sequence[int], width: int, allocate: Allocate) -> KVCache:
    """Make an empty cache for sequences of up to these lengths; `width` is that of all keys."""
    keys, values = ([allocate(n, width) for n in lengths] for _ in range(2))
    return KVCache(keys, values, [np.zeros(n, np.int64) for n in lengths])


@dataclass(frozen=True, slots=True)
class AttentionContext:
    """Keys and values that a sequence's queries may attend to.

    Attributes:
        tokens: Token of every key, `i[T]`, by which keys are masked.
        keys: `f32[T, kv * size]`, after RoPE.
        values: `f32[T, kv * size]`.
    """

    tokens: np.ndarray
    keys: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class _Task:
    """Queries of one sequence for one key head; `out` receives the result."""

    queries: np.ndarray  # f32[T, shared, size]
    start: int  # position of the first query
    context: AttentionContext
    head: int
    out: np.ndarray


class Attention:
    """Attention without its projections.

    Args:
        heads: Division of projections into heads.
        constants: Multiplier, cap, temperature, base of RoPE.
        masked: Token that is never attended to; -1 for none.
        precision: Precision of the arithmetic.
        lanes: Threads.
    """

    def __init__(
        self, heads: Heads, constants: Constants, masked: int, precision: Precision, lanes: Lanes
    ) -> None:
        self._heads = heads
        self._constants = constants
        self._masked = masked
        self._precision = precision
        self._lanes = lanes

    def apply_rope_to(self, projected: np.ndarray, batch: Batch) -> np.ndarray:
        """Apply RoPE to queries or keys `f32[T, heads * size]`, in place."""
        size = self._heads.size
        rows = 256
        for first in range(0, len(projected), rows):
            part = projected[first : first + rows]
            positions = batch.positions[first : first + rows]
            cosines, sines = rope_cos_sin(positions, size, self._constants.rope_theta)
            apply_rope(part.reshape(len(part), -1, size), cosines, sines)
            self._precision.settle(part)
        return projected

    def attend(
        self, queries: np.ndarray, batch: Batch, contexts: list[AttentionContext]
    ) -> np.ndarray:
        """Replace the queries of each sequence by the result of their attention.

        Args:
            queries: `f32[T, query * size]`, after RoPE.
            batch: The sequences.
            contexts: Their keys and values.
        """
        heads = self._heads
        grouped = queries.reshape(len(queries), heads.kv, heads.query // heads.kv, heads.size)
        tasks = [
            _Task(grouped[span, head], start, keys, head, grouped[span, head])
            for span, start, keys in zip(batch.spans, batch.starts, contexts, strict=True)
            for head in range(heads.kv)
        ]
        self._lanes.spread(self._work, tasks)
        return queries

    def _work(self, task: _Task) -> None:
        own = slice(task.head * self._heads.size, (task.head + 1) * self._heads.size)
        keys, values = task.context.keys[:, own], task.context.values[:, own]
        hidden = task.context.tokens == self._masked
        blind = len(hidden) if hidden.all() else int(np.argmin(hidden))
        count, shared, _ = task.queries.shape
        step = max(1, _LOGITS_BYTES // (4 * shared * len(keys)))
        for first in range(0, count, step):
            part = task.queries[first : first + step]
            position = task.start + first
            known = position + len(part)  # later keys are the future of all of these
            made = self._heads_of(part, keys[:known], values[:known], hidden[:known], position)
            task.out[first : first + step] = made
        for row in range(max(0, blind - task.start)):
            # then model.py gives every key the same logit, future ones included
            task.out[row : row + 1] = values.mean(axis=0)

    def _heads_of(
        self,
        queries: np.ndarray,
        keys: np.ndarray,
        values: np.ndarray,
        hidden: np.ndarray,
        position: int,
    ) -> np.ndarray:
        """Return some queries of all heads that share a key head, `f32[T, shared, size]`."""
        count, shared, size = queries.shape
        rows = np.ascontiguousarray(queries.transpose(1, 0, 2)).reshape(-1, size)
        logits = self._precision.settle(rows @ keys.T)
        logits *= np.float32(self._constants.attn_output_multiplier)
        soft_cap(logits, self._constants.attn_logit_cap)
        positions = position + np.arange(count)
        by_head = logits.reshape(shared, count, -1)
        if self._constants.temperature_context > 1:
            by_head *= attention_temperatures(positions, self._constants.temperature_context)[
                :, None
            ]
        future = np.arange(len(keys))[None, :] > positions[:, None]
        by_head[:, future | hidden[None, :]] = MASKED
        weights = self._precision.settle(softmax(logits))
        made = self._precision.settle(weights @ values)
        return made.reshape(shared, count, size).transpose(1, 0, 2)
