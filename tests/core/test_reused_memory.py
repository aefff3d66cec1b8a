"""Memory is used again when nothing refers to it any more, and never before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from grokpack.core import reused_memory

_SHAPE, _NBYTES = (3, 1 << 20), 3 << 20
_PAGE = 4096


def _address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_memory_is_used_again_once_the_array_is_gone() -> None:
    first = reused_memory.empty(_SHAPE, np.uint8)
    address = _address(first)
    del first
    again = reused_memory.empty((_NBYTES // 4 - 100,), "<u4")
    assert (again.shape, again.dtype) == ((_NBYTES // 4 - 100,), np.dtype("<u4"))
    assert _address(again) == address


def test_memory_that_a_view_refers_to_is_not_given_out() -> None:
    row = reused_memory.empty(_SHAPE, np.uint8)[1:2].T
    data = reused_memory.empty(_SHAPE, np.uint16).reshape(-1).view(np.uint8).data[5:]
    row[...], data[:3] = 7, b"abc"
    for _ in range(3):
        reused_memory.empty(_SHAPE, np.uint8)[...] = 0
        reused_memory.empty(_SHAPE, np.uint16)[...] = 0
    assert (row == 7).all()
    assert bytes(data[:3]) == b"abc"


def test_two_threads_share_no_memory() -> None:
    address = _address(reused_memory.empty(_SHAPE, np.uint8))
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(reused_memory.empty, _SHAPE, np.uint8).result()
    assert _address(other) != address


def test_idle_memory_is_freed_before_more_is_taken() -> None:
    reused_memory.empty(_SHAPE, np.uint8)
    larger = reused_memory.empty((2 * _NBYTES + 1,), np.uint8)
    smaller = reused_memory.empty((1 << 20,), np.uint8)
    held = reused_memory._thread._blocks
    assert [len(block) - _PAGE for block in held] == [larger.nbytes, smaller.nbytes]


def test_large_arrays_begin_with_a_page_even_where_memory_is_used_again() -> None:
    for nbytes in (_NBYTES, _NBYTES + 1, 2 * _NBYTES, _NBYTES):
        assert _address(reused_memory.empty((nbytes,), np.uint8)) % _PAGE == 0
