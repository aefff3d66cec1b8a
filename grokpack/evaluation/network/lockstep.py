"""Networks in lockstep, so that each weight is compared with its counterparts on the way.

All networks compute the same products in the same order, and their matrices are read in the same
bands. So each part of a weight is in memory once from every checkpoint at the same time, and each
byte of all is read once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from grokpack.evaluation.network import matrices

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import numpy as np

    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.experts import Routing
    from grokpack.evaluation.network.forward_pass import Network
    from grokpack.evaluation.network.matrices import Matrix, MatrixRange
    from grokpack.evaluation.network.matrix_products import MatrixTile, Product

    Steps = Generator[Product, None, Routing]


_SMALLER = 2
"""Factor for each network by which bands are smaller than those of one. Two networks' of half a
band would take twice the memory: from blocks below 32 MiB malloc makes heaps, and in them as many
again lie free."""


class Comparer(Protocol):
    """Comparer of the first network's weights with another's."""

    def look(self, matrix: Matrix, transposed: bool, tile: MatrixTile) -> None:  # noqa: FBT001
        """Compare a part of a matrix, in any thread; `transposed` if its transpose multiplies."""

    def look_whole(self, name: str, one: np.ndarray, other: np.ndarray) -> None:
        """Compare a small tensor."""


class Lockstep:
    """Driver of networks of the same dimensions, which share their lanes.

    Args:
        networks: The networks.
        comparers: For each network but the first, what compares its weights with the first's.
    """

    def __init__(self, networks: Sequence[Network], comparers: Sequence[Comparer]) -> None:
        self._networks, self._comparers = networks, comparers
        first = networks[0].stream
        # what is decoded in whole chunks must not be read across them
        decoded = first.checkpoint.cache_bytes or first.checkpoint.sealed
        self._leading = 0 if decoded else 1
        self._waiting: dict[str, np.ndarray] = {}
        for network, comparer in zip(networks, (None, *comparers), strict=True):
            network.stream.cut = self._cut
            network.stream.on_tensor = partial(self._meet, comparer)

    def run(self, steps: Sequence[Steps]) -> list[Routing]:
        """Run a layer of all networks; return the choice of each router.

        Raises:
            GrokpackError: What reading raises.
        """
        while True:
            found = [_next(own) for own in steps]
            products = [product for product, _ in found if product is not None]
            if len(products) < len(found):
                return [end for _, end in found]
            self.multiply(products)

    def multiply(self, products: Sequence[Product]) -> None:
        """Compute the same product for all networks.

        Raises:
            GrokpackError: What reading raises.
        """
        first, pairs = products[0], zip(products, self._networks, strict=True)
        bands = zip(*(product.bands(network.stream) for product, network in pairs), strict=True)

        def look(number: int, tile: MatrixTile) -> None:
            self._comparers[number].look(first.matrix, first.transposed, tile)

        self._networks[0].lanes.multiply_all(products, bands, look)

    def _cut(self, wanted: Matrix) -> Iterator[MatrixRange]:
        """Return bands for all; matrices of another orientation are then read in shorter runs."""
        streams = [network.stream for network in self._networks]
        specs = [stream.checkpoint.tensors[wanted.tensor.name] for stream in streams]
        transposed = streams[self._leading].lies_transposed(specs[self._leading])
        itemsize = max(spec.values.dtype.itemsize for spec in specs)
        smaller = _SMALLER * len(streams)
        return matrices.bands(wanted, transposed=transposed, itemsize=itemsize, smaller=smaller)

    def _meet(self, comparer: Comparer | None, tensor: TensorSpec, values: np.ndarray) -> None:
        """Keep a small tensor of the first network, which reads first, until the last has it."""
        if comparer is None:
            self._waiting[tensor.name] = values
            return
        comparer.look_whole(tensor.name, self._waiting[tensor.name], values)
        if comparer is self._comparers[-1]:
            del self._waiting[tensor.name]


def _next(steps: Steps) -> tuple[Product | None, Any]:
    """Return the next product, or the value that a generator returned at its end."""
    try:
        return next(steps), None
    except StopIteration as end:
        return None, end.value
