"""Boxes of a checkpoint's arrays, read from wherever their bytes lie."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack import storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.checkpoint import Checkpoint
    from grokpack.layout import Box, Piece

_RAW: dict[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
}
"""Weights are moved as unsigned integers of their size: no value is looked at, none can change."""


class ArrayReader:
    """Reads boxes of whole arrays from the pieces that the files hold.

    One reader serves many threads: it keeps no file open and no state.

    Args:
        checkpoint: The source; None for ops that make their values from nothing.
    """

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        self._folder = checkpoint.folder if checkpoint else ""
        self._pieces = _distinct(checkpoint.layout.pieces()) if checkpoint else {}
        self._arrays = checkpoint.layout.arrays if checkpoint else {}

    def read(self, array: str, box: Box) -> np.ndarray:
        """The values in `box` of an array, as raw unsigned integers of its element size.

        Raises:
            GrokpackError: GP213 or GP214 where a file cannot be read as its header promised.
        """
        out: np.ndarray = np.empty(box.shape, _RAW[self._arrays[array].dtype.itemsize])
        missing = box.elements
        for piece in self._pieces[array]:
            shared = box.intersect(piece.box)
            if shared is None:
                continue
            self._fill(out[shared.slices_in(box)], piece, shared)
            missing -= shared.elements
            if missing == 0:
                break
        return out

    def _fill(self, view: np.ndarray, piece: Piece, box: Box) -> None:
        """Read `box`, which lies in the piece, into `view`."""
        path = os.path.join(self._folder, piece.extent.path)
        for index, offset, count in dense_runs(piece, box, view.itemsize):
            part = view[index]
            buffer = part if part.flags.c_contiguous else np.empty(part.shape, part.dtype)
            storage.read_into(path, offset, bytes_of(buffer)[: count * view.itemsize])
            if buffer is not part:
                part[...] = buffer


def _distinct(pieces: Mapping[str, tuple[Piece, ...]]) -> dict[str, tuple[Piece, ...]]:
    """One piece for each region: ranks may hold the same heads or groups twice."""
    return {name: tuple({p.box: p for p in rows}.values()) for name, rows in pieces.items()}


def bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, not copied."""
    return array.reshape(-1).view(np.uint8).data


def dense_runs(piece: Piece, box: Box, itemsize: int) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """The runs of bytes in a piece that make up a box: (leading index, offset, elements).

    Trailing axes that the box takes whole make one run together with the axis before them.
    """
    shape, start = (
        piece.box.shape,
        tuple(a - b for a, b in zip(box.start, piece.box.start, strict=True)),
    )
    axis = len(shape) - 1
    while axis > 0 and box.shape[axis] == shape[axis]:
        axis -= 1
    axis = max(axis, 0)
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    count = math.prod(box.shape[axis:])
    base = sum(a * s for a, s in zip(start, strides, strict=True))
    for index in np.ndindex(*box.shape[:axis]):
        element = base + sum(i * strides[k] for k, i in enumerate(index))
        yield index, piece.extent.offset + element * itemsize, count
