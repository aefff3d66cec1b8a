"""Kernels compiled by numba; only `grokpack.kernels.dispatch` imports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

Kernel = TypeVar("Kernel", bound="Callable[..., Any]")


def compiled(function: Kernel) -> Kernel:
    """Compile a function at its first call, to code that releases the interpreter lock.

    The code is cached beside the source or in the user's cache, whichever can be written, for the
    next process. Without fastmath, results are those of IEEE arithmetic in the written order.
    """
    return _compiled(function, {})


def uncounted(function: Kernel) -> Kernel:
    """Compile a function that makes no arrays of its own and returns none.

    References to its arrays are not counted. Counting is an atomic operation that waits for every
    store before it, and where those go to memory, that takes most of the time.
    """
    return _compiled(function, {"_nrt": False})


def _compiled(function: Kernel, options: dict[str, Any]) -> Kernel:
    try:
        return cast("Kernel", numba.njit(nogil=True, cache=True, **options)(function))
    except RuntimeError:  # no folder for the cache
        return cast("Kernel", numba.njit(nogil=True, **options)(function))
