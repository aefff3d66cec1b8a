"""Stream of bands of weights, read ahead in the order of their use."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.core.layout import whole_box
from grokpack.evaluation.network import matrices
from grokpack.transforms.dequantize import read_as_f32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.layout import Box
    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.matrices import CodedBand, Matrix, MatrixRange
    from grokpack.kernels.dispatch import Implementation

_READERS = 2


class Stream:
    """Stream of a checkpoint's weights; one thread announces matrices and takes them in that order.

    Bands of announced matrices are read ahead, up to a limit.

    Attributes:
        checkpoint: The checkpoint.
        read_bytes: Bytes of values that were requested so far.
        cut: Returns the bands of a matrix; by default in the order in which its bytes are stored.
        on_tensor: Called with each small tensor that is read whole.

    Args:
        checkpoint: The source.
        depth: Number of bands that may wait to be taken.
        implementation: Implementation of each kernel.
        advance: Called with the number of bytes that were taken.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        depth: int,
        implementation: Implementation,
        advance: Callable[[int], None],
    ) -> None:
        self.checkpoint = checkpoint
        self.read_bytes = 0
        self.cut: Callable[[Matrix], Iterable[MatrixRange]] = self._along_its_bytes
        self.on_tensor: Callable[[TensorSpec, np.ndarray], None] = _ignore_tensor
        self._reader = ArrayReader(checkpoint, implementation)
        self._depth = depth
        self._advance = advance
        self._turned: dict[str, bool] = {}
        self._wanted: deque[tuple[Matrix, MatrixRange]] = deque()
        self._coming: deque[tuple[Matrix, Future[CodedBand]]] = deque()
        self._pool = ThreadPoolExecutor(_READERS, "weights")

    def close(self) -> None:
        """Stop reading, and forget what was announced."""
        self._wanted.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def announce(self, wanted: Sequence[Matrix]) -> None:
        """Announce the matrices that will be taken after those announced before."""
        for one in wanted:
            self._wanted.extend((one, part) for part in self.cut(one))
        self._pump()

    def take(self, wanted: Matrix) -> Iterator[CodedBand]:
        """Yield the bands of an announced matrix as they arrive.

        Raises:
            GrokpackError: What reading raises.
            LookupError: The next matrix is another one.
        """
        while True:
            if not self._coming or self._coming[0][0] is not wanted:
                message = f"{wanted.tensor.name} is not what comes next"
                raise LookupError(message)
            band = self._coming.popleft()[1].result()
            self._pump()
            self._advance(band.values.nbytes)
            yield band
            if self._is_last(wanted, band):
                return

    def values(self, tensor: TensorSpec, box: Box) -> np.ndarray:
        """Read a box of a small tensor, `f32[...]`."""
        self.read_bytes += box.elements * tensor.values.dtype.itemsize
        return read_as_f32(tensor, box, self._reader)

    def whole(self, tensor: TensorSpec) -> np.ndarray:
        """Read a small tensor, `f32[...]`: a norm, a router."""
        found = self.values(tensor, whole_box(tensor.values.shape))
        self.on_tensor(tensor, found)
        return found

    def _pump(self) -> None:
        while self._wanted and len(self._coming) < self._depth:
            own, (rows, columns) = self._wanted.popleft()
            box = own.box(rows, columns)
            self.read_bytes += box.elements * own.tensor.values.dtype.itemsize
            read = self._pool.submit(matrices.read, own, rows, columns, self._reader)
            self._coming.append((own, read))

    def _along_its_bytes(self, one: Matrix) -> Iterator[MatrixRange]:
        return matrices.bands(one, transposed=self.lies_transposed(one.tensor))

    def lies_transposed(self, tensor: TensorSpec) -> bool:
        """Return whether a weight is stored `[out, in]`."""
        kind = self.checkpoint.model.family.path_of(tensor.name)
        if kind not in self._turned:
            self._turned[kind] = matrices.is_transposed(tensor, self._reader)
        return self._turned[kind]

    @staticmethod
    def _is_last(own: Matrix, band: CodedBand) -> bool:
        return band.rows[1] == own.rows and band.columns[1] == own.columns


def _ignore_tensor(_tensor: TensorSpec, _values: np.ndarray) -> None:
    """Ignore small tensors."""
