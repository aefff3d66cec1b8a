"""Lazy arrays that TensorStore decodes: compressed, in chunks of any shape, in databases."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.checkpoint.reading_memory import WINDOW_BYTES
from grokpack.core.arrays import RAW
from grokpack.core.layout import Box
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.tensorstore.chunk_reader import ChunkReader
    from grokpack.core.tensors import Shape
    from grokpack.formats.zarr_metadata_parsing import ZarrArrayMetadata
    from grokpack.transforms.array_source import ArraySource


@dataclass(frozen=True, slots=True)
class ChunkedArray(Transform):
    """Array of a chunked store.

    Attributes:
        chunk_reader: The store.
        spec: TensorStore's spec of the array, as JSON.
        array: Its metadata.
        files: Name of the bytes of its files in the layout; empty where files hold many arrays.
        folder: Folder of its files, below the store's.
    """

    chunk_reader: ChunkReader
    spec: str
    array: ZarrArrayMetadata
    files: str
    folder: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The bytes of its files, if they are its own."""
        return (self.files,) if self.files else ()

    @property
    def decodes(self) -> bool:
        """True: TensorStore decodes its chunks."""
        return True

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:  # noqa: ARG002  # reads itself
        """Decode the chunks that the box meets, a few at a time.

        Raises:
            GrokpackError: GP225 for a chunk that is missing or cannot be decoded.
        """
        spec, itemsize = json.loads(self.spec), self.array.spec.dtype.itemsize
        windows = list(_windows(box, self.array.chunk, WINDOW_BYTES // itemsize))
        if len(windows) == 1:
            return np.ascontiguousarray(self.chunk_reader.read(spec, box)).view(RAW[itemsize])
        out = np.empty(box.shape, RAW[itemsize])
        for window in windows:
            out[window.slices_in(box)] = self.chunk_reader.read(spec, window).view(RAW[itemsize])
        return out

    def locate(self, index: Shape) -> str | None:
        """Return the file that holds an element; None if it holds many arrays."""
        return f"{self.folder}/{self.array.holder(index)}" if self.files else None

    def describe(self) -> list[object]:
        """Return `["chunked", spec]`."""
        return ["chunked", self.spec]


def _windows(box: Box, chunk: Shape, elements: int) -> Iterator[Box]:
    """Cut a box at chunk borders, so that no part meets more chunks than hold so many elements."""
    sides = zip(box.start, box.stop, chunk, strict=True)
    counts = [-(-stop // side) - start // side for start, stop, side in sides]
    if math.prod(counts) <= max(1, elements // math.prod(chunk)):
        yield box
        return
    axis = next(axis for axis, count in enumerate(counts) if count > 1)
    edge = (box.start[axis] // chunk[axis] + counts[axis] // 2) * chunk[axis]
    for start, stop in ((box.start[axis], edge), (edge, box.stop[axis])):
        first = (*box.start[:axis], start, *box.start[axis + 1 :])
        shape = (*box.shape[:axis], stop - start, *box.shape[axis + 1 :])
        yield from _windows(Box(first, shape), chunk, elements)
