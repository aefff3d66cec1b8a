"""Scale groups of inputs are counted from that of the first, wherever a band begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grokpack.kernels.group_index import group_index

small = st.integers(1, 50)


@given(st.integers(0, 500), st.integers(0, 200), small, small)
def test_each_input_has_its_group(first: int, count: int, per_group: int, step: int) -> None:
    wanted = [i // per_group - first // per_group for i in range(first, first + count, step)]
    assert group_index(first, count, per_group, step).tolist() == wanted
