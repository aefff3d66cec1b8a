"""All logits in a .npy file, written as they come: a block of the vocabulary at a time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Self

import numpy as np

from grokpack import storage
from grokpack.errors import GrokpackError, Place

if TYPE_CHECKING:
    from types import TracebackType

_F32 = 4


class LogitsFile:
    """`f32[T, vocab]`, a row for each token of all sequences joined.

    It appears under its name when it is whole; a run that fails leaves nothing.

    Args:
        path: The file, which must not be there yet.
        tokens: Rows.
        vocab: Columns.

    Raises:
        GrokpackError: GP304 for another suffix, GP323 where the file exists, GP401 on a full disk.
    """

    def __init__(self, path: str, tokens: int, vocab: int) -> None:
        if not path.endswith(".npy"):
            raise GrokpackError("GP304", f"--logits needs a file that ends in .npy, not `{path}`")
        if storage.exists(path):
            raise GrokpackError("GP323", "the file exists", Place(path), hint="name a new file")
        form = {"descr": "<f4", "fortran_order": False, "shape": (tokens, vocab)}
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, form)
        self._path, self._vocab = path, vocab
        self._begin = len(header.getvalue())
        storage.create_part(path, self._begin + _F32 * tokens * vocab)
        self._writer = storage.PartWriter(path + storage.PART)
        self._writer.write(0, memoryview(header.getvalue()))

    def keep(self, first: int, logits: np.ndarray) -> None:
        """Write the logits `f32[T, block]` of tokens of the vocabulary from `first` on."""
        for row, values in enumerate(np.ascontiguousarray(logits)):
            offset = self._begin + _F32 * (row * self._vocab + first)
            self._writer.write(offset, values.view(np.uint8).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._writer.sync()
        finally:
            self._writer.close()
        if kind is None:
            storage.publish(self._path)
        else:
            storage.remove(self._path + storage.PART)
