"""Knapsack with choices: within the bytes, near the best choice, and by how much it may miss."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from grokpack.conversion.quantization import knapsack
from grokpack.conversion.quantization.knapsack import Option

OPTIONS = st.builds(Option, st.integers(1, 40), st.integers(0, 1000).map(float))
UNITS = st.lists(st.lists(OPTIONS, min_size=1, max_size=4), min_size=1, max_size=5)


def best(units: list[list[Option]], nbytes: int) -> float | None:
    """The least error by trying everything."""
    fitting = [
        sum(option.error for option in chosen)
        for chosen in product(*units)
        if sum(option.nbytes for option in chosen) <= nbytes
    ]
    return min(fitting, default=None)


@given(UNITS, st.integers(0, 150))
def test_a_choice_is_between_the_bound_and_what_it_says(
    units: list[list[Option]], nbytes: int
) -> None:
    found, least = knapsack.choose(units, nbytes), best(units, nbytes)
    if found is None or least is None:
        assert (found, least) == (None, None)
        return
    chosen = [unit[at] for unit, at in zip(units, found.options, strict=True)]
    assert sum(option.nbytes for option in chosen) == found.nbytes <= nbytes
    assert sum(option.error for option in chosen) == found.error
    assert found.bound - 1e-6 <= least <= found.error


@given(UNITS)
def test_the_smallest_fits_where_anything_does(units: list[list[Option]]) -> None:
    smallest = knapsack.smallest(units)
    assert knapsack.choose(units, smallest.nbytes) is not None
    assert knapsack.choose(units, smallest.nbytes - 1) is None


def test_many_units_leave_almost_no_gap() -> None:
    sizes = [(2 + n % 5, 100 + 7 * n % 31) for n in range(200)]
    units = [
        [Option(bits * size, size * 4.0**-bits * (1 + n % 9)) for bits in range(2, 9)]
        for n, (_, size) in enumerate(sizes)
    ]
    found = knapsack.choose(units, sum(4 * size for _, size in sizes))
    assert found is not None
    assert found.error < 1.005 * found.bound
