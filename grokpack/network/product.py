"""Activations times bands of weights: lanes of columns, each with a thread of its own.

A lane owns its columns of the result, and takes the bands in the order they come. So no two
threads ever add to the same number, and the order of a sum does not depend on the clock.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from grokpack.kernels import widening
from grokpack.kernels.dispatch import twin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future

    from grokpack.kernels.dispatch import Engine
    from grokpack.network.matrices import Band
    from grokpack.network.precision import Precision

S = TypeVar("S")
T = TypeVar("T")

TILE_COLUMNS = 512
TILE_ROWS = 1024
"""A tile of weights in float32 takes 2 MiB: it is multiplied while it lies in the cache."""
TOKENS = 1024  # multiplied with a tile at a time
_BANDS_IN_WORK = 2


class Lanes:
    """Threads that multiply; one object serves a whole run.

    Args:
        workers: Threads.
        precision: Weights are rounded to it.
        engine: Which twin of each kernel runs.
    """

    def __init__(self, workers: int, precision: Precision, engine: Engine = "numpy") -> None:
        self.precision = precision
        self._engine: Engine = engine
        self._lanes = [ThreadPoolExecutor(1, f"lane-{n}") for n in range(workers)]

    def close(self) -> None:
        """End the threads."""
        for lane in self._lanes:
            lane.shutdown(wait=True, cancel_futures=True)

    def spread(self, work: Callable[[S], T], tasks: Sequence[S]) -> list[T]:
        """Do independent tasks on all lanes; the results in the tasks' order."""
        futures = [
            self._lanes[i % len(self._lanes)].submit(work, task) for i, task in enumerate(tasks)
        ]
        return [future.result() for future in futures]

    def multiply(self, x: np.ndarray, bands: Iterable[Band], out: np.ndarray) -> np.ndarray:
        """Add `x f32[T, in]` times a matrix to `out f32[T, out]`.

        Args:
            x: Activations.
            bands: The matrix, in bands of rows or of columns.
            out: What is added to.
        """
        pending: deque[list[Future[None]]] = deque()
        for band in bands:
            pending.append(
                [lane.submit(self._share, x, band, out, n) for n, lane in enumerate(self._lanes)]
            )
            if len(pending) > _BANDS_IN_WORK:
                _finish(pending.popleft())
        while pending:
            _finish(pending.popleft())
        return out

    def _share(self, x: np.ndarray, band: Band, out: np.ndarray, lane: int) -> None:
        """A lane's tiles of a band."""
        low, high = band.columns
        for tile in range(low // TILE_COLUMNS, -(-high // TILE_COLUMNS)):
            if tile % len(self._lanes) != lane:
                continue
            first, last = max(low, tile * TILE_COLUMNS), min(high, (tile + 1) * TILE_COLUMNS)
            for row in range(*band.rows, TILE_ROWS):
                end = min(row + TILE_ROWS, band.rows[1])
                weights = self._widened(band, (row, end), (first, last))
                for token in range(0, len(x), TOKENS):
                    part = slice(token, token + TOKENS)
                    out[part, first:last] += x[part, row:end] @ weights

    def _widened(self, band: Band, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """A tile's weights, `f32[in, out]`, multiplied with their scales."""
        r = slice(rows[0] - band.rows[0], rows[1] - band.rows[0])
        c = slice(columns[0] - band.columns[0], columns[1] - band.columns[0])
        part = (c, r) if band.turned else (r, c)
        if band.scales is None:
            made = band.values[part]
            made = self.precision.settle(made.copy()) if self.precision.rounds else made
        else:
            made = np.empty([axis.stop - axis.start for axis in part], np.float32)
            kernel = twin(widening.turned if band.turned else widening.straight, self._engine)
            first, per_group = band.first, band.per_group
            kernel(band.values, band.scales, r.start, c.start, first, per_group, made)
            self.precision.settle(made)
        return made.T if band.turned else made


def _finish(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result()
