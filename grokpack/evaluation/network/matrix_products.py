"""Products of activations and bands of weights, in lanes of columns with a thread each.

A lane owns some columns of the result, and processes the bands in their order. So no two threads
ever add to the same number, and the order of a sum does not depend on timing.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from grokpack.kernels import dequantized_tiles
from grokpack.kernels.dispatch import twin
from grokpack.kernels.float_casts import to_f32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from grokpack.evaluation.network.matrices import CodedBand, Matrix, MatrixRange
    from grokpack.evaluation.network.precision import Precision
    from grokpack.evaluation.network.weight_stream import Stream
    from grokpack.kernels.dispatch import Implementation

S = TypeVar("S")
T = TypeVar("T")

TILE_COLUMNS = 1024
TILE_ROWS = 1024
"""Rows and columns of a tile: 4 MiB in float32. Each row of codes is on a page of its own, so that
narrower tiles take longer to fill."""
TOKENS = 1024  # multiplied by a tile at a time
_BANDS_IN_WORK = 2


@dataclass(frozen=True, slots=True)
class Product:
    """Multiplication that a network requests; the stream has been told of its matrix.

    Attributes:
        x: Activations, `f32[T, in]`.
        matrix: The matrix by which they are multiplied.
        out: Array to which the product is added, `f32[T, out]`.
        transposed: True if the matrix is transposed first.
    """

    x: np.ndarray
    matrix: Matrix
    out: np.ndarray
    transposed: bool = False

    def bands(self, stream: Stream) -> Iterator[CodedBand]:
        """Yield the bands of the matrix as they arrive."""
        for band in stream.take(self.matrix):
            yield band.transpose() if self.transposed else band


@dataclass(frozen=True, slots=True)
class MatrixTile:
    """Part of a matrix from two checkpoints, before any rounding.

    Attributes:
        rows: First input in the matrix, and last + 1.
        columns: First output in the matrix, and last + 1.
        bands: The two bands from which it was cut.
        values: The two arrays of weights, `f32[in, out]`, which must not be modified.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    bands: tuple[CodedBand, CodedBand]
    values: tuple[np.ndarray, np.ndarray]


