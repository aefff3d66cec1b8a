"""Parts of what is to be read: slices, rounds and ages choose every tile in its turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.manifest_records import Record
from grokpack.core.layout import FileLayout
from grokpack.core.tiles import TILE_BYTES, tile_count
from grokpack.verification import sampling
from grokpack.verification.check_history import NEVER_CHECKED, FileHistory
from tests.support.content_checks import tiles


def table(*sizes: int) -> list[Record]:
    return [
        Record(FileLayout(f"f{i}", ()), f"f{i}", n, ("x",) * tile_count(n))
        for i, n in enumerate(sizes)
    ]


SIZES = st.lists(st.integers(0, 40 * TILE_BYTES), min_size=1, max_size=6)


@given(SIZES, st.integers(1, 12))
def test_slices_cover_everything_once(sizes: list[int], of: int) -> None:
    files = table(*sizes)
    known = {r.path: FileHistory([NEVER_CHECKED] * len(r.tiles)) for r in files}
    parts = [
        tiles(sampling.choose(files, known, sampling.Sample(part=(n, of)), 1e9))
        for n in range(1, of + 1)
    ]
    every = tiles(sampling.choose(files, known, sampling.Sample(), 1e9))
    assert sorted(tile for part in parts for tile in part) == sorted(every)
    assert len(every) == sum(map(tile_count, sizes))


@given(SIZES, st.floats(0.01, 1))
def test_a_share_again_and_again_comes_round(sizes: list[int], fraction: float) -> None:
    files = table(*sizes)
    known = {r.path: FileHistory([NEVER_CHECKED] * len(r.tiles)) for r in files}
    every = sum(map(tile_count, sizes))
    share, now, turns = sampling.Sample(fraction=fraction), 1000, 0
    while any(NEVER_CHECKED in k.good for k in known.values()):
        turns += 1
        chosen = tiles(sampling.choose(files, known, share, now))
        again = any(known[path].good[tile] != NEVER_CHECKED for path, tile in chosen)
        for path, tile in chosen:
            known[path].note(tile, now, good=True)
        assert not (again and any(NEVER_CHECKED in k.good for k in known.values()))
        now += 1
    assert turns <= every


def test_what_was_bad_is_read_again_whatever_is_chosen() -> None:
    files = table(10 * TILE_BYTES)
    known = {"f0": FileHistory([NEVER_CHECKED] * 10, {9})}
    assert ("f0", 9) in tiles(sampling.choose(files, known, sampling.Sample(part=(1, 10)), 1e9))
    assert ("f0", 9) in tiles(sampling.choose(files, known, sampling.Sample(nbytes=1), 1e9))


@pytest.mark.parametrize(
    ("age", "read"),
    [(10, False), (100, False), (101, True), (-5, True)],  # -5: from a clock that was wrong
)
def test_max_age_leaves_out_what_is_young_but_not_what_is_of_the_future(
    age: int, read: bool
) -> None:
    known = {"f0": FileHistory([1000 - age])}
    share = sampling.Sample(max_age_s=100)
    assert bool(tiles(sampling.choose(table(5), known, share, 1000))) is read
