"""Arrays that TensorStore decodes, as views: compressed, in chunks of any shape, in databases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.reading import RAW

if TYPE_CHECKING:
    from grokpack.arrays import Shelf
    from grokpack.formats.zarr_metadata import Stored
    from grokpack.layout import Box
    from grokpack.reading import ArrayReader
    from grokpack.tensor import Shape


@dataclass(frozen=True, slots=True)
class Chunked:
    """An array of a chunked store.

    Attributes:
        shelf: The store.
        spec: How TensorStore opens the array, as JSON.
        array: Its metadata.
        files: Name of the bytes of its files, in the layout; empty where files hold many arrays.
        folder: Where its files lie, below the store's.
    """

    shelf: Shelf
    spec: str
    array: Stored
    files: str
    folder: str

    @property
    def stored(self) -> tuple[str, ...]:
        """The bytes of its files, where they are its own."""
        return (self.files,) if self.files else ()

    def make(self, box: Box, reader: ArrayReader) -> np.ndarray:  # noqa: ARG002  # reads itself
        """Decode the chunks that the box meets.

        Raises:
            GrokpackError: GP225 for a chunk that is missing or cannot be decoded.
        """
        values = self.shelf.read(json.loads(self.spec), box)
        return np.ascontiguousarray(values).view(RAW[self.array.spec.dtype.itemsize])

    def holder(self, index: Shape) -> str | None:
        """The file that holds an element; None where it cannot be told."""
        return f"{self.folder}/{self.array.holder(index)}" if self.files else None

    def describe(self) -> list[object]:
        """`["chunked", spec]`."""
        return ["chunked", json.loads(self.spec)]
