"""Tiles: fixed ranges of files, and the row bands of arrays within them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.layout import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.tensors import Shape

TILE_BYTES = 16 << 20
"""Checksums cover fixed ranges of 16 MiB, headers and framing included, so that a damaged tile is
found without knowing how the file was written. The size is part of the manifest."""


def tile_count(nbytes: int) -> int:
    """Return the number of tiles of a file; an empty file has none."""
    return -(-nbytes // TILE_BYTES)


def tile_range(index: int, nbytes: int) -> tuple[int, int]:
    """Return the first byte and the last byte + 1 of a tile of a file of `nbytes`."""
    return tiles_range(index, index + 1, nbytes)


def tiles_range(first: int, last: int, nbytes: int) -> tuple[int, int]:
    """Return the first byte and the last byte + 1 of the tiles from `first` up to `last`."""
    return first * TILE_BYTES, min(last * TILE_BYTES, nbytes)


@dataclass(frozen=True, slots=True)
class RowBand:
    """Whole rows of a part that together hold a run of its bytes.

    Attributes:
        box: The rows, in coordinates of the part.
        skip_bytes: Bytes of the first row that precede the run.
        nbytes: Length of the run.
    """

    box: Box
    skip_bytes: int
    nbytes: int


def row_bands(
    shape: Shape, itemsize: int, start: int, stop: int, limit_bytes: int
) -> Iterator[RowBand]:
    """Cover bytes `start` to `stop` of a row-major array with bands of at most `limit_bytes`.

    A band never crosses from one matrix of a stack `[..., rows, columns]` into the next, and holds
    at least one row.
    """
    rows, columns = _matrix(shape)
    row_bytes = columns * itemsize
    per_band = max(1, limit_bytes // row_bytes)
    while start < stop:
        first = start // row_bytes
        matrix_end = (first // rows + 1) * rows
        last = min(-(-stop // row_bytes), matrix_end, first + per_band)
        end = min(stop, last * row_bytes)
        yield RowBand(_box(shape, first, last), start - first * row_bytes, end - start)
        start = end


def _matrix(shape: Shape) -> tuple[int, int]:
    rows = shape[-2] if len(shape) > 1 else 1
    return rows, shape[-1] if shape else 1


def _box(shape: Shape, first: int, last: int) -> Box:
    """Return rows `first` to `last`, counted through the whole stack, as a box of the array."""
    if len(shape) < 2:  # noqa: PLR2004  # no rows to cut
        return Box((0,) * len(shape), shape)
    lead, row = divmod(first, shape[-2])
    start: list[int] = []
    for axis in range(len(shape) - 2):
        below = math.prod(shape[axis + 1 : -2])
        start.append(lead // below % shape[axis])
    ones = (1,) * (len(shape) - 2)
    return Box((*start, row, 0), (*ones, last - first, shape[-1]))


SAMPLE_BYTES = 4096  # one page; enough to tell two trained tensors apart
