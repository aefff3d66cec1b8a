"""Shares of a plan: all tiles, each in one, and each receipt counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from grokpack.conversion.plan_synth import PRESETS, plan_synth
from grokpack.execution import tile_coverage
from grokpack.execution.quantization_error import ErrorStats
from grokpack.execution.receipt import Receipt

if TYPE_CHECKING:
    from grokpack.planning.plan import Plan


@given(st.integers(1, 40))
def test_shares_are_all_tiles_each_in_one(plan: Plan, count: int) -> None:
    shares = tile_coverage.shares(plan.target, count)
    assert len(shares) == count
    tiles = [(group, tile) for share in shares for group, own in share.items() for tile in own]
    every = tile_coverage.everything(plan.target.layout)
    assert sorted(tiles) == sorted((group, tile) for group, own in every.items() for tile in own)


def test_shares_of_the_release_are_even() -> None:
    target = plan_synth(PRESETS["grok-1"]).target
    for count in (2, 16, 100):
        sizes = [
            tile_coverage.bytes_of(target.layout, share)
            for share in tile_coverage.shares(target, count)
        ]
        assert sum(sizes) == target.layout.nbytes
        assert max(sizes) - min(sizes) < 600 << 20  # of 318 GB: a task more or less


receipts = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 6)), max_size=12
)


@given(receipts)
def test_of_receipts_that_overlap_each_tile_is_kept_once(
    drawn: list[tuple[int, int, int]],
) -> None:
    given = [
        Receipt(
            group,
            first,
            (tuple(f"{group}.{tile}" for tile in range(first, first + count)),),
            tuple({f"{group}.{tile}": ErrorStats()} for tile in range(first, first + count)),
        )
        for group, first, count in drawn
    ]
    kept = tile_coverage.distinct(given)
    tiles = [(r.file_group, tile) for r in kept for tile in range(r.first, r.last)]
    assert len(tiles) == len(set(tiles))
    assert tile_coverage.tiles_of(kept) == tile_coverage.tiles_of(given)
    for receipt in kept:
        names = [f"{receipt.file_group}.{tile}" for tile in range(receipt.first, receipt.last)]
        assert list(receipt.sums[0]) == names
        assert [name for tile in receipt.error_stats for name in tile] == names
