"""Arrays as regular grids of chunks, each chunk one run of bytes where the array already lies.

A chunk is a band of whole rows (of a file's slice, where ranks share the array), so that its bytes
are contiguous in the file. zarr stores the last chunk of an axis at full size, with padding that
no file has: the height of the bands divides the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from grokpack.layout import Piece
    from grokpack.tensor import ArraySpec, Shape

CHUNK_BYTES = 1 << 20
"""What a chunk is near to: a read of any part of it reads all, and costs a key in the index."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where each chunk of an array lies.

    Attributes:
        chunk: Shape of a chunk.
        counts: Chunks along each axis.
        files: Files that hold them.
        file_of: For each chunk, row-major, the index of its file, `i64[chunk]`.
        offsets: For each its first byte in that file, `i64[chunk]`.
        nbytes: Of a chunk.
    """

    chunk: Shape
    counts: Shape
    files: tuple[str, ...]
    file_of: np.ndarray
    offsets: np.ndarray
    nbytes: int


def in_place(array: ArraySpec, pieces: tuple[Piece, ...]) -> Grid | str:
    """The grid of an array's chunks in the files that hold it.

    Args:
        array: The whole array.
        pieces: Its regions in the files; where one stands twice, the first counts.

    Returns:
        The grid, or a sentence why there is none.
    """
    if not array.elements:
        return _empty(array)
    held = list({piece.box: piece for piece in reversed(pieces)}.values())[::-1]
    if len({piece.box.shape for piece in held}) != 1:
        return "files hold unequal slices of it" if held else "no file holds it"
    slice_shape = held[0].box.shape
    places = {_place(piece.box.start, slice_shape) for piece in held}
    slices = array.elements // math.prod(slice_shape)
    fit = all(n % m == 0 for n, m in zip(array.shape, slice_shape, strict=True))
    if None in places or not fit or len(places) != slices:
        return "the slices that files hold of it overlap or leave gaps"
    chunk = band(slice_shape, array.dtype.itemsize)
    return _grid(array, held, slice_shape, chunk)


def _place(start: Shape, size: Shape) -> Shape | None:
    """Which slice of a regular cut begins there; None where none does."""
    if any(a % n for a, n in zip(start, size, strict=True)):
        return None
    return tuple(a // n for a, n in zip(start, size, strict=True))


def _empty(array: ArraySpec) -> Grid:
    """The grid of an array without values: no chunk."""
    none = np.zeros(0, np.int64)
    return Grid(tuple(max(n, 1) for n in array.shape), array.shape, (), none, none, 0)


def _grid(array: ArraySpec, held: list[Piece], slice_shape: Shape, chunk: Shape) -> Grid:
    counts = tuple(n // c for n, c in zip(array.shape, chunk, strict=True))
    nbytes = math.prod(chunk) * array.dtype.itemsize
    index = np.indices(counts).reshape(len(counts), math.prod(counts))  # [axis, chunk]
    start = index * np.array(chunk, np.int64)[:, None]
    size = np.array(slice_shape, np.int64)[:, None]
    numbers = {_place(piece.box.start, slice_shape): n for n, piece in enumerate(held)}
    if len(held) == 1:
        piece_of = np.zeros(math.prod(counts), np.int64)
    else:
        piece_of = np.array([numbers[tuple(row)] for row in (start // size).T.tolist()])
    strides = [math.prod(slice_shape[axis + 1 :]) for axis in range(len(slice_shape))]
    within = (start % size * np.array(strides, np.int64)[:, None]).sum(axis=0)
    first = np.array([piece.extent.offset for piece in held], np.int64)
    files = tuple(dict.fromkeys(piece.extent.path for piece in held))
    file_of_piece = np.array([files.index(piece.extent.path) for piece in held])
    offsets = first[piece_of] + within * array.dtype.itemsize
    return Grid(chunk, counts, files, file_of_piece[piece_of], offsets, nbytes)


def band(shape: Shape, itemsize: int) -> Shape:
    """Shape of the chunks of a dense array: contiguous, and near to `CHUNK_BYTES`.

    Trailing axes are whole, the axis before them is cut at a divisor, leading ones have 1.
    """
    chunk = [1] * len(shape)
    nbytes = itemsize
    for axis in reversed(range(len(shape))):
        length = max(shape[axis], 1)
        if nbytes * length > CHUNK_BYTES:
            chunk[axis] = _nearest_divisor(length, CHUNK_BYTES / nbytes)
            break
        chunk[axis] = length
        nbytes *= length
    return tuple(chunk)


def _nearest_divisor(number: int, wanted: float) -> int:
    """The divisor that is the fewest times larger or smaller; the smaller of two."""
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    divisors = {*small, *(number // n for n in small)}
    return min(sorted(divisors), key=lambda n: max(n / wanted, wanted / n))
