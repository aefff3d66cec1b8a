"""Two networks in lockstep, so that each weight is compared with its counterpart on the way.

Both networks compute the same products in the same order, and their matrices are read in the same
bands. So each part of a weight is in memory once from either checkpoint at the same time, and each
byte of both is read once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.evaluation.network import matrices

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import numpy as np

    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.experts import Routing
    from grokpack.evaluation.network.matrices import Matrix, MatrixRange
    from grokpack.evaluation.network.matrix_products import MatrixTile, Product
    from grokpack.evaluation.network.model import Network

    Steps = Generator[Product, None, Routing]


_SMALLER = 4
"""Factor by which bands are smaller than those of one network. Half as large they would take twice
the memory: from blocks below 32 MiB malloc makes heaps, and in them as many again lie free."""


class Lockstep:
    """Driver of two networks of the same dimensions, which share their lanes.

    Args:
        one: A network.
        other: Its counterpart.
        look: Called in any thread with each part of a weight from both networks: the matrix,
            whether its transpose multiplies, and the tile.
        look_whole: Called with each small tensor from both networks.
    """

    def __init__(
        self,
        one: Network,
        other: Network,
        look: Callable[[Matrix, bool, MatrixTile], None],
        look_whole: Callable[[str, np.ndarray, np.ndarray], None],
    ) -> None:
        self._networks = one, other
        # what is decoded in whole chunks must not be read across them
        decoded = one.stream.checkpoint.cache_bytes or one.stream.checkpoint.sealed
        self._leading = 0 if decoded else 1
        self._look, self._look_whole = look, look_whole
        self._waiting: dict[str, np.ndarray] = {}
        one.stream.cut = other.stream.cut = self._cut
        one.stream.on_tensor, other.stream.on_tensor = self._keep, self._meet

    def run(self, ours: Steps, theirs: Steps) -> tuple[Routing, Routing]:
        """Run a layer of both networks; return the choice of each router.

        Raises:
            GrokpackError: What reading raises.
        """
        while True:
            product, end = _next(ours)
            counterpart, other_end = _next(theirs)
            if product is None or counterpart is None:
                return end, other_end
            self.multiply(product, counterpart)

    def multiply(self, ours: Product, theirs: Product) -> None:
        """Compute the same product for both networks.

        Raises:
            GrokpackError: What reading raises.
        """
        one, other = self._networks
        bands = zip(ours.bands(one.stream), theirs.bands(other.stream), strict=True)
        one.lanes.multiply_both(
            (ours, theirs),
            bands,
            lambda tile: self._look(ours.matrix, ours.transposed, tile),
        )

    def _cut(self, wanted: Matrix) -> Iterator[MatrixRange]:
        """Return bands for both; a matrix of the other orientation is then read in shorter runs."""
        streams = [network.stream for network in self._networks]
        specs = [stream.checkpoint.tensors[wanted.tensor.name] for stream in streams]
        transposed = streams[self._leading].lies_transposed(specs[self._leading])
        itemsize = max(spec.values.dtype.itemsize for spec in specs)
        return matrices.bands(wanted, transposed=transposed, itemsize=itemsize, smaller=_SMALLER)

    def _keep(self, tensor: TensorSpec, values: np.ndarray) -> None:
        self._waiting[tensor.name] = values

    def _meet(self, tensor: TensorSpec, values: np.ndarray) -> None:
        self._look_whole(tensor.name, self._waiting.pop(tensor.name), values)


def _next(steps: Steps) -> tuple[Product | None, Any]:
    """Return the next product, or the value that a generator returned at its end."""
    try:
        return next(steps), None
    except StopIteration as end:
        return None, end.value
