"""Regular grids of chunks over arrays in existing files.

A chunk is a band of whole rows (of a file's slice, where ranks share the array), so that its bytes
are contiguous in the file. zarr stores the last chunk of an axis at full size, with padding that no
file has; the height of the bands therefore divides the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from grokpack.core.layout import Piece
    from grokpack.core.tensors import ArraySpec, Shape

CHUNK_BYTES = 1 << 20
"""Approximate size of a chunk: reading any part of it reads all, and it costs a key in the
index."""


@dataclass(frozen=True, slots=True, eq=False)
class ChunkGrid:
    """Location of each chunk of an array.

    Attributes:
        chunk: Shape of a chunk.
        counts: Chunks along each axis.
        files: Files that hold them.
        file_of: Index of each chunk's file, row-major, `i64[chunk]`.
        offsets: First byte of each chunk in its file, `i64[chunk]`.
        nbytes: Bytes of a chunk.
    """

    chunk: Shape
    counts: Shape
    files: tuple[str, ...]
    file_of: np.ndarray
    offsets: np.ndarray
    nbytes: int


def grid_in_place(array: ArraySpec, pieces: tuple[Piece, ...]) -> ChunkGrid | str:
    """Return the grid of an array's chunks in the files that hold it.

    Args:
        array: The whole array.
        pieces: Its regions in the files; of two for one region, the first counts.

    Returns:
        The grid, or a sentence that says why there is none.
    """
    if not array.elements:
        return _empty(array)
    held = list({piece.box: piece for piece in reversed(pieces)}.values())[::-1]
    if len({piece.box.shape for piece in held}) != 1:
        return "files hold unequal slices of it" if held else "no file holds it"
    slice_shape = held[0].box.shape
    found = [_place(piece.box.start, slice_shape) for piece in held]
    places = [place for place in found if place is not None]
    slices = array.elements // math.prod(slice_shape)
    fit = all(n % m == 0 for n, m in zip(array.shape, slice_shape, strict=True))
    if len(places) < len(found) or not fit or len({*places}) != slices:
        return "the slices that files hold of it overlap or leave gaps"
    chunk = banded_chunk_shape(slice_shape, array.dtype.itemsize)
    return _grid(array, held, places, _cut(array.shape, slice_shape, chunk))


def _place(start: Shape, size: Shape) -> Shape | None:
    """Return the index of the slice of a regular cut that begins there; None if none does."""
    if any(a % n for a, n in zip(start, size, strict=True)):
        return None
    return tuple(a // n for a, n in zip(start, size, strict=True))


def _empty(array: ArraySpec) -> ChunkGrid:
    """Return the grid of an array without values: no chunk."""
    none = np.zeros(0, np.int64)
    return ChunkGrid(tuple(max(n, 1) for n in array.shape), array.shape, (), none, none, 0)


def _grid(array: ArraySpec, held: list[Piece], places: list[Shape], cut: _Cut) -> ChunkGrid:
    nbytes = math.prod(cut.chunk) * array.dtype.itemsize
    piece_at = np.zeros(len(held), np.int64)  # by the slice's number
    steps = _strides(cut.slices)
    for number, place in enumerate(places):
        piece_at[sum(a * b for a, b in zip(place, steps, strict=True))] = number
    piece_of = piece_at[cut.slice_of]
    first = np.array([piece.extent.offset for piece in held], np.int64)
    files = tuple(dict.fromkeys(piece.extent.path for piece in held))
    file_of_piece = np.array([files.index(piece.extent.path) for piece in held])
    offsets = first[piece_of] + cut.within * array.dtype.itemsize
    return ChunkGrid(cut.chunk, cut.counts, files, file_of_piece[piece_of], offsets, nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """Cut of arrays of a shape into slices, and of these into chunks.

    Attributes:
        chunk: Shape of a chunk.
        counts: Chunks along each axis.
        slices: Slices along each axis.
        slice_of: Row-major number of each chunk's slice, `i64[chunk]`.
        within: First element of each chunk in its slice, `i64[chunk]`.
    """

    chunk: Shape
    counts: Shape
    slices: Shape
    slice_of: np.ndarray
    within: np.ndarray


@lru_cache(maxsize=16)  # a layer has eight shapes, and the next layer the same
def _cut(shape: Shape, slice_shape: Shape, chunk: Shape) -> _Cut:
    counts = tuple(n // c for n, c in zip(shape, chunk, strict=True))
    slices = tuple(n // s for n, s in zip(shape, slice_shape, strict=True))
    index = np.indices(counts).reshape(len(counts), math.prod(counts))  # [axis, chunk]
    start, size = index * _column(chunk), _column(slice_shape)
    slice_of = (start // size * _column(_strides(slices))).sum(axis=0)
    within = (start % size * _column(_strides(slice_shape))).sum(axis=0)
    return _Cut(chunk, counts, slices, slice_of, within)


def _strides(shape: Shape) -> Shape:
    """Return the elements from one index to the next along each axis, row-major."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _column(numbers: Shape) -> np.ndarray:
    return np.array(numbers, np.int64)[:, None]


def banded_chunk_shape(shape: Shape, itemsize: int) -> Shape:
    """Return the shape of a dense array's chunks: contiguous, and close to `CHUNK_BYTES`.

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
    """Return the divisor closest by ratio; the smaller of two."""
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    divisors = {*small, *(number // n for n in small)}
    return min(sorted(divisors), key=lambda n: max(n / wanted, wanted / n))
