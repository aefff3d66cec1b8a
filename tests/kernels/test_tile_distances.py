"""How far two tiles are apart: the compiled twin leaves the bits of the specification."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from grokpack.kernels import dispatch, tile_distances
from grokpack.kernels.dispatch import twin

if TYPE_CHECKING:
    from grokpack.kernels.dispatch import Implementation

pytestmark = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 40))
VALUES = st.floats(width=32, allow_subnormal=False)
NONE = np.zeros(2, np.float32)


@given(
    SHAPES.flatmap(lambda shape: stnp.arrays(np.float32, (4, *shape), elements=VALUES)),
    st.lists(st.sampled_from([0, 1, 3, 9]), min_size=2, max_size=2),
    st.lists(st.sampled_from([0, 2.0**-8, 2.0**-11]), min_size=2, max_size=2),
)
def test_tiles_are_measured_alike(
    drawn: np.ndarray, per_group: list[int], factors: list[float]
) -> None:
    """Of sides with codes and without, whose groups need not be the same."""
    one, other, *steps = drawn
    groups = np.stack([np.arange(len(one)) // max(1, size) for size in per_group])
    halves = tuple(
        np.abs(own[: group[-1] + 1 if size else 0])
        for own, group, size in zip(steps, groups, per_group, strict=True)
    )
    given_factors = np.array(factors, np.float32)
    least = np.array([2.0**-25, 2.0**-134], np.float32)
    found = []
    for implementation in ("numpy", "numba"):
        sums = np.empty((5, one.shape[1]), np.float32)
        with np.errstate(all="ignore"):
            counts = twin(tile_distances.measure, implementation)(
                one, other, halves, groups, given_factors, least, sums
            )
        found.append((counts, np.nan_to_num(sums, nan=-1).tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("shape", [(8, 64), (17, 130), (40, 65), (70, 200)])
@pytest.mark.parametrize("per_group", [(0, 0), (0, 32), (5, 0), (12, 7)])
@pytest.mark.parametrize("factors", [(0, 0), (0, 2.0**-8), (2.0**-11, 2.0**-8)])
def test_wide_tiles_are_measured_alike(
    shape: tuple[int, int], per_group: tuple[int, int], factors: tuple[float, float]
) -> None:
    """In more than one strip of columns, with clipped values, some beyond, and some no numbers."""
    rng = np.random.default_rng(0)
    one = rng.integers(-9, 10, shape).astype(np.float32)
    other = np.clip(one, -8, 7) + rng.choice(np.array([0, 0, 0.5, 1], np.float32), shape)
    other[rng.random(shape) < 0.02] = np.nan
    one[rng.random(shape) < 0.02] = np.inf
    groups = np.stack([np.arange(shape[0]) // max(1, size) for size in per_group])
    steps = np.array([0.25, 0.5, np.nan], np.float32)
    ours, theirs = (
        rng.choice(steps, (own[-1] + 1 if size else 0, shape[1]), p=[0.5, 0.49, 0.01])
        for own, size in zip(groups, per_group, strict=True)
    )
    least = np.array([2.0**-25, 2.0**-134], np.float32)
    found = []
    for implementation in ("numpy", "numba"):
        sums = np.empty((5, shape[1]), np.float32)
        with np.errstate(all="ignore"):
            counts = twin(tile_distances.measure, implementation)(
                one, other, (ours, theirs), groups, np.array(factors, np.float32), least, sums
            )
        found.append((counts, np.nan_to_num(sums, nan=-1).tobytes()))
    assert found[0] == found[1]


def measured(
    one: list[list[float]], other: list[list[float]], steps: list[list[float]]
) -> tuple[tuple[int, int, int], list[list[float]]]:
    """The counts and sums of a tile and its counterpart, which is of codes in one group."""
    ours, theirs, half = (np.array(rows, np.float32) for rows in (one, other, steps))
    sums = np.empty((5, ours.shape[1]), np.float32)
    groups = np.zeros((2, len(ours)), np.int64)
    with np.errstate(all="ignore"):
        counts = tile_distances.measure(ours, theirs, (half[:0], half), groups, NONE, NONE, sums)
    return counts, sums.tolist()


def test_a_value_is_within_where_it_is_as_far_as_is_allowed() -> None:
    counts, sums = measured([[1, 2, 0], [1, 1, 0]], [[1.5, 1, -0.0], [1, 2, 0]], [[0.5, 0.5, 0]])
    assert counts == (3, 2, 1)
    assert sums == [[2, 5, 0], [0.25, 2, 0], [0] * 3, [0] * 3, [0.5, 1, 0]]


def test_a_value_at_an_end_of_its_range_stands_for_those_further_out() -> None:
    codes: list[list[float]] = [[3, -3, 1], [-3, 3, 0], [0, 0, 3]]
    outwards: list[float] = [9, -9, 1]
    inwards: list[float] = [0, 0, 1]
    for wanted, counts in ((outwards, (2, 0, -1)), (inwards, (2, 2, 0))):
        assert measured([wanted, *codes[1:]], codes, [[0.5, 0.5, 0.5]])[0] == counts


def test_a_number_on_one_side_only_is_beyond_whatever_is_allowed() -> None:
    nan, inf = np.nan, np.inf
    counts, sums = measured([[nan, inf, nan, inf]], [[nan, inf, 0, 1]], [[inf] * 4])
    assert counts == (2, 2, 2)
    assert sums[4] == [0, 0, inf, inf]


@given(
    st.integers(0, 1000),
    st.sampled_from([2, 5, 15, 200]),
    st.sampled_from([0, 1]),
    st.sampled_from([5, 70]),
    st.sampled_from([3, 32]),
)
def test_least_distances_are_told_alike(
    seed: int, levels: int, exact: int, columns: int, block: int
) -> None:
    """Of codes, which are whole steps apart, and of any values, which are not."""
    rng = np.random.default_rng(seed)
    scales = rng.lognormal(size=(4, 1, columns)).astype(np.float32)
    blocks = rng.integers(-levels, levels + 1, (4, block, columns)).astype(np.float32)
    blocks = (blocks + (1 - exact) * rng.random(blocks.shape, np.float32)) * scales
    blocks[0, :, 0] = blocks[0, 0, 0]
    found = []
    for implementation in ("numpy", "numba"):
        out = np.empty((4, columns), np.float32)
        with np.errstate(all="ignore"):
            twin(tile_distances.least_distances, implementation)(
                blocks.reshape(-1, columns), block, out
            )
        found.append(out)
    assert found[0].tobytes() == found[1].tobytes()
    if block < 32:
        return  # so few random values may lie as codes do
    apart = np.diff(np.sort(blocks, axis=1), axis=1)
    wanted = np.where(apart > 0, apart, np.inf).min(axis=1)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-3)


@pytest.mark.parametrize("implementation", ["numpy", "numba"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (8, 16), (9, 17), (40, 50), (7, 64), (64, 3), (16, 16), (33, 70)]
)
@pytest.mark.parametrize("lying", ["rows", "columns"])
def test_tiles_become_row_major(
    implementation: Implementation, shape: tuple[int, int], lying: str
) -> None:
    tile = laid(np.random.default_rng(0).random(shape, np.float32), lying)
    made = twin(tile_distances.row_major, implementation)(tile)
    assert made.flags.c_contiguous
    assert np.array_equal(made, tile)


def laid(tile: np.ndarray, lying: str) -> np.ndarray:
    """The same values as part of a wider array, by rows or by columns."""
    lines = tile.T if lying == "columns" else tile
    wide = np.full((lines.shape[0], lines.shape[1] + 24), 7, np.float32)
    own = wide[:, 8 : 8 + lines.shape[1]]
    own[...] = lines
    return own.T if lying == "columns" else own


@pytest.mark.parametrize("lying", list(itertools.product(["rows", "columns"], repeat=2)))
@pytest.mark.parametrize("factors", [(0, 0), (0, 2.0**-8), (2.0**-8, 2.0**-11)])
@pytest.mark.parametrize("damage", [None, (0, 1), (63 * 191 + 5, np.nan), (3000, np.inf)])
def test_rounded_tiles_are_measured_alike(
    lying: tuple[str, str],
    factors: tuple[float, float],
    damage: tuple[int, float] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However they lie, with values that are no numbers; in one pass where none is beyond."""
    rng = np.random.default_rng(0)
    one = rng.standard_normal((64, 192), np.float32) * rng.lognormal(size=192).astype(np.float32)
    one[rng.random(one.shape) < 0.02] = rng.choice(
        np.array([np.nan, np.inf, -np.inf, 0, 1e-40], np.float32)
    )
    bits = one.view(np.uint32) & np.uint32(0xFFFF8000 if factors[1] else 0xFFFFFFFF)
    other = bits.view(np.float32)
    if damage is None:
        monkeypatch.setattr("grokpack.kernels.compiled.tile_distances._measure", None)
    else:
        one.flat[damage[0]], other.flat[damage[0]] = damage[1], 3e9
    least = np.array([2.0**-25, 2.0**-134], np.float32)
    none, groups = (np.empty((0, 192), np.float32),) * 2, np.zeros((2, 64), np.int64)
    tiles = laid(one, lying[0]), laid(other, lying[1])
    found = []
    for implementation in ("numpy", "numba"):
        sums = np.empty((5, 192), np.float32)
        with np.errstate(all="ignore"):
            counts = twin(tile_distances.measure, implementation)(
                *tiles, none, groups, np.array(factors, np.float32), least, sums
            )
        found.append((counts, np.nan_to_num(sums, nan=-1).tobytes()))
    assert found[0] == found[1]
    assert found[0][0][1:] == ((0, -1) if damage is None else (1, damage[0]))
