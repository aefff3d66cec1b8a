"""The compiled twin of each kernel leaves the bits that the numpy specification leaves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack import kernels
from grokpack.kernels import compiled, dispatch, statistics, widening
from grokpack.kernels.dispatch import twin
from tests.support.kernel_arrays import code_sums, codes, float_sums, floats, moments

if TYPE_CHECKING:
    from types import ModuleType

MODULES = [m.name for m in pkgutil.iter_modules(compiled.__path__) if m.name[0] != "_"]
pytestmark = pytest.mark.skipif(not dispatch.compiler_loads(), reason="numba cannot be loaded")

shapes = st.tuples(st.integers(0, 40), st.integers(1, 40))


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    """Whether arrays hold the same bits; a zero is not a negative zero."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", MODULES)
def test_every_compiled_kernel_has_a_specification_of_the_same_arguments(name: str) -> None:
    spec, fast = (
        importlib.import_module(f"{package.__name__}.{name}") for package in (kernels, compiled)
    )
    assert public(spec) == public(fast)


def public(module: ModuleType) -> dict[str, list[str]]:
    """Kernels of a module and their arguments: functions of its own without an underscore."""
    plain = {name: getattr(f, "py_func", f) for name, f in vars(module).items() if callable(f)}
    return {
        name: list(inspect.signature(f).parameters)
        for name, f in plain.items()
        if name[0] != "_" and inspect.isfunction(f) and f.__module__ == module.__name__
    }


@given(shapes.flatmap(codes))
def test_codes_are_counted_alike(drawn: np.ndarray) -> None:
    plain, fast = code_sums(drawn.shape[1]), code_sums(drawn.shape[1])
    statistics.count_codes(drawn, *plain)
    twin(statistics.count_codes, "numba")(drawn, *fast)
    assert same(plain, fast)


@pytest.mark.parametrize("shape", [(70_000, 3), (3, 70_001), (130, 1030), (1, 1), (1 << 17, 1)])
@pytest.mark.parametrize("code", [-128, None])
def test_codes_are_counted_alike_beyond_every_block(
    shape: tuple[int, int], code: int | None
) -> None:
    many = np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)
    if code is not None:
        many[...] = code
    plain, fast = code_sums(shape[1]), code_sums(shape[1])
    statistics.count_codes(many, *plain)
    twin(statistics.count_codes, "numba")(many, *fast)
    assert same(plain, fast)
    assert plain[1].tolist() == np.square(many, dtype=np.int64).sum(axis=0).tolist()
    assert plain[0].tolist() == [int((many == c).sum()) for c in range(-128, 128)]


@given(st.integers(1, 40).flatmap(floats), st.data())
def test_columns_are_folded_alike(scales: np.ndarray, data: st.DataObject) -> None:
    out = scales.size
    ends = np.sort(data.draw(codes((2, out))), axis=0)
    squares = np.array(data.draw(st.lists(st.integers(0, 1 << 38), min_size=out, max_size=out)))
    plain, fast = moments(), moments()
    left_out = statistics.fold_columns(squares, ends[0], ends[1], scales, *plain)
    assert (
        twin(statistics.fold_columns, "numba")(squares, ends[0], ends[1], scales, *fast) == left_out
    )
    assert same(plain, fast)


@given(st.tuples(st.integers(1, 70), st.integers(1, 150)), st.integers(0, 99))
def test_bfloat16_is_transposed_and_widened_alike(shape: tuple[int, int], seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 1 << 16, shape).astype(np.uint16)
    plain, fast = (np.full(shape[::-1], 7, np.float32) for _ in range(2))
    widening.widen_transposed(bits, plain)
    twin(widening.widen_transposed, "numba")(bits, fast)
    assert same((plain, fast), ((bits.T.astype(np.uint32) << 16).view(np.float32), plain))


@given(st.integers(0, 60).flatmap(floats))
def test_floats_are_counted_alike(values: np.ndarray) -> None:
    plain, fast = float_sums(), float_sums()
    statistics.count_floats(values, *plain)
    twin(statistics.count_floats, "numba")(values, *fast)
    assert same(plain, fast)


@pytest.mark.parametrize("kind", ["any bits", "largest", "weights"])
def test_floats_are_counted_alike_beyond_every_block(kind: str) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0, 0.0127, 200_001).astype(np.float32)
    if kind == "any bits":
        values = rng.integers(0, 1 << 32, 200_001, np.uint32).view(np.float32)
    elif kind == "largest":
        values[...] = np.finfo(np.float32).max
    plain, fast = float_sums(), float_sums()
    statistics.count_floats(values, *plain)
    twin(statistics.count_floats, "numba")(values, *fast)
    assert same(plain, fast)
