"""The account of a quantization: exact, and the same however the groups are cut."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.tiles import TILE_BYTES
from grokpack.execution.quantization_error import ErrorStats, TileErrorStats
from grokpack.transforms.quantized_rows import GroupErrors, QuantizedRows


def groups(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts as the kernels give them, over many magnitudes, some groups of zeros."""
    rng = np.random.default_rng(seed)
    squares = rng.lognormal(0, 20, shape).astype(np.float32)
    squares[rng.random(shape) < 0.1] = 0
    errors = (squares * rng.lognormal(-4, 2, shape)).astype(np.float32)
    products = (errors * rng.normal(0, 1, shape)).astype(np.float32)
    return np.stack([squares, errors, products]), rng.integers(0, 9, (2, *shape), np.int32)


def whole(sums: np.ndarray, counts: np.ndarray) -> ErrorStats:
    account = ErrorStats()
    account.add(GroupErrors(sums, counts, 128 * sums[0].size))
    return account


@given(st.integers(0, 1000), st.lists(st.integers(0, 60), max_size=4), st.booleans())
def test_parts_in_any_order_give_the_account_of_the_whole(
    seed: int, cuts: list[int], backwards: bool
) -> None:
    sums, counts = groups(seed, (3, 60))
    edges = sorted({0, 60, *cuts})
    parts = [whole(sums[..., a:b], counts[..., a:b]) for a, b in itertools.pairwise(edges)]
    merged = ErrorStats()
    for part in reversed(parts) if backwards else parts:
        merged.merge(ErrorStats.from_json(json.loads(json.dumps(part.to_json()))))
    assert merged.to_json() == whole(sums, counts).to_json()


@given(st.integers(0, 1000))
def test_totals_are_exact(seed: int) -> None:
    sums, counts = groups(seed, (2, 30))
    exact = tuple(sum(map(Fraction, row.ravel().tolist()), Fraction()) for row in sums)
    assert whole(sums, counts).exact_totals() == exact


def test_figures_are_those_of_the_weights() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(0, 1, (50, 128))
    made = np.round(weights * 4) / 4
    errors = weights - made
    sums = np.stack([(weights**2).sum(1), (errors**2).sum(1), (weights * errors).sum(1)])
    counts = np.array([[3] * 50, [5] * 50], np.int32)
    found = whole(sums.astype(np.float32), counts).figures()
    relative = np.sqrt((errors**2).sum() / (weights**2).sum())
    norm = np.linalg.norm(weights) * np.linalg.norm(made)
    assert found["relative_error"] == pytest.approx(relative, rel=1e-5)
    assert found["sqnr_db"] == pytest.approx(-20 * np.log10(relative), abs=1e-3)
    assert found["cosine"] == pytest.approx((weights * made).sum() / norm, abs=1e-7)
    worst = np.sqrt((errors**2).sum(1) / (weights**2).sum(1)).max()
    assert found["worst_group"] == pytest.approx(worst, rel=1e-5)
    assert found["saturated_share"] == pytest.approx(3 / 128, rel=1e-5)
    assert found["zeroed_share"] == pytest.approx(5 / 128, rel=1e-5)
    assert sum(found["histogram_db"].values()) == 50


def test_zeros_are_no_error() -> None:
    found = whole(np.zeros((3, 2, 2), np.float32), np.zeros((2, 2, 2), np.int32)).figures()
    assert found == {"weights": 512, "groups": 0, "zero_groups": 4}


@pytest.mark.parametrize("row_bytes", [1000, 1 << 20, 3_000_001])
@pytest.mark.parametrize("by_group", [False, True])
def test_each_group_is_entered_once_wherever_runs_are_cut(row_bytes: int, by_group: bool) -> None:
    """Rows are made anew at each edge between runs; who enters a group must not change that."""
    units, each = 40, 3 if by_group else 1
    rows = units * each
    sums = np.ones((3, units, 1) if by_group else (3, 1, units), np.float32)
    sums *= np.arange(1, units + 1, dtype=np.float32).reshape(sums.shape[1:])
    counts = np.zeros((2, *sums.shape[1:]), np.int32)
    begins, total = 12_345, rows * row_bytes
    wanted: dict[int, float] = {}
    for unit in range(units):
        tile = (begins + unit * each * row_bytes) // TILE_BYTES
        wanted[tile] = wanted.get(tile, 0) + unit + 1
    for cut in (0, row_bytes // 2, total // 3, total // 3 + 1, total - 1):
        error_stats = TileErrorStats()
        for low, high in ((0, cut), (cut, total)):
            if low < high:
                _enter(error_stats, (low, high), row_bytes, begins, sums, counts, by_group, each)
        tiles = error_stats.tiles(0, (begins + total) // TILE_BYTES + 1)
        found = {n: float(t["w"].exact_totals()[0]) for n, t in enumerate(tiles) if t}
        assert found == wanted


def _enter(
    error_stats: TileErrorStats,
    run: tuple[int, int],
    row_bytes: int,
    begins: int,
    sums: np.ndarray,
    counts: np.ndarray,
    by_group: bool,
    each: int,
) -> None:
    """Enter the rows that a run touches, as an op streams them: in pieces of seven rows."""
    first, last = run[0] // row_bytes, -(-run[1] // row_bytes)
    for row in range(first, last, 7):
        end = min(row + 7, last)
        low, high = row // each, -(-end // each)
        part = (slice(None), slice(low, high)) if by_group else (..., slice(low, high))
        values = np.broadcast_to(np.uint8(0), (end - row, row_bytes))
        piece = QuantizedRows(
            values, "w", sums[part], counts[part], 128, by_group, each, low * each - row
        )
        error_stats.from_byte(begins).enter(piece, row * row_bytes, run)