class Lanes:
    """Threads that multiply; one object serves a whole run.

    Args:
        workers: Number of threads.
        precision: Precision to which weights are rounded.
        implementation: Implementation of each kernel.
    """

    def __init__(
        self, workers: int, precision: Precision, implementation: Implementation = "numpy"
    ) -> None:
        self.precision = precision
        self.implementation: Implementation = implementation
        self._lanes = [
            ThreadPoolExecutor(1, f"lane-{n}", _let_values_overflow) for n in range(workers)
        ]

    def close(self) -> None:
        """End the threads."""
        for lane in self._lanes:
            lane.shutdown(wait=True, cancel_futures=True)

    def spread(self, work: Callable[[S], T], tasks: Sequence[S]) -> list[T]:
        """Run independent tasks on all lanes; return the results in the order of the tasks."""
        futures = [
            self._lanes[i % len(self._lanes)].submit(work, task) for i, task in enumerate(tasks)
        ]
        return [future.result() for future in futures]

    def multiply(self, x: np.ndarray, bands: Iterable[CodedBand], out: np.ndarray) -> np.ndarray:
        """Add `x f32[T, in]` times a matrix to `out f32[T, out]`.

        Args:
            x: Activations.
            bands: The matrix, in bands of rows or of columns.
            out: Array to which the product is added.
        """
        self._spread_bands(bands, lambda band, lane: self._share(x, band, out, lane))
        return out

    def multiply_all(
        self,
        products: Sequence[Product],
        bands: Iterable[tuple[CodedBand, ...]],
        look: Callable[[int, MatrixTile], None],
    ) -> None:
        """Compute the same product for several networks, tile by tile.

        Args:
            products: The product of each network.
            bands: The same bands of all.
            look: Called in any thread with each tile of the first network and another, and the
                number of the other, counted without the first.
        """
        self._spread_bands(
            bands, lambda every, lane: self._share_of_all(products, every, look, lane)
        )

    def _spread_bands(self, bands: Iterable[S], share: Callable[[S, int], None]) -> None:
        """Compute every lane's share of each band, while later bands are read."""
        pending: deque[list[Future[None]]] = deque()
        for band in bands:
            pending.append([lane.submit(share, band, n) for n, lane in enumerate(self._lanes)])
            if len(pending) > _BANDS_IN_WORK:
                _finish(pending.popleft())
        while pending:
            _finish(pending.popleft())

    def _share(self, x: np.ndarray, band: CodedBand, out: np.ndarray, lane: int) -> None:
        """Compute a lane's tiles of a band."""
        for rows, columns in self.tiles(band, lane):
            weights = self._settled(band, self.widened(band, rows, columns))
            _add_product(x, weights, rows, columns, out)

    def _share_of_all(
        self,
        products: Sequence[Product],
        bands: tuple[CodedBand, ...],
        look: Callable[[int, MatrixTile], None],
        lane: int,
    ) -> None:
        """Compute a lane's tiles of the same band of several networks, the first's last."""
        (own, first), *others = zip(products, bands, strict=True)
        for rows, columns in self.tiles(first, lane):
            one = self.widened(first, rows, columns)
            for number, (product, band) in enumerate(others):
                other = self.widened(band, rows, columns)
                look(number, MatrixTile(rows, columns, (first, band), (one, other)))
                _add_product(product.x, self._settled(band, other), rows, columns, product.out)
            _add_product(own.x, self._settled(first, one), rows, columns, own.out)

    def tiles(self, band: CodedBand, lane: int | None = None) -> Iterator[MatrixRange]:
        """Yield rows and columns of the tiles of a band, for one lane or for all."""
        low, high = band.columns
        for tile in range(low // TILE_COLUMNS, -(-high // TILE_COLUMNS)):
            if lane is not None and tile % len(self._lanes) != lane:
                continue
            first, last = max(low, tile * TILE_COLUMNS), min(high, (tile + 1) * TILE_COLUMNS)
            for row in range(*band.rows, TILE_ROWS):
                yield (row, min(row + TILE_ROWS, band.rows[1])), (first, last)

    def widened(
        self, band: CodedBand, rows: tuple[int, int], columns: tuple[int, int]
    ) -> np.ndarray:
        """Return a tile's weights `f32[in, out]` times their scales, not yet rounded."""
        r = slice(rows[0] - band.rows[0], rows[1] - band.rows[0])
        c = slice(columns[0] - band.columns[0], columns[1] - band.columns[0])
        part = (c, r) if band.transposed else (r, c)
        if band.scales is None:
            made = to_f32(band.values[part], band.dtype)
        else:
            made = np.empty([axis.stop - axis.start for axis in part], np.float32)
            kernel = twin(
                dequantized_tiles.widen_out_in
                if band.transposed
                else dequantized_tiles.widen_in_out,
                self.implementation,
            )
            first, per_group = band.first, band.per_group
            kernel(band.values, band.scales, r.start, c.start, first, per_group, made)
        return made.T if band.transposed else made

    def _settled(self, band: CodedBand, weights: np.ndarray) -> np.ndarray:
        """Return a tile's weights in the precision of the run, without changing the band."""
        own = weights.copy(order="K") if band.scales is None and self.precision.rounds else weights
        return self.precision.settle(own)


def _add_product(
    x: np.ndarray,
    weights: np.ndarray,
    rows: tuple[int, int],
    columns: tuple[int, int],
    out: np.ndarray,
) -> None:
    """Add a tile's product with all tokens, if there are any."""
    for token in range(0, len(x), TOKENS):
        part = slice(token, token + TOKENS)
        out[part, slice(*columns)] += x[part, slice(*rows)] @ weights


def _let_values_overflow() -> None:
    """Silence numpy's overflow warnings in a thread; infinite weights become findings."""
    np.seterr(over="ignore", invalid="ignore")


def _finish(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result()
