"""How far two tiles are apart: the compiled twin leaves the bits of the specification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from grokpack.kernels import agreement, dispatch
from grokpack.kernels.dispatch import twin

pytestmark = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 40))
VALUES = st.floats(width=32, allow_subnormal=False)


@given(
    SHAPES.flatmap(lambda shape: stnp.arrays(np.float32, (3, *shape), elements=VALUES)),
    st.booleans(),
    st.lists(st.sampled_from([0, 2.0**-8, 2.0**-11]), min_size=2, max_size=2),
)
def test_tiles_are_measured_alike(drawn: np.ndarray, stepped: bool, factors: list[float]) -> None:
    one, other, steps = drawn
    steps = np.abs(steps) if stepped else np.zeros((0, 0), np.float32)
    given_factors = np.array(factors, np.float32)
    least = np.array([2.0**-25, 2.0**-134], np.float32)
    found = []
    for engine in ("numpy", "numba"):
        sums = np.empty((5, one.shape[1]), np.float32)
        with np.errstate(all="ignore"):
            counts = twin(agreement.measure, engine)(one, other, steps, given_factors, least, sums)
        found.append((counts, np.nan_to_num(sums, nan=-1).tobytes()))
    assert found[0] == found[1]


def test_a_value_is_within_where_it_is_as_far_as_is_allowed() -> None:
    one = np.array([[1, 2, 0, np.nan]], np.float32)
    other = np.array([[1.5, 2, -0.0, np.nan]], np.float32)
    steps = np.array([[0.5, 0, 0, 1]], np.float32)
    sums = np.empty((5, 4), np.float32)
    none = np.zeros(2, np.float32)
    assert agreement.measure(one, other, steps, none, none, sums) == (2, 1)
    assert sums[:, :3].tolist() == [[1, 4, 0], [0.25, 0, 0], [0] * 3, [0] * 3, [0.5, 0, 0]]


@given(st.integers(0, 1000), st.sampled_from([2, 5, 15, 200]), st.sampled_from([0, 1]))
def test_least_distances_are_told_alike(seed: int, levels: int, exact: int) -> None:
    """Of codes, which are whole steps apart, and of any values, which are not."""
    rng = np.random.default_rng(seed)
    scales = rng.lognormal(size=(3, 4, 1)).astype(np.float32)
    blocks = rng.integers(-levels, levels + 1, (3, 4, 32)).astype(np.float32)
    blocks = (blocks + (1 - exact) * rng.random(blocks.shape, np.float32)) * scales
    blocks[0, 0] = blocks[0, 0, 0]
    found = []
    for engine in ("numpy", "numba"):
        out = np.empty((3, 4), np.float32)
        with np.errstate(all="ignore"):
            twin(agreement.least_distances, engine)(blocks.reshape(3, -1), 32, out)
        found.append(out)
    assert found[0].tobytes() == found[1].tobytes()
    apart = np.diff(np.sort(blocks, axis=2), axis=2)
    wanted = np.where(apart > 0, apart, np.inf).min(axis=2)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-3)
