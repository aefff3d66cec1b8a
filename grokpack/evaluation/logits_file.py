"""File of all logits, written a block of the vocabulary at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.core.errors import UnusableValue
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import npy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def logits_file(path: str, tokens: int, vocab: int) -> Iterator[Callable[[int, np.ndarray], None]]:
    """Open a file of logits `f32[T, vocab]`, a row for each token of all sequences.

    The file appears when the block succeeds. A run that fails leaves nothing.

    Args:
        path: The file, which must not exist yet.
        tokens: Number of rows.
        vocab: Number of columns.

    Yields:
        A function that writes logits `f32[T, block]`, given their first token of the vocabulary.

    Raises:
        GrokpackError: GP346 for another suffix, GP323 where the file exists, GP401 on a full disk.
    """
    if not path.endswith(npy.SUFFIX):
        raise UnusableValue(f"--logits needs a file that ends in .npy, not `{path}`")
    storage.refuse_existing(path)
    spec = ArraySpec((tokens, vocab), DType.F32)
    header = npy.header_bytes(spec)
    with storage.new_file(path, len(header) + spec.nbytes) as writer:
        writer.write(0, memoryview(header))

        def keep(first: int, logits: np.ndarray) -> None:
            for row, values in enumerate(np.ascontiguousarray(logits)):
                offset = len(header) + spec.dtype.itemsize * (row * vocab + first)
                writer.write(offset, values.view(np.uint8).data)

        yield keep
