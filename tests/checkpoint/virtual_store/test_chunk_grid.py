"""Chunks in place: each is one run of bytes of a file, and together they are the array."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.virtual_store import chunk_grid
from grokpack.checkpoint.virtual_store.chunk_grid import (
    ChunkGrid,
    banded_chunk_shape,
    grid_in_place,
)
from grokpack.core.layout import Box, Extent, Piece, slice_box, whole_box
from grokpack.core.tensors import ArraySpec, DType

SHAPES = st.lists(st.integers(1, 12), min_size=0, max_size=3).map(tuple)


def stored(array: np.ndarray, cuts: list[tuple[int, int]]) -> tuple[list[Piece], dict[str, bytes]]:
    """An array cut along axes into equal slices, each somewhere in one of two files."""
    boxes = [whole_box(array.shape)]
    for axis, count in cuts:
        boxes = [
            Box(tuple(map(sum, zip(b.start, c.start, strict=True))), c.shape)
            for b in boxes
            for c in (slice_box(b.shape, axis, i, count) for i in range(count))
        ]
    files = {"a": b"head", "b/c": b""}
    pieces = []
    for number, box in enumerate(reversed(boxes)):
        name = ("a", "b/c")[number % 2]
        data = np.ascontiguousarray(array[box.slices_in(whole_box(array.shape))]).tobytes()
        pieces.append(Piece(box, Extent(name, len(files[name]) + 1, len(data))))
        files[name] += b"?" + data
    return pieces, files


@given(SHAPES, st.data(), st.integers(1, 64), st.sampled_from([DType.I8, DType.BF16, DType.F32]))
def test_chunks_read_at_their_places_make_up_the_array(
    shape: tuple[int, ...], data: st.DataObject, nbytes: int, dtype: DType
) -> None:
    axes = data.draw(st.lists(st.integers(0, max(0, len(shape) - 1)), unique=True, max_size=2))
    cuts = [
        (axis, data.draw(st.sampled_from([n for n in range(1, 13) if shape[axis] % n == 0])))
        for axis in axes
        if shape
    ]
    kind = np.dtype(f"u{dtype.itemsize}")
    array = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    pieces, files = stored(array, cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_grid, "CHUNK_BYTES", nbytes)
        grid = grid_in_place(ArraySpec(shape, dtype), tuple(pieces + pieces[:1]))
    assert isinstance(grid, ChunkGrid)
    assert tuple(n * c for n, c in zip(grid.counts, grid.chunk, strict=True)) == shape
    rebuilt = np.zeros_like(array)
    places = zip(product(*map(range, grid.counts)), grid.file_of, grid.offsets, strict=True)
    for index, file, offset in places:
        raw = files[grid.files[file]][offset : offset + grid.nbytes]
        where = tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, grid.chunk, strict=True))
        rebuilt[where] = np.frombuffer(raw, kind).reshape(grid.chunk)
    assert (rebuilt == array).all()


@given(SHAPES, st.sampled_from([1, 2, 4]), st.integers(1, 10_000))
def test_a_band_is_contiguous_divides_the_rows_and_is_near_its_size(
    shape: tuple[int, ...], itemsize: int, nbytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_grid, "CHUNK_BYTES", nbytes)
        chunk = banded_chunk_shape(shape, itemsize)
    partial = [i for i, (n, c) in enumerate(zip(shape, chunk, strict=True)) if n != c]
    if partial:
        assert chunk[partial[-1] + 1 :] == shape[partial[-1] + 1 :]
        first = next(i for i, c in enumerate(chunk) if c > 1) if max(chunk) > 1 else len(chunk)
        assert all(i <= max(first, partial[-1]) for i in partial)
    assert all(n % c == 0 for n, c in zip(shape, chunk, strict=True))
    assert chunk == shape or math.prod(shape) * itemsize > nbytes


@pytest.mark.parametrize(
    ("shape", "itemsize", "chunk"),
    [
        ((8, 6144, 32768), 1, (1, 32, 32768)),  # exactly 1 MiB
        ((8, 32768, 6144), 1, (1, 128, 6144)),
        ((8, 8, 6144), 2, (8, 8, 6144)),
        ((131072, 6144), 4, (32, 6144)),
        ((6144,), 4, (6144,)),
        ((4, 3 << 20), 1, (1, 1 << 20)),  # rows of their own are too long
        ((1_000_003, 6144), 4, (1, 6144)),  # a prime: one row is nearer than all of them
        ((1_000_003, 2), 1, (1_000_003, 2)),  # and here all of them are nearer
    ],
)
def test_bands_of_the_release_and_of_awkward_shapes(
    shape: tuple[int, ...], itemsize: int, chunk: tuple[int, ...]
) -> None:
    assert banded_chunk_shape(shape, itemsize) == chunk


def piece(start: tuple[int, ...], shape: tuple[int, ...]) -> Piece:
    return Piece(Box(start, shape), Extent("f", 0, math.prod(shape)))


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([], "no file"),
        ([piece((0, 0), (4, 4)), piece((4, 0), (2, 4))], "unequal"),
        ([piece((0, 0), (3, 4))], "gaps"),
        ([piece((0, 0), (3, 4)), piece((2, 0), (3, 4))], "overlap"),
        ([piece((0, 0), (4, 4)), piece((2, 0), (4, 4))], "overlap"),
    ],
)
def test_what_no_regular_grid_can_express_is_told(pieces: list[Piece], why: str) -> None:
    found = grid_in_place(ArraySpec((6, 4), DType.I8), tuple(pieces))
    assert isinstance(found, str)
    assert why in found


def test_an_array_without_values_has_no_chunk() -> None:
    grid = grid_in_place(ArraySpec((0, 4), DType.F32), ())
    assert isinstance(grid, ChunkGrid)
    assert (grid.chunk, len(grid.offsets)) == ((1, 4), 0)
